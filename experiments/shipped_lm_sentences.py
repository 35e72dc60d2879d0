"""What error does a classifier of sentences reach that starts from the language model that comes with the lab?

The sentences are those of Rotten Tomatoes' reviews, which the model has not read in pretraining.
"""

from ulmfit_lab.config.scales import ROTTEN_TOMATOES, SHIPPED_LM
from ulmfit_lab.experiment import Design, Expectation, Experiment, Range, Report, Search

EXPERIMENT = Experiment(
    name="shipped_lm_sentences",
    question="What error does the language model that comes with the lab reach on sentences of reviews, beside TF-IDF?",
    baseline="shipped LM",
    variants={
        "shipped LM": {},
        "TF-IDF": {"classifier.model": "tf-idf"},
    },
    scales={
        "small": {
            **SHIPPED_LM,
            **ROTTEN_TOMATOES,
            "fine_tuning.seed": None,
            "classifier.epochs": 15,
            "classifier.batch_size": 16,
        },
        "paper": {**SHIPPED_LM, "unlabelled.name": ""},
    },
    factor="target.n_labels",
    seeds=range(6),
    report=Report(
        factor_label="Labelled documents",
        reference="TF-IDF",
        notes=(
            "There is one pretrained language model, fine-tuned with each seed on the training sentences without their "
            "labels: intervals hold for this model, and not for others that are pretrained like it.",
        ),
    ),
    levels={"tiny": (60,), "demo": (100, 500), "small": (500,), "paper": (1000,)},
    design=Design(
        contrasts=(("shipped LM", "TF-IDF"),),
        smallest_difference=3.0,
        expected=Expectation(
            sd=2.0,
            source="the demo, on the same sentences at 300 labels, has 2.0",
            core_hours=0.6,
            changes_mind="a 95% CI of the difference that includes 0",
        ),
    ),
    tuned={"small": {"shipped LM": {"classifier.lr": 0.003, "classifier.drop_mult": 0.5}}},
    search=Search(
        space={
            "classifier.lr": Range(1e-3, 6e-2, log=True),
            "classifier.drop_mult": Range(0.1, 1.2),
        },
        budget=12,
        levels={"tiny": 60, "demo": 500, "small": 500, "paper": 1000},
    ),
)
