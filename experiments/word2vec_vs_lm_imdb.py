"""Does a pretrained language model beat word vectors on long reviews, with much unlabelled text of the target's kind?

The question of `word2vec_vs_lm` on IMDb: the language model is fine-tuned on 10 million tokens of its reviews.
"""

from ulmfit_lab.experiment import Design, Experiment, Published, Report, Search

EXPERIMENT = Experiment(
    name="word2vec_vs_lm_imdb",
    question="What does a classifier of reviews gain by starting from a language model, not from word vectors?",
    claim="A pretrained language model gives very different results from a word2vec layer, "
    "for the vast majority of tasks.",
    source="Howard, fast.ai part 2 (2018), lesson 10, 58:20",
    baseline="word2vec",
    variants={
        "random": {"classifier.init": "random"},
        "word2vec": {"classifier.init": "word2vec"},
        "fine-tuned LM": {"classifier.init": "fine-tuned"},
        "TF-IDF": {"classifier.model": "tf-idf", "target.max_length": 10_000},
        "TF-IDF of first words": {"classifier.model": "tf-idf"},
    },
    factor="target.n_labels",
    report=Report(
        factor_label="Labelled documents",
        reference="TF-IDF",
        published=(
            Published(
                variant="fine-tuned LM",
                against="random",
                what="IMDb, all labels, validation error: from scratch 9.93%, full recipe 5.00%",
                value=5.00 - 9.93,
                source="Howard & Ruder 2018, table 7",
            ),
        ),
        notes=(
            "At the small scale all networks get six epochs of 500 documents, 378 steps: few for one that starts from "
            "random weights or word vectors.",
            "TF-IDF reads whole documents, the networks their first words (`target.max_length`), as does TF-IDF of "
            "first words.",
            "The language models were trained once and are shared by all seeds: intervals are over labelled documents, "
            "initial heads and data order, not over pretraining.",
        ),
    ),
    levels={"tiny": (30, 60), "demo": (100, 500), "small": (500,), "paper": (100, 1000, 10_000, 22_500)},
    scales={
        # as wide a model as two cores train on 10 million tokens in an hour, and many steps for few long documents
        "small": {"lm.emb_size": 256, "lm.hidden_size": 384, "classifier.batch_size": 8},
    },
    design=Design(
        contrasts=(
            ("random", "word2vec"),
            ("fine-tuned LM", "word2vec"),
            ("fine-tuned LM", "random"),
            ("fine-tuned LM", "TF-IDF"),
            ("fine-tuned LM", "TF-IDF of first words"),
            ("TF-IDF of first words", "TF-IDF"),
        )
    ),
    tuned={
        # winners of `ulmfit-lab tune` while the classifier's dropouts were misplaced: to be searched again;
        # results/withdrawn/word2vec_vs_lm_imdb/tuning.csv has what was tried
        "small": {
            "random": {"classifier.lr": 3e-3},
            "word2vec": {"classifier.lr": 3e-3},
            "fine-tuned LM": {"classifier.lr": 6e-3},
        },
    },
    search=Search(
        space={"classifier.lr": (3e-3, 6e-3, 1.2e-2)},
        seeds=(1001, 1002, 1003),
        levels={"tiny": 60, "demo": 500, "small": 500, "paper": 1000},
    ),
)
