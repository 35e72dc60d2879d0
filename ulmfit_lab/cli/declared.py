"""The experiment of a command line, its config overrides, and the folder of its results."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, groupby
from os.path import commonprefix
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from ulmfit_lab.utils.errors import ConfigError

if TYPE_CHECKING:
    from ulmfit_lab.experiment.declaration import Experiment
    from ulmfit_lab.tracking.sqlite_reader import RunReader


def choose_scale(name: str, reader: RunReader) -> str:
    """Return the scale at which an experiment has runs, or "small" if it has none.

    Raises ConfigError if it has runs at several scales.
    """
    from ulmfit_lab.config.scales import SCALE_NAMES

    found = [scale for scale in SCALE_NAMES if reader.has_runs(name, scale)]
    if len(found) > 1:
        raise ConfigError(f"{name} has runs at the scales {', '.join(found)}; choose one with --scale.")
    if found and found != ["small"]:
        print(f"Using scale {found[0]}, the only one with runs of {name}.", file=sys.stderr)
    return found[0] if found else "small"


def load_declared(args: argparse.Namespace, reader: RunReader | None = None) -> tuple[Experiment, dict[str, Any]]:
    """Return the experiment with the seeds and levels of the command line, and the config overrides.

    reader: where to look for runs if the command has no default scale and --scale is missing
    """
    from ulmfit_lab.experiment.declaration import MOST_SEEDS, base_config, load_experiment, until_decided

    experiment = load_experiment(args.experiment)
    if args.scale is None and reader:
        args.scale = choose_scale(experiment.name, reader)
    base = base_config(experiment, args.scale)
    if args.seeds is not None:
        if not 1 <= args.seeds <= MOST_SEEDS:
            raise ConfigError(f"--seeds {args.seeds} must be at least 1 and at most {MOST_SEEDS}.")
        experiment = replace(experiment, seeds=tuple(range(args.seeds)), design=replace(experiment.design, looks=()))
    if getattr(args, "max_seeds", None) is not None:
        experiment = until_decided(experiment, args.max_seeds, args.batch_seeds)
    if getattr(args, "until_decided", False) and not experiment.design.looks:
        raise ConfigError(f"{experiment.name} declares no interim analyses; add --max-seeds N.")
    if args.levels is not None:
        levels = _parse_levels(args.levels, experiment, args.scale, base)
        experiment = replace(experiment, levels={**experiment.levels, args.scale: levels})
    overrides = parse_overrides(base, ["--help"] if args.config_help else args.rest)
    if experiment.factor in overrides:  # each level would set it again
        raise ConfigError(
            f"{experiment.factor} is the factor of {experiment.name}; use --levels {overrides[experiment.factor]}."
        )
    return experiment, overrides


def _parse_levels(text: str, experiment: Experiment, scale: str, base: Any) -> tuple[Any, ...]:
    """Parse comma-separated levels into valid values of the factor, in the declared order or else rising."""
    from ulmfit_lab.config.paths import field_types, override

    if not experiment.factor:
        raise ConfigError(f"{experiment.name} has no factor; remove --levels.")
    kind = field_types(type(base))[experiment.factor]
    try:
        found = tuple(dict.fromkeys(parse_level(part.strip(), kind) for part in text.split(",")))
    except ValueError:
        name = {int: "whole numbers", float: "numbers"}.get(kind, f"values of {kind}")
        raise ConfigError(
            f"--levels {text!r} must be comma-separated {name}, the type of {experiment.factor}."
        ) from None
    for level in found:
        override(base, {experiment.factor: level})
    declared = list(experiment.levels.get(scale, ()))
    if set(found) <= set(declared):  # the last level is that of the primary contrasts
        return tuple(sorted(found, key=declared.index))
    return tuple(sorted(found)) if kind in (int, float) else found


def parse_level(text: str, kind: Any) -> Any:
    """Parse a value of a config field's type; raises ValueError for invalid text.

    >>> parse_level("0.5", float), parse_level("false", bool), parse_level("en", Literal["en", "de"])
    (0.5, False, 'en')
    """
    if get_origin(kind) in (Union, UnionType):
        return parse_level(text, next(each for each in get_args(kind) if each is not NoneType))
    if get_origin(kind) is Literal or kind is bool:
        named = {str(each).lower(): each for each in (get_args(kind) or (True, False))}
        if text.lower() not in named:
            raise ValueError(text)
        return named[text.lower()]
    return kind(text)


def parse_overrides(base: Any, rest: Sequence[str]) -> dict[str, Any]:
    """Parse the config overrides with tyro; returns path -> value."""
    if not rest:
        return {}
    import tyro

    from ulmfit_lab.config.paths import flatten

    tokens = flags_without_values(one_value_each(rest), flatten(base))
    parsed = flatten(tyro.cli(type(base), default=base, args=tokens, prog="ulmfit-lab ... "))
    named = {_field_of_option(token, parsed) for token in tokens if token.startswith("--")}
    return {path: value for path, value in parsed.items() if path in named}


def one_value_each(rest: Sequence[str]) -> list[str]:
    """Replace the files of an expanded shell pattern by the pattern.

    Raises ConfigError if an option has several files that do not correspond to one pattern.
    """
    tokens: list[str] = []
    for is_option, group in groupby(rest, lambda token: token.startswith("-")):
        values = list(group)
        if not is_option and len(values) > 1 and tokens and tokens[-1].endswith("path"):
            values = [_pattern_of(values, tokens[-1])]
        tokens += values
    return tokens


def _pattern_of(files: Sequence[str], option: str) -> str:
    """Return a pattern with one star that matches exactly these files; raises ConfigError if there is none."""
    start = commonprefix(files)  # noqa: RUF071 - prefix in characters, not path components
    end = commonprefix([file[len(start) :][::-1] for file in files])[::-1]  # noqa: RUF071
    pattern = f"{glob.escape(start)}*{glob.escape(end)}"
    if set(glob.glob(pattern)) != set(files):
        raise ConfigError(
            f"{option} takes one file, folder or pattern, not {files[0]} and {len(files) - 1} more; "
            "quote the pattern, as in 'notes/*.txt'."
        )
    return pattern


def flags_without_values(tokens: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Replace `--lm.tie-weights false` and `--lm.tie-weights=false` by `--lm.no-tie-weights`, and drop `true`.

    known: values of all config fields by path
    """
    found: list[str] = []
    options = chain.from_iterable(token.split("=", 1) if token.startswith("--") else [token] for token in tokens)
    for token in options:
        path = found[-1].removeprefix("--").replace("-", "_") if found else ""
        if not isinstance(known.get(path), bool) or token.lower() not in ("true", "false"):
            found.append(token)
        elif token.lower() == "false":
            head, dot, last = path.replace("_", "-").rpartition(".")
            found[-1] = f"--{head}{dot}no-{last}"
    return found


def _field_of_option(token: str, known: Mapping[str, Any]) -> str:
    """Return the config field of an option such as --lm.drop-mult, --lm.no-tie-weights or --no-mark-capitals."""
    path = token[2:].replace("-", "_")
    head, dot, last = path.rpartition(".")
    return path if path in known else f"{head}{dot}{last.removeprefix('no_')}"


def results_folder(args: argparse.Namespace, experiment: Experiment, overrides: dict[str, Any]) -> Path:
    """Return the folder of an experiment's results.

    results/EXPERIMENT at the small scale, results/SCALE/EXPERIMENT at others, results/custom/ for a changed declaration
    """
    from ulmfit_lab.experiment.declaration import declaration
    from ulmfit_lab.report.folders import folder_of

    root = Path(args.results)
    if overrides or any(getattr(args, name, None) is not None for name in ("seeds", "max_seeds", "levels", "budget")):
        return root / "custom" / f"{experiment.name}-{declaration(experiment, args.scale, overrides)[:8]}"
    return folder_of(root, experiment.name, args.scale)
