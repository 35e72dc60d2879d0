"""How many labels of long reviews does a pretrained language model save?

Sets of different sizes are trained for equally many steps, on whole reviews. The language model read 13 million tokens
of unlabelled reviews in pretraining, with articles of Wikipedia, and is not fine-tuned again.
"""

from ulmfit_lab.config.scales import LM_SEEDS, OWN_TEXT
from ulmfit_lab.experiment import Design, Expectation, Experiment, ManipulationCheck, Report

EQUAL_STEPS = {"classifier.epochs": 4, "classifier.epoch_size": 3200, "classifier.batch_size": 16}
"""800 steps of 16 reviews, with four validations."""

EXPERIMENT = Experiment(
    name="label_efficiency_imdb",
    question="How many labelled reviews does a pretrained language model save?",
    claim="With 100 labels and unlabelled text of the target, a fine-tuned language model matches training from "
    "scratch on 50 to 100 times as many.",
    source="Howard & Ruder 2018, figure 3",
    baseline="from scratch",
    variants={
        "from scratch": {"classifier.init": "random"},
        "word2vec, pooled": {"classifier.model": "word-vectors"},
        "TF-IDF": {"classifier.model": "tf-idf"},
        "semi-supervised": {"classifier.init": "pretrained"},
    },
    scales={
        "demo": {"imported": ""},
        "small": {
            **LM_SEEDS,
            **EQUAL_STEPS,
            "target.name": "imdb",
            "target.n_test": 5000,
            "target.max_length": 0,
            **OWN_TEXT,
        },
        "paper": {"unlabelled.name": ""},
    },
    factor="target.n_labels",
    seeds=range(8),
    report=Report(
        factor_label="Labelled documents",
        reference="TF-IDF",
        notes=(
            "The vocabulary is that of all training texts for every variant.",
            "Rates are those that `label_efficiency` found on sentences: none is searched on reviews.",
            "1,000 validation reviews choose the epoch at every number of labels, also at 100.",
        ),
    ),
    levels={"tiny": (30, 60), "demo": (100, 500), "small": (100, 400, 1600, 6400), "paper": (100, 1000, 22_500)},
    design=Design(
        language_models=8,
        contrasts=(
            ("semi-supervised", "from scratch"),
            ("semi-supervised", "TF-IDF"),
            ("semi-supervised", "word2vec, pooled"),
        ),
        primary=(
            ("semi-supervised", "from scratch", 400),
            ("semi-supervised", "TF-IDF", 400),
            ("semi-supervised", "word2vec, pooled", 400),
        ),
        efficiency=(
            ("semi-supervised", "from scratch"),
            ("semi-supervised", "TF-IDF"),
        ),
        smallest_difference=3.0,
        checks={
            "from scratch": ManipulationCheck(
                "final/above_majority", statement="10 points above the majority class", at_least=0.1
            )
        },
        expected=Expectation(
            sd=1.9,
            source="withdrawn runs had 1.9 for the fine-tuned model against TF-IDF at 500 labels; their networks from "
            "scratch were at chance, so that nothing is known of the other contrasts",
            core_hours=9.4,
            changes_mind="fewer than five times the labels saved: a 95% CI of the ratio below 5",
        ),
    ),
)
