"""Do a forward and a backward model together beat either alone, and two models of one direction?"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, TREC_6
from ulmfit_lab.experiment import Design, Expectation, Experiment, ExtraMetric, Published, Report

EXPERIMENT = Experiment(
    name="direction",
    question="Do a forward and a backward model together beat either alone, and two forward models?",
    claim="The average of a forward and a backward classifier is better than either of them.",
    source="Howard & Ruder 2018, section 5 (bidirectional)",
    baseline="forward",
    variants={
        "forward": {},
        "backward": {"lm.backwards": True},
        "averaged": {"classifier.both_directions": True},
        "two forward": {"classifier.second_model": 8},
    },
    scales={
        "tiny": {"target.holdout": 40},
        "demo": {**DEMO_PRETRAINING, "target.holdout": 200},
        "small": TREC_6,
        "paper": {"target.holdout": 2500},
    },
    metric="final/holdout_error",
    factor="target.n_labels",
    report=Report(
        factor_label="Labelled documents",
        extra_metrics=(ExtraMetric(metric="final/error", label="Error on the test set (%)", scale=100.0),),
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
            "An average of any two classifiers may gain: `two forward` averages those of two forward language models, "
            "of the seeds s and s + 8, on the same labelled documents.",
        ),
    ),
    levels={"tiny": (60,), "demo": (500,), "small": (500, 2000), "paper": (22_500,)},
    seeds=range(8),
    design=Design(
        contrasts=(
            ("averaged", "forward"),
            ("averaged", "backward"),
            ("averaged", "two forward"),
            ("two forward", "forward"),
            ("backward", "forward"),
        ),
        primary=(("averaged", "forward", None), ("averaged", "backward", None), ("averaged", "two forward", None)),
        smallest_difference=1.5,
        expected=Expectation(
            sd=1.0,
            source="withdrawn runs had 0.5 to 0.8 at 4,900 labels and 1.7 to 2.9 at 500",
            core_hours=11,
            changes_mind="an average that is no better than two forward models by half a point",
        ),
    ),
)
