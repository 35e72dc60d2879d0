"""Do random sequence lengths help a language model, and does scaling the learning rate by them?

The stream is read in order and never shuffled; a random length moves the borders of the windows from epoch to epoch.
All variants read the same tokens equally often, where a model overfits: few tokens, many epochs, the best kept.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, OVERFITTING
from ulmfit_lab.experiment import Design, Expectation, Experiment, Published, Report

EXPERIMENT = Experiment(
    name="bptt",
    question="Do random sequence lengths help a language model, and does scaling the learning rate by them?",
    claim="A random sequence length, mostly around bptt and now and then around half of it, gives back some of the "
    "randomness that is lost where text is not shuffled.",
    source="Howard, fast.ai part 2 (2018), lesson 10, about 1:08; Merity et al. 2017, section 5",
    baseline="fixed",
    variants={
        "fixed": {"pretraining.stochastic_bptt": False},
        "random": {},
        "random, rate scaled": {"pretraining.rescale_lr": True},
    },
    scales={
        "tiny": {
            "last_stage": "pretrained",
            "general.test_tokens": 500,
            "pretraining.epochs": 2,
            "pretraining.seed": None,
        },
        "demo": {
            **DEMO_PRETRAINING,
            "last_stage": "pretrained",
            "general.test_tokens": 30_000,
            "pretraining.seed": None,
        },
        "small": OVERFITTING,
        "paper": {"last_stage": "pretrained", "general.test_tokens": 250_000, "pretraining.seed": None},
    },
    factor="pretraining.bptt",
    report=Report(
        factor_label="Time steps of a window",
        published=(
            Published(
                variant="random, rate scaled",
                against="fixed",
                what="WikiText-2, test perplexity of an AWD-LSTM: with fixed lengths 66.2, with variable ones 65.8",
                value=65.8 - 66.2,
                against_value=66.2,
                source="Merity et al. 2017, table 4",
            ),
        ),
        notes=(
            "A window of a fixed length sees the same borders in every epoch.",
            "The published difference is smaller than what eight seeds can show; it would take about forty.",
        ),
    ),
    levels={"tiny": (20,), "demo": (70,), "small": (70,), "paper": (70,)},
    metric="final/perplexity",
    seeds=range(8),
    design=Design(
        contrasts=(("random", "fixed"), ("random, rate scaled", "fixed"), ("random, rate scaled", "random")),
        primary=(("random", "fixed", None), ("random, rate scaled", "fixed", None)),
        smallest_difference=1.2,
        expected=Expectation(
            sd=0.8,
            source="withdrawn runs had 0.8 at six epochs of fewer tokens",
            core_hours=5.8,
            changes_mind="fixed lengths that are better, or a 95% CI that excludes a gain of half a point",
        ),
        wide=Expectation(
            sd=0.8,
            source="what the small scale expects, since nothing is known of this size",
            core_hours=31.0,
            changes_mind="another decision than at the small scale",
        ),
    ),
)
