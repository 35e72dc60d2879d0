"""Should a classifier draw its dropout masks anew for each window of 70 words, as the originals do, or once a review?

The language model, the draws of labels and the recipe are those of `shipped_lm_imdb` with 500 labels, whose runs are
reused for masks that are drawn once.
"""

from ulmfit_lab.config.scales import SHIPPED_LM, SHIPPED_LM_IMDB
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, Report

EXPERIMENT = Experiment(
    name="classifier_masks",
    question="Does it change a classifier's error to draw dropout masks anew for each window, not once a review?",
    baseline="once",
    variants={"once": {}, "each window": {"classifier.mask_per_window": True}},
    scales={
        "tiny": {"classifier.bptt": 10},
        "demo": {"classifier.bptt": 10},
        "small": {**SHIPPED_LM_IMDB, "target.n_labels": 500, "classifier.init": "pretrained"},
        "paper": {**SHIPPED_LM, "unlabelled.name": ""},
    },
    seeds=range(6),
    report=Report(
        extra_metrics=(ExtraMetric(metric="final/valid_error", label="Validation error (%)", scale=100.0),),
        notes=(
            "The recipe was searched with masks that are drawn once, which favours them.",
            "There is one language model: seeds are draws of labels and of heads.",
        ),
    ),
    design=Design(
        smallest_difference=2.0,
        expected=Expectation(
            sd=1.2,
            source="a guess; whole reviews against their first 400 tokens have 0.4 in shipped_lm_imdb",
            core_hours=0.2,
            changes_mind="masks for each window that are better: they would be the default",
        ),
    ),
)
