"""What does each part of the AWD-LSTM's regularisation and training contribute to a language model?

Each variant takes one part away, with the learning rate that suits it best on validation data.
"""

from ulmfit_lab.config.scales import AWD_LSTM, DEMO_PRETRAINING, LANGUAGE_MODEL
from ulmfit_lab.experiment import Design, Experiment, ExtraMetric, ManipulationCheck, Published, Report, Search

# the checkpoint that is best on validation is tested, as in the original
LM_ALONE = {"last_stage": "pretrained", "pretraining.seed": None, "pretraining.checkpoint": "best"}
ADAM = {"pretraining.optimizer": "adam", "pretraining.schedule": "slanted", "pretraining.lr": 5e-3}
SOURCE = "Merity et al. 2017, table 4"

EXPERIMENT = Experiment(
    name="awd_lstm",
    question="What does each part of the AWD-LSTM contribute to a language model?",
    claim="Everything beyond a plain LSTM in the AWD-LSTM is regularisation, and each part of it helps; the decoder "
    "should share the embedding's weights.",
    source="Howard, fast.ai part 2 (2018), lesson 10, 1:16:45 and about 1:18; Merity et al. 2017, table 4",
    baseline="AWD-LSTM",
    variants={
        "AWD-LSTM": {},
        "no weight dropout": {"lm.weight_dropout": 0.0},
        "no embedding dropout": {"lm.embedding_dropout": 0.0},
        "no dropout at all": {"lm.drop_mult": 0.0},
        "no AR, TAR": {"pretraining.alpha": 0.0, "pretraining.beta": 0.0},
        "untied weights": {"lm.tie_weights": False},
        "fixed lengths": {"pretraining.stochastic_bptt": False},
        "weight decay": {"pretraining.weight_decay": 0.01},
        "NT-ASGD": {"pretraining.optimizer": "nt-asgd", "pretraining.schedule": "constant", "pretraining.lr": 10.0},
    },
    scales={
        "tiny": {**LM_ALONE, "general.test_tokens": 500},
        "demo": {**DEMO_PRETRAINING, **LM_ALONE, "general.test_tokens": 30_000},
        # few tokens, many epochs: parts that regularise have something to do, and NT-ASGD something to average
        "small": {**LANGUAGE_MODEL, **LM_ALONE, "general.max_tokens": 50_000, "pretraining.epochs": 8},
        # the authors' recipe, but for the optimiser, which is theirs in the variant NT-ASGD
        "paper": {**AWD_LSTM, **ADAM},
    },
    metric="final/perplexity",
    report=Report(
        extra_metrics=(ExtraMetric(metric="final/accuracy", label="Test accuracy (%)", scale=100.0),),
        published=(
            Published(
                variant="no weight dropout",
                against="AWD-LSTM",
                what="WikiText-2, test perplexity without weight dropping 74.9, with it 65.8",
                value=74.9 - 65.8,
                against_value=65.8,
                source=SOURCE,
            ),
            Published(
                variant="no embedding dropout",
                against="AWD-LSTM",
                what="WikiText-2, test perplexity without embedding dropout 68.1, with it 65.8",
                value=68.1 - 65.8,
                against_value=65.8,
                source=SOURCE,
            ),
            Published(
                variant="no AR, TAR",
                against="AWD-LSTM",
                what="WikiText-2, test perplexity without AR and TAR 70.1, with them 65.8",
                value=70.1 - 65.8,
                against_value=65.8,
                source=SOURCE,
            ),
            Published(
                variant="fixed lengths",
                against="AWD-LSTM",
                what="WikiText-2, test perplexity with fixed lengths 66.2, with variable ones 65.8",
                value=66.2 - 65.8,
                against_value=65.8,
                source=SOURCE,
            ),
        ),
        notes=(
            "The checkpoint with the best validation loss is tested, as in the original.",
            "The baseline is trained with Adam, as ULMFiT does, and without weight decay (but for 1.2e-6 at the scale "
            "`paper`); the paper's with NT-ASGD and weight decay, which are variants here.",
            "NT-ASGD is SGD until validation has not improved for five epochs. Its rates are of another size than "
            "Adam's, so it searches as many of its own.",
        ),
    ),
    tuned={
        # the winners of `ulmfit-lab tune`; results/withdrawn/awd_lstm/tuning.csv has what was tried
        "small": {
            "AWD-LSTM": {"pretraining.lr": 5e-3},
            "no weight dropout": {"pretraining.lr": 1e-2},
            "no embedding dropout": {"pretraining.lr": 5e-3},
            "no dropout at all": {"pretraining.lr": 5e-3},
            "no AR, TAR": {"pretraining.lr": 5e-3},
            "untied weights": {"pretraining.lr": 5e-3},
            "fixed lengths": {"pretraining.lr": 5e-3},
            "weight decay": {"pretraining.lr": 5e-3},
            "NT-ASGD": {"pretraining.lr": 10.0},
        },
        "paper": {"NT-ASGD": {"pretraining.lr": AWD_LSTM["pretraining.lr"]}},
    },
    search=Search(
        space={"pretraining.lr": (2e-3, 5e-3, 1e-2)},
        for_variants={"NT-ASGD": {"pretraining.lr": (3.0, 10.0, 30.0)}},
        seeds=(1001, 1002, 1003),
        metric="final/valid_loss",
    ),
    design=Design(
        checks={
            "NT-ASGD": ManipulationCheck("final/pretraining_averaging_began", statement="averaging began", at_least=0)
        }
    ),
)
