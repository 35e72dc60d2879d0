"""Is a language model's accuracy a better number to track than its perplexity?

    ulmfit-lab sweep accuracy_vs_perplexity
    ulmfit-lab report accuracy_vs_perplexity

Language models that differ in what they were trained with each start a classifier. The report says which number is
steadier, over seeds and over the last epochs, and which tells more of the classifier's error. Two more runs keep the
weights of the epoch that is best by the one number or by the other: they are the comparison of the first table.
"""

from ulmfit_lab.config.scales import DEMO_PRETRAINING
from ulmfit_lab.experiment import Associations, Design, Expectation, Experiment, Predictor, Report

# every language model differs by seed: stages without a seed of their own take the run's
OWN_SEEDS = {"pretraining.seed": None, "fine_tuning.seed": None}
# eight epochs without dropout at a high rate that never falls: the best epoch is not the last
OVERFITTING = {
    "lm.drop_mult": 0.0,
    "fine_tuning.epochs": 8,
    "fine_tuning.lr": 1e-2,
    "fine_tuning.schedule": "constant",
}


EXPERIMENT = Experiment(
    name="accuracy_vs_perplexity",
    question="Is a language model's accuracy a better number to track than its perplexity?",
    claim="Accuracy is a more stable number to keep track of than perplexity, since cross-entropy punishes a lack of "
    "confidence, and it is what one cares about; perplexity is not a terrible proxy for understanding either.",
    source="Howard, fast.ai part 2 (2018), lesson 10, 1:21:45 and 1:23:10",
    baseline="base",
    variants={
        "base": {},
        "no dropout": {"lm.drop_mult": 0.0},
        "much dropout": {"lm.drop_mult": 1.5},
        "one pass of pretraining": {"pretraining.epochs": 1},
        "no pretraining": {"pretraining.epochs": 0},
        "one pass of fine-tuning": {"fine_tuning.epochs": 1},
        "slow fine-tuning": {"fine_tuning.lr": 3e-4},
        "kept by loss": {**OVERFITTING, "fine_tuning.checkpoint": "best"},
        "kept by accuracy": {**OVERFITTING, "fine_tuning.checkpoint": "best-accuracy"},
    },
    scales={
        # rates at which models of this size learn anything at all within seconds
        "tiny": {
            **OWN_SEEDS,
            "pretraining.epochs": 2,
            "pretraining.lr": 3e-2,
            "fine_tuning.epochs": 4,
            "fine_tuning.lr": 1e-2,
            "classifier.epochs": 4,
            "classifier.lr": 2e-2,
        },
        "demo": {
            **DEMO_PRETRAINING,
            **OWN_SEEDS,
            "target.n_labels": 500,
            "general.max_tokens": 200_000,
            "pretraining.epochs": 2,
            "pretraining.lr": 1e-2,
            "unlabelled.max_tokens": 60_000,
            "fine_tuning.epochs": 5,
        },
        # TREC-6: questions of ten words, six classes; the language model's general corpus is WikiText-2
        "small": {
            **OWN_SEEDS,
            "target.name": "trec",
            "target.n_labels": 500,
            "target.holdout": 1500,
            "target.n_test": 0,
            "target.max_length": 60,
            "general.name": "wikitext-2",
            "general.max_tokens": 200_000,
            "general.valid_tokens": 20_000,
            "pretraining.epochs": 2,
            "pretraining.lr": 1e-2,
            "unlabelled.name": "",
            "unlabelled.split": "train",
            "unlabelled.max_tokens": 0,
            "unlabelled.valid_tokens": 10_000,
            "fine_tuning.epochs": 5,
            "fine_tuning.lr": 3e-3,
            "classifier.epochs": 12,
            "classifier.batch_size": 16,
        },
        "paper": {**OWN_SEEDS, "target.n_labels": 1000},
    },
    seeds=range(8),
    design=Design(
        contrasts=(("kept by accuracy", "kept by loss"),),
        smallest_difference=3.0,
        expected=Expectation(
            sd=2.0,
            source="withdrawn runs had 2.0 for this contrast",
            core_hours=2.3,
            changes_mind="a perplexity that is as steady over seeds, relative to what separates models, as accuracy",
        ),
    ),
    report=Report(
        associations=Associations(
            x=(
                Predictor(
                    metric="final/lm_perplexity",
                    name="perplexity",
                    label="Validation perplexity",
                    unit="nats",
                    lower_is_better=True,
                    log=True,
                    epoch_sd="final/lm_perplexity_epoch_sd",
                ),
                Predictor(
                    metric="final/lm_accuracy",
                    name="accuracy",
                    label="Validation accuracy (%)",
                    unit="points",
                    scale=100.0,
                    epoch_sd="final/lm_accuracy_epoch_sd",
                ),
            ),
            # "kept by accuracy" is the very training of "kept by loss"
            variants=(
                "base",
                "no dropout",
                "much dropout",
                "one pass of pretraining",
                "no pretraining",
                "one pass of fine-tuning",
                "slow fine-tuning",
                "kept by loss",
            ),
        ),
        notes=(
            "Perplexity and accuracy are those of the fine-tuned language model on held-out text of the target's kind, "
            "with the weights that the classifier starts from; the perplexity is compared on the log scale, as the "
            "loss.",
            "Variants with one recipe of pretraining share its model, seed by seed, so that they are less independent "
            "than the bootstrap takes them to be.",
            "All variants share the classifier's recipe, which was not tuned for any of them.",
            "A seed draws the labelled documents too, so that the error differs over seeds by more than the language "
            "model; both numbers are held against the same errors.",
        ),
    ),
)
