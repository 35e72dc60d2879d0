"""Does training in bfloat16 cost a language model anything?

Products of matrices are in bfloat16, with weights, sums, softmax and optimiser in float32. Speed is what it is for: see
the benchmarks.

Seeds 0 to 11 were seen with an older version of pretraining, so that the margin is tested on others.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, LANGUAGE_MODEL
from ulmfit_lab.experiment import Design, Expectation, Experiment, Margin, Report

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
    seeds=range(12, 24),
    metric="final/perplexity",
    design=Design(
        contrasts=(("bfloat16", "float32"),),
        primary=(("bfloat16", "float32", None),),
        margins=(Margin("bfloat16", "float32", 0.5, "half a percent of the perplexity"),),
        smallest_difference=0.5,
        expected=Expectation(
            sd=0.31,
            source="twelve other seeds of an older version had 0.31",
            core_hours=0.5,
            changes_mind="bfloat16 worse than float32 by more than half a point",
        ),
        wide=Expectation(
            sd=0.31,
            source="twelve seeds of an older version had 0.31 at the small scale",
            core_hours=1.3,
            changes_mind="bfloat16 worse than float32 by more than half a point",
        ),
    ),
    report=Report(notes=("Both train with the learning rate that was found for bfloat16.",)),
)
