"""Is one multiplier of the five dropouts left to tune, and does less data need more of it?

Whether the ratios that it multiplies are good is the question of `dropout_ratios`. `ulmfit-lab tune` looks for the
best multiplier of the smaller corpus. All sizes of corpus are read for the same number of epochs, so a larger corpus
also means more steps.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, LANGUAGE_MODEL
from ulmfit_lab.experiment import Design, Experiment, Range, Report, Search

LM_ALONE = {"last_stage": "pretrained", "pretraining.seed": None}

EXPERIMENT = Experiment(
    name="dropout_multiplier",
    question="Does less data need a larger multiplier of the five dropouts?",
    claim="The five dropouts have good ratios, so one multiplier is left to tune: more of it for less data or where "
    "the model overfits, less for more data.",
    source="Howard, fast.ai part 2 (2018), lesson 10, about 1:20",
    baseline="0.5",
    variants={
        "0": {"lm.drop_mult": 0.0},
        "0.25": {"lm.drop_mult": 0.25},
        "0.5": {},
        "1": {"lm.drop_mult": 1.0},
        "1.5": {"lm.drop_mult": 1.5},
    },
    scales={
        "tiny": {**LM_ALONE, "general.test_tokens": 500, "lm.drop_mult": 0.5},
        "demo": {**DEMO_PRETRAINING, **LM_ALONE, "general.test_tokens": 30_000, "lm.drop_mult": 0.5},
        "small": LANGUAGE_MODEL,
        "paper": {**LM_ALONE, "general.test_tokens": 250_000, "lm.drop_mult": 0.5},
    },
    factor="general.max_tokens",
    report=Report(
        factor_label="Tokens of the corpus",
        notes=(
            "The search of the multiplier stands beside the comparison and decides nothing in it.",
            "A corpus has the vocabulary of its own words, so perplexities compare between multipliers of one size, "
            "and not between sizes.",
        ),
    ),
    levels={
        "tiny": (1000, 4000),
        "demo": (100_000, 1_000_000),
        "small": (25_000, 100_000),
        "paper": (2_000_000, 20_000_000, 0),
    },
    metric="final/perplexity",
    search=Search(
        space={"lm.drop_mult": Range(0.0, 1.5)},
        variants=("0.5",),
        metric="final/valid_loss",
        levels={"tiny": 1000, "demo": 100_000, "small": 25_000, "paper": 2_000_000},
    ),
    design=Design(primary=tuple((variant, "0.5", tokens) for tokens in (25_000, 100_000) for variant in ("0", "1.5"))),
)
