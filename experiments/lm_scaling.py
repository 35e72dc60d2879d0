"""Which size of language model, and how much dropout, is best for the tokens that are read?

Every variant reads each level's tokens once. Compute is proportional to the weights times the tokens, so that losses at
equal compute are read between levels; each level has the 10,000 most frequent words of its own tokens. The text is that
of the models that come with the lab.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING
from ulmfit_lab.experiment import Design, Experiment, ExtraMetric, Report

SMALLER = {"lm.emb_size": 72, "lm.hidden_size": 256}
MIDDLE = {"lm.emb_size": 128, "lm.hidden_size": 384}
LARGER = {"lm.emb_size": 200, "lm.hidden_size": 640}
ALONE = {"last_stage": "pretrained", "pretraining.seed": None}

EXPERIMENT = Experiment(
    name="lm_scaling",
    question="Which size of language model, and how much dropout, is best for the tokens that are read?",
    baseline="128/384, x 0.1",
    variants={
        "72/256, x 0": {**SMALLER, "lm.drop_mult": 0.0},
        "72/256, x 0.1": {**SMALLER, "lm.drop_mult": 0.1},
        "72/256, x 0.2": {**SMALLER, "lm.drop_mult": 0.2},
        "128/384, x 0": {**MIDDLE, "lm.drop_mult": 0.0},
        "128/384, x 0.1": {**MIDDLE, "lm.drop_mult": 0.1},
        "128/384, x 0.2": {**MIDDLE, "lm.drop_mult": 0.2},
        "200/640, x 0": {**LARGER, "lm.drop_mult": 0.0},
        "200/640, x 0.1": {**LARGER, "lm.drop_mult": 0.1},
        "200/640, x 0.2": {**LARGER, "lm.drop_mult": 0.2},
    },
    scales={
        "tiny": {**ALONE, "general.test_tokens": 500},
        "demo": {**DEMO_PRETRAINING, **ALONE, "general.test_tokens": 30_000},
        "small": {
            **ALONE,
            "general.name": "imdb-wiki",
            "general.valid_tokens": 250_000,
            "general.test_tokens": 250_000,
            "pretraining.epochs": 1,
            "pretraining.lr": 1.5e-2,
            "compute.precision": "bfloat16",
        },
        "paper": {**ALONE, "general.test_tokens": 250_000},
    },
    factor="general.max_tokens",
    levels={
        "tiny": (4_000,),
        "demo": (500_000,),
        "small": (1_000_000, 2_000_000, 4_000_000),
        "paper": (100_000_000,),
    },
    seeds=(0, 1, 2),
    metric="final/loss",
    report=Report(
        factor_label="Tokens read",
        against_compute=True,
        extra_metrics=(ExtraMetric(metric="final/perplexity", label="Test perplexity"),),
    ),
    design=Design(
        contrasts=(
            ("72/256, x 0.1", "128/384, x 0.1"),
            ("200/640, x 0.1", "128/384, x 0.1"),
            ("128/384, x 0", "128/384, x 0.1"),
        )
    ),
)
