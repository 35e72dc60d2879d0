"""Which parts of ULMFiT's fine-tuning help: of the classifier (table 7), and of the language model (table 6)?

The full recipe loses one part at a time. Each variant's learning rate is searched with the same budget.
"""

from ulmfit_lab.config.scales import TREC_6
from ulmfit_lab.experiment import (
    Design,
    Expectation,
    Experiment,
    ExtraMetric,
    ManipulationCheck,
    Published,
    Range,
    Report,
    Search,
)

DISCR, STLR = 2.6, "slanted"
ULMFIT = {
    "fine_tuning.layer_lr_decay": DISCR,
    "fine_tuning.schedule": STLR,
    "classifier.unfreeze": "gradual",
    "classifier.layer_lr_decay": DISCR,
    "classifier.schedule": STLR,
}
FULL = {"classifier.unfreeze": "all", "classifier.layer_lr_decay": 1.0, "classifier.schedule": "constant"}
RECIPE = "freez + discr + stlr"
TABLE_6, TABLE_7 = "Howard & Ruder 2018, table 6", "Howard & Ruder 2018, table 7"

EXPERIMENT = Experiment(
    name="fine_tuning",
    question="Which parts of ULMFiT's fine-tuning help a classifier?",
    claim="A learning rate for each layer group, slanted triangular rates and unfreezing from the top each help.",
    source="Howard, fast.ai part 2 (2018), lesson 10, 1:10:22; Howard & Ruder 2018, tables 6 and 7",
    baseline=RECIPE,
    variants={
        RECIPE: {},
        "discr + stlr": {"classifier.unfreeze": "all"},
        "freez + stlr": {"classifier.layer_lr_decay": 1.0},
        "freez + discr": {"classifier.schedule": "constant"},
        "full": FULL,
        "last": {**FULL, "classifier.unfreeze": "last"},
        "from scratch": {"classifier.init": "random", **FULL},
        "LM: none": {"classifier.init": "pretrained"},
        "LM: full": {"fine_tuning.layer_lr_decay": 1.0, "fine_tuning.schedule": "constant"},
    },
    scales={
        "tiny": {**ULMFIT, "target.holdout": 40},
        "demo": {**ULMFIT, "target.n_labels": 500, "target.holdout": 200},
        "small": {**TREC_6, **ULMFIT, "target.n_labels": 2000},
        "paper": {**ULMFIT, "target.holdout": 2500},
    },
    metric="final/holdout_error",
    seeds=range(16),
    search=Search(
        space={"classifier.lr": Range(1e-3, 6e-2, log=True)},
        widest={"classifier.lr": Range(1e-4, 0.5, log=True)},
        budget=6,
    ),
    design=Design(
        language_models=8,
        primary=tuple((part, RECIPE, None) for part in ("discr + stlr", "freez + stlr", "freez + discr")),
        smallest_difference=2.0,
        checks={
            "from scratch": ManipulationCheck(
                "final/holdout_above_majority", statement="30 points above the majority class", at_least=0.3
            )
        },
        expected=Expectation(
            sd=1.2,
            source="withdrawn runs with one language model had 0.4 to 2.1 over draws of labels; two draws are averaged",
            core_hours=2.5,
            changes_mind="a part without which the error is equal or lower: a 95% CI that excludes a gain of 1 point",
        ),
    ),
    report=Report(
        extra_metrics=(ExtraMetric(metric="final/error", label="Error on the official test set (%)", scale=100.0),),
        published=tuple(
            Published(
                variant=variant,
                against=RECIPE,
                what=f"TREC-6, all labels, validation error {error}%, full recipe 5.69%",
                value=error - 5.69,
                source=source,
            )
            for variant, error, source in (
                ("freez + discr", 5.86, TABLE_7),
                ("freez + stlr", 6.02, TABLE_7),
                ("full", 6.86, TABLE_7),
                ("last", 16.09, TABLE_7),
                ("from scratch", 13.36, TABLE_7),
                ("LM: none", 6.38, TABLE_6),
                ("LM: full", 6.54, TABLE_6),
            )
        ),
        notes=(
            "The published figures are of all 5,452 labels, ours at the small scale of 2,000.",
            "Each of eight language models starts two classifiers, with draws of labels and heads of their own.",
        ),
    ),
)
