"""Definitions of all metrics: label, direction, computation.

Runs, reports, MLflow's views, searches and `docs/metrics.md` use this list. Metrics of classifiers are computed from
the stored probabilities, so finished runs also get a new one. A measure is a metric of a part of the data under its
name in runs, such as `final/error`. This module imports nothing slow, since experiments use its names.
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
"""Prefix of a measure -> part of the data, longest prefix first.

`final/`, `final/valid_` and `final/holdout_` (a second test set) are of the weights that a run keeps, `best/` of its
best epoch, `final/lm_` of the last language model below a run.
"""
VALIDATION = ("final/valid_", "final/lm_", "best/")
"""Prefixes of the measures on validation data."""
CLASSIFIER, LANGUAGE_MODEL = "classifier", "language model"
OF_CLASSIFIERS = ("final/", "final/valid_", "final/holdout_", "best/")
OF_ALL = (*OF_CLASSIFIERS, "final/lm_")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of a trained model."""

    name: str
    label: str
    """Name in tables and figures, with the unit."""
    about: str
    """Description in one line."""
    lower_is_better: bool = True
    scale: float = 1.0
    """Factor applied when it is shown."""
    compute: Callable[[np.ndarray, np.ndarray], float] | None = None
    """Function of probabilities (n, C) and class ids (n,); None if only models can compute it."""
    models: tuple[str, ...] = (CLASSIFIER,)
    """Models that have it."""
    prefixes: tuple[str, ...] = OF_CLASSIFIERS
    """Prefixes of its measures."""


@dataclass(frozen=True)
class RunMetric:
    """A metric of a part of the data."""

    name: str
    """Name such as final/error."""
    metric: Metric
    part: str

    @property
    def label(self) -> str:
        """Name in tables and figures, such as Test error (%)."""
        return f"{self.part} {self.metric.label}"

    @property
    def scale(self) -> float:
        """Factor applied when it is shown."""
        return self.metric.scale

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values are better."""
        return self.metric.lower_is_better


def loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log-likelihood in nats; probabilities of 0 count as the smallest normal number."""
    import numpy as np

    likelihood = probabilities[np.arange(len(labels)), labels]
    bounded = np.where(likelihood < np.finfo(likelihood.dtype).tiny, np.finfo(likelihood.dtype).tiny, likelihood)
    return float(-np.log(bounded, dtype=np.float64).mean())


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of documents whose most probable class is correct."""
    return float((probabilities.argmax(1) == labels).mean())


def macro_f1(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean F1 over the classes that occur or are predicted."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, probabilities.argmax(1), average="macro"))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the Brier score (Brier 1950), 0 to 2; nan if a probability is nan."""
    from sklearn.metrics import brier_score_loss

    if (probabilities != probabilities).any():
        return float("nan")  # scikit-learn would raise; training reports a loss that is not finite
    classes = range(probabilities.shape[1])
    return float(brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False))


def above_majority(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy minus that of always predicting the most frequent class of the labels."""
    import numpy as np

    return accuracy(probabilities, labels) - float(np.bincount(labels).max()) / len(labels)


METRICS: tuple[Metric, ...] = (
    Metric(
        name="loss",
        label="loss",
        about="mean negative log-likelihood in nats: of a document's label, or of a language model's next token",
        compute=loss,
        models=(CLASSIFIER, LANGUAGE_MODEL),
        prefixes=OF_ALL,
    ),
    Metric(
        name="accuracy",
        label="accuracy (%)",
        about="share of labels, or of next tokens, predicted correctly",
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
        about="unweighted mean over the classes of the harmonic mean of precision and recall",
        lower_is_better=False,
        scale=100.0,
        compute=macro_f1,
    ),
    Metric(
        name="brier",
        label="Brier score",
        about="mean squared distance between the probabilities and the one-hot label (Brier 1950), 0 to 2",
        compute=brier,
    ),
    Metric(
        name="above_majority",
        label="accuracy above the majority class (points)",
        about="accuracy minus the share of the most frequent class; 0 or less if nothing was learned",
        lower_is_better=False,
        scale=100.0,
        compute=above_majority,
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
        name="loss_gap",
        label="validation minus training loss",
        about="last validation loss minus last training loss, in nats; training loss includes dropout and penalties",
        models=(CLASSIFIER, LANGUAGE_MODEL),
        prefixes=("final/",),
    ),
    Metric(
        name="unseen_tokens",
        label="tokens of words that pretraining did not see (%)",
        about="share of the training tokens, at the move to the target's vocabulary, whose word has no pretrained row",
        scale=100.0,
        models=(CLASSIFIER, LANGUAGE_MODEL),
        prefixes=("final/",),
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
    """Return the metrics that are computed from stored probabilities and labels."""
    return [metric for metric in METRICS if metric.compute]


def classification_metrics(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return all metrics of probabilities (n, C) and class ids (n,), by name."""
    return {metric.name: metric.compute(probabilities, labels) for metric in METRICS if metric.compute}


def metric_names() -> list[str]:
    """Return the names of all measures."""
    return [prefix + metric.name for metric in METRICS for prefix in metric.prefixes]


def find_metric(name: str) -> RunMetric:
    """Return the measure with this name; raises ConfigError, with the nearest name, if there is none."""
    prefix = next((prefix for prefix in PARTS if name.startswith(prefix)), "")
    for metric in METRICS:
        if prefix in metric.prefixes and name == prefix + metric.name:
            return RunMetric(name, metric, PARTS[prefix])
    asked = name if "/" in name else f"final/{name}"
    raise ConfigError(f"{name!r} is not a measure of a run. {suggest(asked, metric_names())}")


def metric_of(column: str) -> Metric | None:
    """Return the metric of a table's column, with or without `valid_` or `lm_` before its name, or None."""
    name = column.removeprefix("valid_").removeprefix("lm_")
    return next((metric for metric in METRICS if metric.name == name), None)


def metrics_table() -> str:
    """Return the metrics as a Markdown table."""
    rows = [
        f"| `{m.name}` | {m.label} | {m.about} | {'lower' if m.lower_is_better else 'higher'} "
        f"| {', '.join(f'`{prefix}{m.name}`' for prefix in m.prefixes)} |"
        for m in METRICS
    ]
    return "\n".join(["| metric | shown as | what it is | better | in runs |", "|---|---|---|---|---|", *rows])
