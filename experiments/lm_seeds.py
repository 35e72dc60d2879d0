"""Train the language models that the ledger's comparisons share: one recipe, eight seeds.

Text: IMDb's unlabelled reviews and WikiText-2's training split, the named set `imdb-wiki`, read once: 15.3 million
tokens. In float32 with one thread, so that a sweep continues on any processor. `ulmfit-lab stages --export FILE --for
lm_seeds --kind pretrained` takes the models to another machine.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING, LM_SEEDS
from ulmfit_lab.experiment import Design, Experiment

EXPERIMENT = Experiment(
    name="lm_seeds",
    question="How much do language models of one recipe differ by their seed, and by the direction of reading?",
    baseline="forwards",
    variants={
        "forwards": {"lm.backwards": False},
        "backwards": {"lm.backwards": True},
    },
    scales={
        "tiny": {"last_stage": "pretrained", "general.test_tokens": 500, "pretraining.seed": None},
        "demo": {
            **DEMO_PRETRAINING,
            "last_stage": "pretrained",
            "general.test_tokens": 30_000,
            "pretraining.seed": None,
        },
        "small": {**LM_SEEDS, "last_stage": "pretrained"},
        "paper": {"last_stage": "pretrained", "general.test_tokens": 250_000, "pretraining.seed": None},
    },
    seeds=tuple(range(8)),
    metric="final/perplexity",
    design=Design(contrasts=(("backwards", "forwards"),)),
)
