"""How should words that pretraining never saw start: at the mean embedding, at zero, or at a random draw?

Measured as the language model's loss on held-out text of the target, from the moment at which the vocabulary is
exchanged (no epoch of fine-tuning) to the end: at the small scale an epoch is 23 steps.
"""

from ulmfit_lab.config.scales import TREC_6
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, ManipulationCheck, Report

LM_ALONE = {"last_stage": "fine-tuned", "fine_tuning.seed": None, "unlabelled.test_tokens": 500}

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
        "tiny": LM_ALONE,
        "demo": {**LM_ALONE, "unlabelled.test_tokens": 10_000},
        "small": {**TREC_6, **LM_ALONE, "unlabelled.test_tokens": 5_000},
        "paper": {**LM_ALONE, "unlabelled.test_tokens": 250_000},
    },
    metric="final/loss",
    factor="fine_tuning.epochs",
    seeds=range(8),
    report=Report(
        factor_label="Epochs of fine-tuning",
        extra_metrics=(
            ExtraMetric(metric="final/unseen_tokens", label="Tokens whose word is new (%)", scale=100.0),
            ExtraMetric(metric="final/accuracy", label="Test accuracy (%)", scale=100.0),
        ),
        notes=(
            "The draws have the mean and the standard deviation of the known rows, column by column.",
            "New words have the mean of the decoder's biases in every variant. In the runs of 2026-11-27, which are "
            "withdrawn, biases started like embeddings, so that two things differed; this was found after those "
            "results had been seen.",
        ),
    ),
    levels={"tiny": (0, 1), "demo": (0, 1), "small": (0, 1, 2, 15), "paper": (0, 1, 15)},
    design=Design(
        contrasts=(("mean", "zeros"), ("normal", "zeros"), ("uniform", "zeros"), ("mean", "normal")),
        primary=(("mean", "zeros", 0), ("mean", "zeros", 1), ("mean", "normal", 0)),
        smallest_difference=0.05,
        checks={
            "mean": ManipulationCheck(
                "final/unseen_tokens", statement="1% of the tokens were never seen", at_least=0.01
            )
        },
        expected=Expectation(
            sd=0.03,
            source="a guess: the arms differ in a few rows of one language model, and there are no runs of this kind",
            core_hours=2.1,
            changes_mind="a start at zero that is no worse by 0.02 nats at the exchange and after one epoch",
        ),
    ),
)
