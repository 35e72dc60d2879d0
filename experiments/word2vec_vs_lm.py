"""Does a pretrained language model beat word vectors as the start of a classifier?

    ulmfit-lab plan word2vec_vs_lm        # what it will cost, before anything is spent
    ulmfit-lab sweep word2vec_vs_lm
    ulmfit-lab report word2vec_vs_lm

Every network reads the same labelled documents with the same seeds, has the same size and the same vocabulary, and is
tuned with the same budget on validation data. The small scale's target is TREC-6: questions of ten words, and 55,000
tokens of them in all.
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

EXPERIMENT = Experiment(
    name="word2vec_vs_lm",
    question="What does a classifier gain by starting from a pretrained language model, not from word vectors?",
    claim="A pretrained language model gives very different results from a word2vec layer, "
    "for the vast majority of tasks.",
    source="Howard, fast.ai part 2 (2018), lesson 10, 58:20",
    baseline="word2vec",
    variants={
        "random": {"classifier.init": "random"},
        "word2vec": {"classifier.init": "word2vec"},
        "word2vec, pooled": {"classifier.model": "word-vectors"},
        "GloVe": {"classifier.init": "glove"},
        "LM features": {"classifier.init": "pretrained", "classifier.unfreeze": "last"},
        "pretrained LM": {"classifier.init": "pretrained"},
        "fine-tuned LM": {"classifier.init": "fine-tuned"},
        "TF-IDF": {"classifier.model": "tf-idf"},
    },
    scales={
        "tiny": {"target.holdout": 40},
        "demo": {"target.holdout": 200},
        "small": TREC_6,
        "paper": {"target.holdout": 2500},
    },
    metric="final/holdout_error",
    factor="target.n_labels",
    seeds=range(8),
    report=Report(
        factor_label="Labelled documents",
        reference="TF-IDF",
        extra_metrics=(ExtraMetric(metric="final/error", label="Error on the test set (%)", scale=100.0),),
        published=(
            Published(
                variant="fine-tuned LM",
                against="random",
                what="TREC-6, all labels, validation error: from scratch 13.36%, full recipe 5.69%",
                value=5.69 - 13.36,
                source="Howard & Ruder 2018, table 7",
            ),
        ),
        notes=(
            "GloVe is 50-dimensional: it fills the first 50 columns of the embedding, the others start at random, "
            "so that the network stays the same.",
        ),
    ),
    tuned={
        "small": {
            "random": {"classifier.lr": 0.0218},
            "word2vec": {"classifier.lr": 0.001},
            "GloVe": {"classifier.lr": 0.001},
            "LM features": {"classifier.lr": 0.003},
            "pretrained LM": {"classifier.lr": 0.003},
            "fine-tuned LM": {"classifier.lr": 0.003},
        }
    },
    levels={"tiny": (30, 60), "demo": (100, 500), "small": (100, 500, 2000), "paper": (100, 1000, 10_000, 22_500)},
    design=Design(
        language_models=8,
        contrasts=(
            ("random", "word2vec"),
            ("GloVe", "word2vec"),
            ("LM features", "word2vec"),
            ("pretrained LM", "word2vec"),
            ("fine-tuned LM", "word2vec"),
            ("fine-tuned LM", "word2vec, pooled"),
            ("fine-tuned LM", "TF-IDF"),
        ),
        primary=(
            ("pretrained LM", "word2vec", None),
            ("fine-tuned LM", "word2vec", None),
            ("fine-tuned LM", "word2vec, pooled", None),
        ),
        smallest_difference=4.0,
        checks={
            "word2vec": ManipulationCheck(
                "final/holdout_above_majority", statement="10 points above the majority class", at_least=0.1
            )
        },
        expected=Expectation(
            sd=2.2,
            source="withdrawn runs had 1.9 to 3.4 on a test set of a third of this size",
            core_hours=2.4,
            changes_mind="a 95% CI of fine-tuned LM - word2vec that excludes a gain of 2 points at 2,000 labels",
        ),
    ),
    search=Search(
        space={"classifier.lr": Range(1e-3, 6e-2, log=True)},
        widest={"classifier.lr": Range(1e-4, 0.5, log=True)},
        budget=6,
        levels={"tiny": 60, "demo": 500, "small": 500, "paper": 1000},
    ),
)
