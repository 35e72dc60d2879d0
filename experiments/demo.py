"""A first look: what does a pretrained language model give a classifier with few labels?

`make demo` runs it. Every variant reads the same sentences of film reviews with the same seeds. The language model is
the one that comes with the lab (see `ulmfit-lab models`), fine-tuned on the training sentences without their labels,
once for each seed: six realisations of what is compared.
"""

from ulmfit_lab.experiment import Design, Experiment, Report

EXPERIMENT = Experiment(
    name="demo",
    question="What does a pretrained language model give a classifier with few labels?",
    baseline="from scratch",
    variants={
        "from scratch": {"classifier.init": "random"},
        "GloVe vectors": {"classifier.init": "glove"},
        "frozen LM": {"classifier.init": "fine-tuned", "classifier.unfreeze": "last"},
        "fine-tuned LM": {"classifier.init": "fine-tuned"},
        "TF-IDF": {"classifier.model": "tf-idf"},
    },
    factor="target.n_labels",
    levels={"tiny": (60,), "demo": (300,), "small": (300,), "paper": (1000,)},
    design=Design(
        contrasts=(
            ("fine-tuned LM", "from scratch"),
            ("fine-tuned LM", "GloVe vectors"),
            ("fine-tuned LM", "frozen LM"),
            ("fine-tuned LM", "TF-IDF"),
        ),
    ),
    scales={"demo": {"fine_tuning.seed": None, "fine_tuning.epochs": 1}},
    report=Report(factor_label="Labelled sentences", reference="TF-IDF"),
)
