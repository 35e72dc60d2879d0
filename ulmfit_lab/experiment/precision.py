"""Resolve `compute.precision = "auto"`: once for a sweep, to what this machine multiplies matrices fastest in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ulmfit_lab.experiment.declaration import Changes, Experiment, base_config, run_specs
from ulmfit_lab.pipeline.devices import fastest_precision, product_speeds
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.utils.files import atomic_write, json_text
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.provenance import processor

FIELD, AUTO = "compute.precision", "auto"


def resolve_precision(
    experiment: Experiment,
    scale: str,
    overrides: Changes | None,
    tracked: Callable[[], Sequence[TrackedRun]],
    home: Home,
    measure: Callable[[], Mapping[str, float]] = product_speeds,
) -> tuple[Experiment, dict[str, Any]]:
    """The experiment and overrides with a precision in place of `auto`; unchanged where no run's config has `auto`.

    It is the precision of the newest tracked run of the experiment at the scale, so that a sweep keeps its precision
    on whichever machine it continues; before the first run it is the fastest one here.

    tracked: returns the tracked runs of the experiment at the scale, oldest first
    measure: returns the FLOP/s of matrix products by precision; its result is kept in the home by processor
    """
    overrides = dict(overrides or {})
    computes = [each.config.compute for each in run_specs(experiment, scale, overrides)]
    unresolved = next((compute for compute in computes if compute.precision == AUTO), None)
    if unresolved is None:
        return experiment, overrides
    made = [run.params[FIELD] for run in tracked() if FIELD in run.params]
    precision = made[-1] if made else fastest_precision(unresolved, lambda: kept_speeds(home, measure))

    def resolve(changes: Changes) -> dict[str, Any]:
        return {path: precision if (path, value) == (FIELD, AUTO) else value for path, value in changes.items()}

    base = {FIELD: base_config(experiment, scale).compute.precision, **experiment.scales.get(scale, {})}
    tuned = {variant: resolve(changes) for variant, changes in experiment.tuned.get(scale, {}).items()}
    return replace(
        experiment,
        scales={**experiment.scales, scale: resolve(base)},
        variants={variant: resolve(changes) for variant, changes in experiment.variants.items()},
        tuned={**experiment.tuned, scale: tuned} if tuned else experiment.tuned,
    ), resolve(overrides)


def kept_speeds(home: Home, measure: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    """This processor's FLOP/s by precision, measured once for a home."""
    path, name = home.root / "product_speeds.json", processor()
    known: dict[str, dict[str, float]] = {}
    with suppress(OSError, ValueError):
        known = json.loads(path.read_text(encoding="utf-8"))
    if name not in known:
        known[name] = dict(measure())
        with suppress(PermissionError), atomic_write(path) as temporary:
            temporary.write_text(json_text(known), encoding="utf-8")
    return known[name]
