"""Train the two English language models that come with the lab, one for each direction of reading.

Text: IMDb's unlabelled reviews and WikiText-2's training split, the named set `imdb-wiki`.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING
from ulmfit_lab.experiment import Design, Experiment, Report

EXPERIMENT = Experiment(
    name="imdb_wiki_en",
    question="How well does a language model of 5 MB predict film reviews, forwards and backwards?",
    baseline="forwards",
    variants={
        "forwards": {"lm.backwards": False},
        "backwards": {"lm.backwards": True},
    },
    scales={
        "tiny": {"last_stage": "pretrained", "general.test_tokens": 500},
        "demo": {**DEMO_PRETRAINING, "last_stage": "pretrained", "general.test_tokens": 30_000},
        "small": {
            "last_stage": "pretrained",
            "general.name": "imdb-wiki",
            "general.valid_tokens": 250_000,
            "general.test_tokens": 250_000,
            "lm.emb_size": 128,
            "lm.hidden_size": 384,
            "lm.drop_mult": 0.1,
            "pretraining.epochs": 4,
            "pretraining.batch_size": 64,
            "pretraining.seed": 0,
            "compute.precision": "bfloat16",
            "compute.threads": 2,
        },
        "paper": {"last_stage": "pretrained", "general.test_tokens": 250_000},
    },
    factor="lm.n_layers",
    levels={"tiny": (1,), "demo": (2,), "small": (2,), "paper": (3,)},
    seeds=(0,),
    metric="final/perplexity",
    report=Report(factor_label="LSTM layers"),
    design=Design(contrasts=(("backwards", "forwards"),)),
)
