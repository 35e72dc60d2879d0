"""A small grid of runs with known numbers, and the specification that compares them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.analysis.spec import Associations, Predictor, Published, ReportSpec

SEEDS = (0, 1, 2, 3, 4, 5)
NOISE = (0.011, -0.012, 0.0, 0.021, -0.019, 0.003)  # of a seed, shared by all its runs
OWN = (0.001, -0.002, 0.003, -0.001, 0.002, -0.003)  # of a variant's own, its sign alternating with the level


def make_spec(**changes: object) -> ReportSpec:
    """Three variants at two levels with six seeds; any field replaced."""
    fields: dict[str, object] = {
        "name": "vectors",
        "scale": "tiny",
        "question": "Do word vectors help?",
        "claim": "They do.",
        "source": "A lecture, 58:20",
        "baseline": "random",
        "variants": ("random", "word2vec", "tf-idf"),
        "levels": ("100", "1000"),
        "level_name": "labels",
        "level_label": "labelled documents",
        "seeds": SEEDS,
        "metric": "final/error",
        "metric_label": "Test error (%)",
        "metric_scale": 100.0,
        "lower_is_better": True,
        "reference": "tf-idf",
        "contrasts": (("word2vec", "random"),),
        "published": (Published(variant="word2vec", against="random", what="IMDb", value=-2.5, source="a paper"),),
        "notes": ("A note.",),
    }
    return ReportSpec(**{**fields, **changes})  # type: ignore[arg-type]


def make_runs(spec: ReportSpec) -> pd.DataFrame:
    """A run for every cell: each variant is 5 points better than the one before it, each level 10 points."""
    return pd.DataFrame(
        [
            {
                "run_id": f"{i}{j}{seed}",
                "status": "FINISHED",
                "experiment": spec.name,
                "scale": spec.scale,
                "variant": variant,
                "level": level,
                "seed": seed,
                "commit": "c0ffee" * 6,
                "dirty": "false",
                "cell": f"cell{i}{j}{seed}",
                "computed_seconds": 1 / 3,
                "reused_seconds": 60.0,
                "final/error": 0.5 - 0.05 * i - 0.1 * j + NOISE[seed % 6] + OWN[(seed + i) % 6] * (1 if j else -1),
                "param/target.name": "imdb",
                "param/target.split": "train",
                "param/classifier.lr": "0.010",
                "stage/classifier": "00e1",
            }
            for i, variant in enumerate(spec.variants)
            for j, level in enumerate(spec.levels)
            for seed in spec.seeds
        ]
    )


def make_associated(models: int = 8, seeds: int = 6) -> tuple[pd.DataFrame, ReportSpec]:
    """Language models of rising quality, each with some seeds; the last variant takes no part.

    The perplexity follows the quality but for a little noise, the accuracy but for much, and the error both.
    """
    accuracy = Predictor(
        metric="final/lm_accuracy",
        name="accuracy",
        label="Accuracy (%)",
        unit="points",
        scale=100.0,
        epoch_sd="final/lm_accuracy_epoch_sd",
    )
    perplexity = Predictor(
        metric="final/lm_perplexity",
        name="perplexity",
        label="Perplexity",
        unit="nats",
        lower_is_better=True,
        log=True,
        epoch_sd="final/lm_perplexity_epoch_sd",
    )
    variants = tuple(f"model {number}" for number in range(models))
    spec = make_spec(
        variants=(*variants, "twin"),
        baseline="twin",
        levels=("",),
        level_name="",
        seeds=tuple(range(seeds)),
        reference=None,
        contrasts=(("twin", variants[0]),),
        published=(),
        associations=Associations(x=(perplexity, accuracy), variants=variants),
    )
    runs = make_runs(spec)
    noise = np.random.default_rng(0).normal(size=(3, len(runs)))
    quality = np.arange(len(runs)) // seeds / models
    runs["final/error"] = 0.5 - 0.2 * quality + 0.02 * noise[0]
    runs["final/lm_perplexity"] = np.exp(5.0 - quality + 0.02 * noise[1])
    runs["final/lm_accuracy"] = 0.2 + 0.1 * quality + 0.04 * noise[2]
    runs["final/lm_perplexity_epoch_sd"], runs["final/lm_accuracy_epoch_sd"] = 0.03, 0.02
    return runs, spec


@pytest.fixture
def associated() -> tuple[pd.DataFrame, ReportSpec]:
    """Runs of eight language models with six seeds, and what is held against what."""
    return make_associated()


@pytest.fixture
def associated_of() -> Callable[..., tuple[pd.DataFrame, ReportSpec]]:
    """The same for any number of models and seeds."""
    return make_associated


@pytest.fixture
def spec() -> ReportSpec:
    """The specification of the small grid."""
    return make_spec()


@pytest.fixture
def runs(spec: ReportSpec) -> pd.DataFrame:
    """The small grid."""
    return make_runs(spec)


@pytest.fixture
def spec_with() -> Callable[..., ReportSpec]:
    """The specification with fields replaced."""
    return make_spec


@pytest.fixture
def runs_of() -> Callable[[ReportSpec], pd.DataFrame]:
    """A complete grid for any specification."""
    return make_runs
