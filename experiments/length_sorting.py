"""What do batches of documents of about the same length save, and do they cost any accuracy?"""

from ulmfit_lab.experiment import Design, Experiment, ExtraMetric, Report

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
        "small": {"target.n_labels": 1000, "classifier.epochs": 4, "classifier.lr": 1e-2},
        "paper": {"target.n_labels": 1000},
    },
    report=Report(
        extra_metrics=(
            ExtraMetric(metric="final/padding", label="Padding of the training batches (%)", scale=100.0),
            ExtraMetric(metric="computed_seconds", label="Time of training and testing (s)"),
        )
    ),
    design=Design(contrasts=(("sortish", "shuffled"), ("sorted", "shuffled"), ("sortish", "sorted"))),
)
