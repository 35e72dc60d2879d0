"""Does a pretrained language model beat word vectors as the start of a classifier?

    ulmfit-lab plan word2vec_vs_lm        # what it will cost, before anything is spent
    ulmfit-lab sweep word2vec_vs_lm
    ulmfit-lab report word2vec_vs_lm

Every variant reads the same labelled documents with the same seeds, has the same network and the same vocabulary, and
was tuned with the same budget on validation data. The small scale's target is TREC-6: questions of ten words, and
55,000 tokens of them in all.
"""

from ulmfit_lab.config.scales import TREC_6
from ulmfit_lab.experiment import Design, Experiment, Published, Report, Search

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
        "GloVe": {"classifier.init": "glove"},
        "LM features": {"classifier.init": "pretrained", "classifier.unfreeze": "last"},
        "pretrained LM": {"classifier.init": "pretrained"},
        "fine-tuned LM": {"classifier.init": "fine-tuned"},
        "TF-IDF": {"classifier.model": "tf-idf"},
    },
    scales={"small": TREC_6},
    factor="target.n_labels",
    report=Report(
        factor_label="Labelled documents",
        reference="TF-IDF",
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
            "The language models were trained once and are shared by all seeds: intervals are over labelled documents, "
            "initial heads and data order, not over pretraining.",
        ),
    ),
    levels={"tiny": (30, 60), "demo": (100, 500), "small": (100, 500, 2000), "paper": (100, 1000, 10_000, 22_500)},
    design=Design(
        contrasts=(
            ("random", "word2vec"),
            ("GloVe", "word2vec"),
            ("LM features", "word2vec"),
            ("pretrained LM", "word2vec"),
            ("fine-tuned LM", "word2vec"),
            ("fine-tuned LM", "TF-IDF"),
        ),
        primary=(("pretrained LM", "word2vec", None), ("fine-tuned LM", "word2vec", None)),
    ),
    tuned={
        # winners of `ulmfit-lab tune` while the classifier's dropouts were misplaced: to be searched again;
        # results/withdrawn/word2vec_vs_lm/tuning.csv has what was tried
        "small": {
            "random": {"classifier.lr": 0.015},
            "word2vec": {"classifier.lr": 0.015},
            "GloVe": {"classifier.lr": 0.015},
            "LM features": {"classifier.lr": 0.015},
            "pretrained LM": {"classifier.lr": 0.007},
            "fine-tuned LM": {"classifier.lr": 0.003},
        },
    },
    search=Search(
        space={"classifier.lr": (3e-3, 7e-3, 1.5e-2, 3e-2)},
        levels={"tiny": 60, "demo": 500, "small": 500, "paper": 1000},
        seeds=(1001, 1002, 1003),
    ),
)
