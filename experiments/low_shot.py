"""How many labels does pretraining save, with and without unlabelled text of the target?

`supervised` fine-tunes the language model on the labelled documents alone, `semi-supervised` on all training texts.
"""

from ulmfit_lab.config.scales import TREC_6
from ulmfit_lab.experiment import Design, Experiment, Report, Search

EXPERIMENT = Experiment(
    name="low_shot",
    question="How many labels does a pretrained language model save?",
    claim="With 100 labels, fine-tuning matches training from scratch on 10 to 20 times as many, and on 50 to 100 "
    "times as many where unlabelled text of the target is used too.",
    source="Howard & Ruder 2018, figure 3",
    baseline="from scratch",
    variants={
        "from scratch": {"classifier.init": "random"},
        "supervised": {"target.lm_text": "labelled", "fine_tuning.seed": None},
        "semi-supervised": {},
        "TF-IDF": {"classifier.model": "tf-idf"},
    },
    scales={"tiny": {}, "demo": {}, "small": TREC_6, "paper": {"unlabelled.name": ""}},
    factor="target.n_labels",
    report=Report(
        factor_label="Labelled documents",
        reference="TF-IDF",
        notes=("The vocabulary is that of all training texts for every variant.",),
    ),
    levels={
        "tiny": (30, 60),
        "demo": (100, 500),
        "small": (50, 100, 500, 2000, 4900),
        "paper": (100, 500, 2000, 10_000, 22_500),
    },
    design=Design(
        contrasts=(
            ("supervised", "from scratch"),
            ("semi-supervised", "from scratch"),
            ("semi-supervised", "supervised"),
            ("semi-supervised", "TF-IDF"),
        )
    ),
    tuned={
        # winners of `ulmfit-lab tune` while the classifier's dropouts were misplaced: to be searched again;
        # results/withdrawn/low_shot/tuning.csv has what was tried
        "small": {
            "from scratch": {"classifier.lr": 0.015},
            "supervised": {"classifier.lr": 0.007},
            "semi-supervised": {"classifier.lr": 0.003},
        },
    },
    search=Search(
        space={"classifier.lr": (3e-3, 7e-3, 1.5e-2)},
        levels={"tiny": 60, "demo": 500, "small": 500, "paper": 2000},
    ),
)
