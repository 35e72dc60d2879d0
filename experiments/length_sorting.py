"""What do batches of documents of about the same length save, and do they cost any accuracy?"""

from ulmfit_lab.config.scales import LM_SEEDS, OWN_TEXT
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, Margin, Report

EXPERIMENT = Experiment(
    name="length_sorting",
    question="Do batches of documents of about the same length cost any accuracy?",
    claim="Sort-ish sampling saves the computation that padding wastes, and loses nothing.",
    source="Howard, fast.ai part 2 (2018), lesson 10, about 1:34",
    baseline="shuffled",
    variants={
        "shuffled": {"classifier.sampler": "shuffled"},
        "sortish": {"classifier.sampler": "sortish"},
        "sorted": {"classifier.sampler": "sorted"},
    },
    scales={
        "tiny": {},
        "demo": {"target.n_labels": 1000},
        "small": {
            **LM_SEEDS,
            **OWN_TEXT,
            "target.n_labels": 1000,
            "target.n_test": 5000,
            "classifier.init": "pretrained",
            "classifier.epochs": 4,
            "classifier.lr": 1e-2,
        },
        "paper": {"target.n_labels": 1000},
    },
    seeds=range(8),
    report=Report(
        extra_metrics=(
            ExtraMetric(metric="final/padding", label="Padding of the training batches (%)", scale=100.0),
            ExtraMetric(metric="computed_seconds", label="Time of training and testing (s)"),
        )
    ),
    design=Design(
        contrasts=(("sortish", "shuffled"), ("sorted", "shuffled"), ("sortish", "sorted")),
        primary=(("sortish", "shuffled", None),),
        margins=(Margin("sortish", "shuffled", 2.0, "an eighth of the error, for a fifth of the time"),),
        smallest_difference=2.0,
        expected=Expectation(
            sd=1.5,
            source="withdrawn runs had 1.4 to 1.6 on half as many test documents",
            core_hours=1.0,
            changes_mind="sortish worse than shuffled by more than 2 points",
        ),
    ),
)
