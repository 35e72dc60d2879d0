"""What error does a classifier of film reviews reach with all labels, from the language models that come with the lab?

Once each, since a run takes most of an hour: a number to put beside the published ones, and no comparison.
"""

from ulmfit_lab.config.scales import OWN_TEXT, SHIPPED_LM
from ulmfit_lab.experiment import Design, Experiment, ExtraMetric, Report

EXPERIMENT = Experiment(
    name="shipped_lm_imdb_all",
    question="What error do the language models that come with the lab reach on reviews with all labels?",
    baseline="forwards",
    variants={
        "forwards": {"classifier.init": "pretrained"},
        "both directions": {"classifier.init": "pretrained", "classifier.both_directions": True},
        "TF-IDF": {"classifier.model": "tf-idf"},
    },
    scales={
        "tiny": {"classifier.init": "pretrained"},
        "demo": {"target.n_labels": 500},
        "small": {
            **SHIPPED_LM,
            "target.name": "imdb",
            "target.n_labels": 0,
            "target.n_valid": 1000,
            "target.n_test": 0,
            "target.max_length": 0,
            **OWN_TEXT,
            "classifier.epochs": 5,
            "classifier.batch_size": 32,
            "classifier.lr": 4e-3,
            "classifier.weight_decay": 0.1,
            "compute.precision": "bfloat16",
        },
        "paper": {**SHIPPED_LM, "unlabelled.name": ""},
    },
    seeds=(0,),
    report=Report(
        reference="TF-IDF",
        extra_metrics=(ExtraMetric(metric="final/valid_error", label="Validation error (%)", scale=100.0),),
        notes=(
            "24,000 of the 25,000 labelled reviews are for training and 1,000 for validation, which chooses the epoch.",
            "One run each: differences have no interval over seeds. Nothing was searched with all labels: rate and "
            "weight decay are those with which the search of `shipped_lm_imdb` begins, dropout is the small scale's.",
        ),
    ),
    design=Design(contrasts=(("forwards", "TF-IDF"), ("both directions", "forwards"))),
)
