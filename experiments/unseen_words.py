"""How should words that pretraining never saw start: at the mean embedding, at zero, or at a random draw?"""

from ulmfit_lab.config.scales import TREC_6
from ulmfit_lab.experiment import Design, Experiment, Report

EXPERIMENT = Experiment(
    name="unseen_words",
    question="How should the embeddings of words start that pretraining never saw?",
    claim="Zero is a very extreme number for the embedding of an unseen word; the mean of the other rows has a "
    "reasonable scale.",
    source="Howard, fast.ai part 2 (2018), lesson 10, about 1:01",
    baseline="zeros",
    variants={
        "mean": {},
        "zeros": {"vocabulary.new_word_init": "zeros"},
        "normal": {"vocabulary.new_word_init": "normal"},
        "uniform": {"vocabulary.new_word_init": "uniform"},
    },
    scales={
        "tiny": {"fine_tuning.seed": None},
        "demo": {"fine_tuning.seed": None},
        "small": {**TREC_6, "fine_tuning.seed": None},
        "paper": {"fine_tuning.seed": None},
    },
    factor="target.n_labels",
    report=Report(
        factor_label="Labelled documents",
        notes=(
            "The draws have the mean and the standard deviation of the known rows, column by column.",
            "The pretrained model is shared by all seeds; it is moved to the target's words and fine-tuned once a "
            "seed.",
        ),
    ),
    levels={"tiny": (60,), "demo": (100, 500), "small": (100, 1000), "paper": (100, 1000)},
    design=Design(
        contrasts=(("mean", "zeros"), ("normal", "zeros"), ("uniform", "zeros"), ("mean", "normal")),
        primary=(("mean", "zeros", 100), ("mean", "zeros", 1000)),
    ),
)
