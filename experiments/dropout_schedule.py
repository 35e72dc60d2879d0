"""Does changing the dropouts through training help, and in which direction?

Rising and falling go linearly between zero and twice the rates, so that all three variants drop as much on the whole.
The model overfits: few tokens, many epochs, the best kept. The multiplier is that of the lecture, since twice the
dropouts of the scale would be more than everything.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, OVERFITTING
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, Report

LM_ALONE = {"last_stage": "pretrained", "pretraining.seed": None, "lm.drop_mult": 0.7}

EXPERIMENT = Experiment(
    name="dropout_schedule",
    question="Does changing the dropouts through training help a language model?",
    claim="Varying dropout through training gave good results; which direction, the lecturer did not remember.",
    source="Howard, fast.ai part 2 (2018), lesson 10, 1:28:10",
    baseline="constant",
    variants={
        "constant": {},
        "rising": {"pretraining.dropout_schedule": "rising"},
        "falling": {"pretraining.dropout_schedule": "falling"},
    },
    scales={
        "tiny": {**LM_ALONE, "general.test_tokens": 500},
        "demo": {**DEMO_PRETRAINING, **LM_ALONE, "general.test_tokens": 30_000},
        "small": {**OVERFITTING, "lm.drop_mult": 0.7},
        "paper": {**LM_ALONE, "general.test_tokens": 250_000},
    },
    metric="final/perplexity",
    seeds=range(8),
    report=Report(
        extra_metrics=(ExtraMetric(metric="final/loss_gap", label="Validation minus training loss (nats)"),),
        notes=(
            "The best epoch on validation data is tested: with falling dropout it may come before the end, with rising "
            "dropout it may not.",
        ),
    ),
    design=Design(
        contrasts=(("rising", "constant"), ("falling", "constant"), ("rising", "falling")),
        smallest_difference=2.0,
        expected=Expectation(
            sd=1.1,
            source="withdrawn runs had 0.8 to 1.1 at six epochs of fewer tokens",
            core_hours=5.8,
            changes_mind="neither direction better than constant rates by a point",
        ),
        wide=Expectation(
            sd=1.1,
            source="what the small scale expects, since nothing is known of this size",
            core_hours=31.0,
            changes_mind="another decision than at the small scale",
        ),
    ),
)
