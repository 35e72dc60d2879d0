"""What error does a classifier of questions reach that starts from the language model that comes with the lab?

Comparisons are made on questions that are held out of training; TREC's official test questions are reported beside.
"""

from ulmfit_lab.config.scales import SHIPPED_LM, TREC_6
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, Range, Report, Search

EXPERIMENT = Experiment(
    name="shipped_lm_trec",
    question="What error does the language model that comes with the lab reach on questions, beside TF-IDF?",
    baseline="shipped LM",
    variants={
        "shipped LM": {},
        "TF-IDF": {"classifier.model": "tf-idf"},
    },
    scales={
        "tiny": {"target.holdout": 40},
        "demo": {"target.holdout": 200},
        "small": {**TREC_6, **SHIPPED_LM},
        "paper": {**SHIPPED_LM, "target.holdout": 2500},
    },
    metric="final/holdout_error",
    factor="target.n_labels",
    seeds=range(6),
    report=Report(
        factor_label="Labelled documents",
        reference="TF-IDF",
        extra_metrics=(ExtraMetric(metric="final/error", label="Error on the test set (%)", scale=100.0),),
        notes=(
            "There is one pretrained language model, fine-tuned with each seed on the training questions without their "
            "labels: intervals hold for this model, and not for others that are pretrained like it.",
        ),
    ),
    levels={"tiny": (60,), "demo": (100, 500), "small": (500,), "paper": (1000,)},
    design=Design(
        contrasts=(("shipped LM", "TF-IDF"),),
        smallest_difference=3.0,
        expected=Expectation(
            sd=1.8,
            source="withdrawn runs had 1.8 to 2.6 on a test set of a third of this size",
            core_hours=0.3,
            changes_mind="a 95% CI of the difference that includes 0",
        ),
    ),
    tuned={"small": {"shipped LM": {"classifier.lr": 0.0039, "classifier.drop_mult": 0.441}}},
    search=Search(
        space={
            "classifier.lr": Range(1e-3, 6e-2, log=True),
            "classifier.drop_mult": Range(0.1, 1.2),
        },
        budget=12,
        levels={"tiny": 60, "demo": 500, "small": 500, "paper": 1000},
    ),
)
