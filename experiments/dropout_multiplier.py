"""Is one multiplier of the five dropouts left to tune, and does less data need more of it?

Whether the ratios that it multiplies are good is the question of `dropout_ratios`. At the small scale each model is
trained until its validation loss has not improved for ten epochs, and its best epoch is tested: a larger corpus is then
not one that is trained for longer.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, OVERFITTING
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, ManipulationCheck, Range, Report, Search

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
        "small": {
            **OVERFITTING,
            "lm.drop_mult": 0.5,
            "pretraining.schedule": "constant",
            "pretraining.lr": 2e-3,
            "pretraining.epochs": 100,
            "pretraining.patience": 10,
        },
        "paper": {**LM_ALONE, "general.test_tokens": 250_000, "lm.drop_mult": 0.5},
    },
    factor="general.max_tokens",
    seeds=range(8),
    report=Report(
        factor_label="Tokens of the corpus",
        extra_metrics=(ExtraMetric(metric="final/loss_gap", label="Validation minus training loss (nats)"),),
        notes=(
            "The search of the multiplier stands beside the comparison and decides nothing in it.",
            "A corpus has the vocabulary of its own words, so perplexities compare between multipliers of one size, "
            "and not between sizes.",
        ),
    ),
    levels={
        "tiny": (1000, 4000),
        "demo": (100_000, 1_000_000),
        "small": (50_000, 400_000),
        "paper": (2_000_000, 20_000_000, 0),
    },
    metric="final/perplexity",
    search=Search(
        space={"lm.drop_mult": Range(0.0, 1.5)},
        widest={"lm.drop_mult": Range(0.0, 2.0)},
        variants=("0.5",),
        metric="final/valid_loss",
        levels={"tiny": 1000, "demo": 100_000, "small": 50_000, "paper": 2_000_000},
    ),
    design=Design(
        contrasts=(("0", "0.5"), ("0.25", "0.5"), ("1", "0.5"), ("1.5", "0.5"), ("1", "0.25")),
        primary=(("1", "0.25", 50_000), ("1", "0.25", 400_000), ("0", "0.5", 50_000)),
        smallest_difference=2.0,
        checks={
            "0": ManipulationCheck(
                "final/loss_gap", statement="it overfits: the last gap is above 0.5 nats", at_least=0.5
            )
        },
        expected=Expectation(
            sd=1.1,
            source="withdrawn runs had 0.5 to 1.2 in perplexity",
            core_hours=45.0,
            changes_mind="1 - 0.25 of the same sign at both sizes, though the model without dropout overfits",
        ),
    ),
)
