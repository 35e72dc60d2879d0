"""Should a language model read words or pieces of words?"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, TREC_6
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, Margin, Range, Report, Search

EXPERIMENT = Experiment(
    name="subword_or_word",
    question="Should the language model read words or pieces of words?",
    claim="Subwords, with which no word is unknown, serve at least as well as words and need a smaller vocabulary.",
    source="Eisenschlos et al. 2019 (MultiFiT)",
    baseline="words",
    variants={
        "words": {},
        "subwords": {"vocabulary.units": "subwords"},
    },
    scales={
        "tiny": {"target.holdout": 40},
        "demo": {**DEMO_PRETRAINING, "target.holdout": 200},
        "small": TREC_6,
        "paper": {"target.holdout": 2500},
    },
    metric="final/holdout_error",
    factor="target.n_labels",
    seeds=range(8),
    report=Report(
        factor_label="Labelled documents",
        extra_metrics=(ExtraMetric(metric="final/error", label="Error on the test set (%)", scale=100.0),),
        notes=("Both have 8,000 units at the small scale.",),
    ),
    levels={"tiny": (60,), "demo": (500,), "small": (500, 2000), "paper": (1000, 22_500)},
    design=Design(
        language_models=8,
        primary=(("subwords", "words", None),),
        margins=(Margin("subwords", "words", 2.0, "a sixth of the error: less than the choice of a seed moves it"),),
        smallest_difference=2.0,
        expected=Expectation(
            sd=1.5,
            source="withdrawn runs had 0.9 at 4,900 labels and 3.0 at 500, with one language model each",
            core_hours=9.0,
            changes_mind="subwords that are worse by more than 2 points at 2,000 labels",
        ),
    ),
    search=Search(
        space={"classifier.lr": Range(1e-3, 6e-2, log=True)},
        widest={"classifier.lr": Range(1e-4, 0.5, log=True)},
        budget=6,
        levels={"tiny": 60, "demo": 500, "small": 500, "paper": 1000},
    ),
)
