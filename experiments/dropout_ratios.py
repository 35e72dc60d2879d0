"""Does each of the AWD-LSTM's five dropouts earn its place beside the other four?"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, OVERFITTING
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, Report

LM_ALONE = {"last_stage": "pretrained", "pretraining.seed": None, "lm.drop_mult": 0.5}

EXPERIMENT = Experiment(
    name="dropout_ratios",
    question="Is any of the five dropouts missed when it is switched off alone?",
    claim="The five dropouts have good ratios, so that one multiplier is left to tune.",
    source="Howard, fast.ai part 2 (2018), lesson 10, about 1:20",
    baseline="all five",
    variants={
        "all five": {},
        "no input dropout": {"lm.input_dropout": 0.0},
        "no output dropout": {"lm.output_dropout": 0.0},
        "no weight dropout": {"lm.weight_dropout": 0.0},
        "no embedding dropout": {"lm.embedding_dropout": 0.0},
        "no hidden dropout": {"lm.hidden_dropout": 0.0},
        "a quarter more of all": {"lm.drop_mult": 0.875},
        "a quarter less of all": {"lm.drop_mult": 0.525},
    },
    scales={
        "tiny": {**LM_ALONE, "general.test_tokens": 500},
        "demo": {**DEMO_PRETRAINING, **LM_ALONE, "general.test_tokens": 30_000},
        # the ratios of the lecture, at the multiplier that it names
        "small": {
            **OVERFITTING,
            "lm.drop_mult": 0.7,
            "lm.input_dropout": 0.25,
            "lm.output_dropout": 0.1,
            "lm.weight_dropout": 0.2,
            "lm.embedding_dropout": 0.02,
            "lm.hidden_dropout": 0.15,
        },
        "paper": {**LM_ALONE, "general.test_tokens": 250_000},
    },
    metric="final/perplexity",
    seeds=range(8),
    report=Report(
        extra_metrics=(ExtraMetric(metric="final/loss_gap", label="Validation minus training loss (nats)"),),
        notes=(
            "With good ratios each dropout is missed when it is gone, and more than a quarter of all five is. All "
            "variants share the baseline's learning rate.",
        ),
    ),
    design=Design(
        primary=tuple((f"no {name} dropout", "all five", None) for name in ("input", "weight", "embedding")),
        smallest_difference=1.5,
        expected=Expectation(
            sd=0.8,
            source="withdrawn runs had 0.5 to 0.9 in perplexity",
            core_hours=19.0,
            changes_mind="a dropout without which the perplexity is lower, or that is not missed by 0.5",
        ),
    ),
)
