"""Does a larger pretraining corpus help the classifier?

The general corpus is cut to a part of its tokens, and read once or as often as makes 15 million tokens: with as many
epochs a smaller corpus also gets fewer updates. Without pretraining the language model sees the target's own texts
alone. Every seed has a language model of its own for each size.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, TREC_6
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, Report

SMALLER, SMALL, LARGE = ({"general.max_tokens": size} for size in (250_000, 1_000_000, 4_000_000))

EXPERIMENT = Experiment(
    name="pretraining_size",
    question="Does a larger corpus for pretraining help the classifier?",
    claim="A far larger corpus for pretraining (all of Wikipedia) did not help much over WikiText-103.",
    source="Howard, fast.ai part 2 (2018), lesson 10, 1:00:15",
    baseline="all",
    variants={
        "none": {"pretraining.epochs": 0},
        "250,000 once": SMALLER,
        "1 million once": SMALL,
        "4 million once": LARGE,
        "all": {},
        "250,000, 60 times": {**SMALLER, "pretraining.epochs": 60},
        "1 million, 15 times": {**SMALL, "pretraining.epochs": 15},
        "4 million, 4 times": {**LARGE, "pretraining.epochs": 4},
    },
    scales={
        "tiny": {"pretraining.seed": None},
        "demo": {**DEMO_PRETRAINING, "general.max_tokens": 1_500_000, "pretraining.seed": None},
        "small": {**TREC_6, "target.n_labels": 500},
        "paper": {"target.n_labels": 1000, "pretraining.seed": None},
    },
    metric="final/error",
    seeds=range(8),
    design=Design(
        contrasts=(
            ("4 million, 4 times", "all"),
            ("1 million, 15 times", "all"),
            ("250,000, 60 times", "all"),
            ("4 million once", "all"),
            ("1 million once", "all"),
            ("250,000 once", "all"),
            ("none", "all"),
        ),
        primary=(("4 million, 4 times", "all", None), ("1 million, 15 times", "all", None)),
        smallest_difference=5.0,
        expected=Expectation(
            sd=3.5,
            source="withdrawn runs had 3.3 to 5.9 at 500 labels, with one language model a size",
            core_hours=24.0,
            changes_mind="an error that falls by 3 points or more from 4 million tokens to 15 million at equal updates",
        ),
    ),
    report=Report(
        extra_metrics=(ExtraMetric(metric="final/lm_perplexity", label="Perplexity of the fine-tuned language model"),),
    ),
)
