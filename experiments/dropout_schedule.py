"""Does changing the dropouts through training help, and in which direction?

Rising and falling go linearly between zero and twice the rates, so that all three variants drop as much on the whole.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, LANGUAGE_MODEL
from ulmfit_lab.experiment import Design, Experiment

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
        "small": {**LANGUAGE_MODEL, **LM_ALONE},
        "paper": {**LM_ALONE, "general.test_tokens": 250_000},
    },
    metric="final/perplexity",
    design=Design(contrasts=(("rising", "constant"), ("falling", "constant"), ("rising", "falling"))),
)
