"""Does a larger pretraining corpus help the classifier?

The general corpus is cut to a share of its tokens and read for the same number of epochs; the rest of the pipeline is
the same. Without pretraining the language model sees the target's own texts alone.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, TREC_6
from ulmfit_lab.experiment import Design, Experiment, Report

EXPERIMENT = Experiment(
    name="pretraining_size",
    question="Does a larger corpus for pretraining help the classifier?",
    claim="A far larger corpus for pretraining (all of Wikipedia) did not help much over WikiText-103.",
    source="Howard, fast.ai part 2 (2018), lesson 10, 1:00:15",
    baseline="a quarter",
    variants={
        "none": {"pretraining.epochs": 0},
        "a sixteenth": {"general.max_tokens": 125_000},
        "a quarter": {"general.max_tokens": 500_000},
        "all": {},
    },
    scales={
        "tiny": {"general.max_tokens": 6_000},
        "demo": {**DEMO_PRETRAINING, "general.max_tokens": 1_000_000},
        "small": {**TREC_6, "target.n_labels": 500},
        "paper": {"target.n_labels": 1000},
    },
    design=Design(
        contrasts=(("none", "a quarter"), ("a sixteenth", "a quarter"), ("all", "a quarter"), ("all", "none"))
    ),
    report=Report(
        notes=(
            "A language model is trained once for each size and shared by all seeds: intervals are over labelled "
            "documents, initial heads and data order, not over pretraining.",
        )
    ),
)
