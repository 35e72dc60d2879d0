"""Should a language model read words or pieces of words?"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, TREC_6
from ulmfit_lab.experiment import Experiment, Report

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
    scales={"demo": DEMO_PRETRAINING, "small": TREC_6},
    factor="target.n_labels",
    report=Report(factor_label="Labelled documents"),
    levels={"tiny": (60,), "demo": (500,), "small": (100, 500, 4900), "paper": (1000, 22_500)},
)
