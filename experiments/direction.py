"""Do a forward and a backward model together beat either alone?"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, TREC_6
from ulmfit_lab.experiment import Design, Experiment, Published, Report

EXPERIMENT = Experiment(
    name="direction",
    question="Do a forward and a backward model together beat either alone?",
    claim="The average of a forward and a backward classifier is better than either of them.",
    source="Howard & Ruder 2018, section 5 (bidirectional)",
    baseline="forward",
    variants={
        "forward": {},
        "backward": {"lm.backwards": True},
        "averaged": {"classifier.both_directions": True},
    },
    scales={"demo": DEMO_PRETRAINING, "small": TREC_6},
    factor="target.n_labels",
    report=Report(
        factor_label="Labelled documents",
        published=(
            Published(
                variant="averaged",
                against="forward",
                what="IMDb, all labels, test error: one direction 5.30%, both 4.58%",
                value=4.58 - 5.30,
                source="Howard & Ruder 2018, section 5",
            ),
        ),
        notes=(
            "The looks were planned after the first six seeds had been seen, as is done where a comparison is open.",
        ),
    ),
    levels={"tiny": (60,), "demo": (500,), "small": (500, 4900), "paper": (22_500,)},
    seeds=range(12),
    design=Design(
        looks=(6, 8, 10, 12),
        contrasts=(("averaged", "forward"), ("averaged", "backward"), ("backward", "forward")),
    ),
)
