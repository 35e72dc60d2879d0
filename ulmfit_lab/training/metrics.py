"""The metrics: what each is called and how it is shown, which way is better, how it is worked out.

The one list of them, read by runs, reports, MLflow's views, searches and `docs/metrics.md`. Metrics of classifiers are
worked out from the probabilities that a stage has stored, so a new one is an entry here: finished runs have it too.
A measure is a metric of a part of the data, under the name that runs have it by: `final/error`, `final/valid_loss`.

Nothing slow is imported here: experiments are declared with these names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ulmfit_lab.utils.errors import ConfigError, suggest

if TYPE_CHECKING:
    import numpy as np

PARTS = {
    "final/valid_": "Validation",
    "final/holdout_": "Holdout",
    "final/lm_": "Language model's validation",
    "best/": "Best validation",
    "final/": "Test",
}
"""How the names of measures begin -> the part of the data, the longest beginning of a name first.

`final/`, `final/valid_` and `final/holdout_` (a second test set) are of the weights that a run keeps, `best/` of its
best epoch, `final/lm_` of the last language model below a run.
"""
VALIDATION = ("final/valid_", "final/lm_", "best/")
"""How the names of measures on validation data begin."""
CLASSIFIER, LANGUAGE_MODEL = "classifier", "language model"
OF_CLASSIFIERS = ("final/", "final/valid_", "final/holdout_", "best/")
OF_ALL = (*OF_CLASSIFIERS, "final/lm_")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that a finished model has."""

    name: str
    label: str
    """What it is called in tables and figures, with its unit."""
    about: str
    """What it is, in a line for docs."""
    lower_is_better: bool = True
    scale: float = 1.0
    """What it is multiplied by where it is shown."""
    compute: Callable[[np.ndarray, np.ndarray], float] | None = None
    """Probabilities (n, C) and class numbers (n,) of documents -> value; None where models alone have it."""
    models: tuple[str, ...] = (CLASSIFIER,)
    """The models that have it."""
    prefixes: tuple[str, ...] = OF_CLASSIFIERS
    """How the names of its measures begin."""


@dataclass(frozen=True)
class RunMetric:
    """A metric of a part of the data."""

    name: str
    """Such as final/error."""
    metric: Metric
    part: str

    @property
    def label(self) -> str:
        """What it is called in tables and figures, such as Test error (%)."""
        return f"{self.part} {self.metric.label}"

    @property
    def scale(self) -> float:
        """What it is multiplied by where it is shown."""
        return self.metric.scale

    @property
    def lower_is_better(self) -> bool:
        """Which way is better."""
        return self.metric.lower_is_better


def loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; probabilities of 0 count as the smallest normal number."""
    import numpy as np

    likelihood = probabilities[np.arange(len(labels)), labels]
    bounded = np.where(likelihood < np.finfo(likelihood.dtype).tiny, np.finfo(likelihood.dtype).tiny, likelihood)
    return float(-np.log(bounded, dtype=np.float64).mean())


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of the documents whose likeliest class is theirs."""
    return float((probabilities.argmax(1) == labels).mean())


def macro_f1(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean F1 over the classes that occur or are guessed."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, probabilities.argmax(1), average="macro"))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance of the probabilities from certainty of the label, 0 to 2 (Brier 1950); nan of nan."""
    from sklearn.metrics import brier_score_loss

    if (probabilities != probabilities).any():
        return float("nan")  # which scikit-learn refuses, and training reports as a loss that is not finite
    classes = range(probabilities.shape[1])
    return float(brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False))


METRICS: tuple[Metric, ...] = (
    Metric(
        name="loss",
        label="loss",
        about="mean negative log-likelihood, in nats: of a document's label, or of a language model's next token",
        compute=loss,
        models=(CLASSIFIER, LANGUAGE_MODEL),
        prefixes=OF_ALL,
    ),
    Metric(
        name="accuracy",
        label="accuracy (%)",
        about="share of the labels, or of the next tokens, that were guessed",
        lower_is_better=False,
        scale=100.0,
        compute=accuracy,
        models=(CLASSIFIER, LANGUAGE_MODEL),
        prefixes=OF_ALL,
    ),
    Metric(
        name="error",
        label="error (%)",
        about="1 - accuracy",
        scale=100.0,
        compute=lambda probabilities, labels: 1 - accuracy(probabilities, labels),
    ),
    Metric(
        name="macro_f1",
        label="macro F1 (%)",
        about="mean over the classes of the harmonic mean of precision and recall; each class counts alike",
        lower_is_better=False,
        scale=100.0,
        compute=macro_f1,
    ),
    Metric(
        name="brier",
        label="Brier score",
        about="mean squared distance of the probabilities from certainty of the label (Brier 1950), 0 to 2",
        compute=brier,
    ),
    Metric(
        name="perplexity",
        label="perplexity",
        about="exp(loss) of a language model",
        models=(LANGUAGE_MODEL,),
        prefixes=("final/", "final/valid_", "best/", "final/lm_"),
    ),
    Metric(
        name="perplexity_epoch_sd",
        label="sd of the log perplexity over epochs",
        about="sd of a language model's validation loss over the last half of its epochs, in nats",
        models=(LANGUAGE_MODEL,),
        prefixes=("final/valid_", "final/lm_"),
    ),
    Metric(
        name="accuracy_epoch_sd",
        label="sd of the accuracy over epochs",
        about="sd of a language model's validation accuracy over the last half of its epochs",
        models=(LANGUAGE_MODEL,),
        prefixes=("final/valid_", "final/lm_"),
    ),
    Metric(
        name="padding",
        label="padding of the training batches (%)",
        about="share of padding in a classifier's training batches",
        scale=100.0,
        prefixes=("final/",),
    ),
)


def prediction_metrics() -> list[Metric]:
    """The metrics that stored probabilities and labels give."""
    return [metric for metric in METRICS if metric.compute]


def classification_metrics(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Every metric of probabilities (n, C) against class numbers (n,), by name."""
    return {metric.name: metric.compute(probabilities, labels) for metric in METRICS if metric.compute}


def metric_names() -> list[str]:
    """Every measure that a run can have."""
    return [prefix + metric.name for metric in METRICS for prefix in metric.prefixes]


def find_metric(name: str) -> RunMetric:
    """The measure of this name; raises ConfigError, with the nearest name, where there is none."""
    prefix = next((prefix for prefix in PARTS if name.startswith(prefix)), "")
    for metric in METRICS:
        if prefix in metric.prefixes and name == prefix + metric.name:
            return RunMetric(name, metric, PARTS[prefix])
    asked = name if "/" in name else f"final/{name}"
    raise ConfigError(f"{name!r} is no measure of a run. {suggest(asked, metric_names())}")


def metric_of(column: str) -> Metric | None:
    """The metric that a column of a table holds, with or without `valid_` or `lm_` before its name, or None."""
    name = column.removeprefix("valid_").removeprefix("lm_")
    return next((metric for metric in METRICS if metric.name == name), None)


def metrics_table() -> str:
    """The metrics as a table in Markdown, for docs."""
    rows = [
        f"| `{m.name}` | {m.label} | {m.about} | {'lower' if m.lower_is_better else 'higher'} "
        f"| {', '.join(f'`{prefix}{m.name}`' for prefix in m.prefixes)} |"
        for m in METRICS
    ]
    return "\n".join(["| metric | shown as | what it is | better | in runs |", "|---|---|---|---|---|", *rows])
