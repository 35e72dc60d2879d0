"""Does training in bfloat16 cost a language model anything?

Products of matrices are in bfloat16, with weights, sums, softmax and optimiser in float32. Speed is what it is for: see
the benchmarks.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, LANGUAGE_MODEL
from ulmfit_lab.experiment import Design, Expectation, Experiment, Report

LM_ALONE = {"last_stage": "pretrained", "pretraining.seed": None}

EXPERIMENT = Experiment(
    name="precision",
    question="Does training in bfloat16 cost a language model anything?",
    claim="Training in bfloat16 reaches what float32 reaches, with the same hyperparameters.",
    source="Kalamkar et al. 2019, arXiv 1905.12322",
    baseline="float32",
    variants={"float32": {"compute.precision": "float32"}, "bfloat16": {"compute.precision": "bfloat16"}},
    scales={
        "tiny": {**LM_ALONE, "general.test_tokens": 500},
        "demo": {**DEMO_PRETRAINING, **LM_ALONE, "general.test_tokens": 30_000},
        "small": {**LANGUAGE_MODEL},
        "paper": {**LM_ALONE, "general.test_tokens": 250_000},
    },
    seeds=tuple(range(12)),
    metric="final/perplexity",
    design=Design(
        wide=Expectation(
            sd=0.31,
            source="the small scale's twelve seeds had 0.31",
            core_hours=1.3,
            changes_mind="bfloat16 worse than float32",
        ),
    ),
    report=Report(notes=("Both train with the learning rate that was found for bfloat16.",)),
)
