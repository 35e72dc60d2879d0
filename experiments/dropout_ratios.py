"""Does each of the AWD-LSTM's five dropouts earn its place beside the other four?"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, LANGUAGE_MODEL
from ulmfit_lab.experiment import Experiment, Report

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
    },
    scales={
        "tiny": {**LM_ALONE, "general.test_tokens": 500},
        "demo": {**DEMO_PRETRAINING, **LM_ALONE, "general.test_tokens": 30_000},
        "small": {**LANGUAGE_MODEL, "general.max_tokens": 50_000},
        "paper": {**LM_ALONE, "general.test_tokens": 250_000},
    },
    metric="final/perplexity",
    report=Report(
        notes=(
            "With good ratios each dropout is missed when it is gone. All variants share the baseline's learning rate, "
            "and what is dropped on the whole is less without one of the five.",
        )
    ),
)
