"""The experiment that a command line means, with the fields it replaces, and where its results go."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from os.path import commonprefix
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from ulmfit_lab.utils.errors import ConfigError

if TYPE_CHECKING:
    from ulmfit_lab.experiment.declaration import Experiment
    from ulmfit_lab.tracking.sqlite_reader import RunReader


def choose_scale(name: str, reader: RunReader) -> str:
    """The scale at which an experiment has runs; "small" where it has none.

    Raises ConfigError where it has runs at several scales.
    """
    from ulmfit_lab.config.scales import SCALES

    found = [scale for scale in SCALES if reader.has_runs(name, scale)]
    if len(found) > 1:
        raise ConfigError(f"{name} has runs at the scales {', '.join(found)}; choose one with --scale.")
    if found and found != ["small"]:
        print(f"Scale {found[0]}, the only one at which {name} has runs.", file=sys.stderr)
    return found[0] if found else "small"


def load_declared(args: argparse.Namespace, reader: RunReader | None = None) -> tuple[Experiment, dict[str, Any]]:
    """The experiment as declared, with the command line's seeds, levels and replaced fields.

    reader: where no --scale was given, and none has a default, the scale is the one that has runs there
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
        raise ConfigError(f"{experiment.name} declares no looks; say how far to go with --max-seeds N.")
    if args.levels is not None:
        experiment = replace(
            experiment, levels={**experiment.levels, args.scale: _levels(args.levels, experiment, base)}
        )
    overrides = _overrides(base, ["--help"] if args.config_help else args.rest)
    return experiment, overrides


def _levels(text: str, experiment: Experiment, base: Any) -> tuple[Any, ...]:
    """The values of the crossed field that a text names, of the field's type and within its bounds."""
    from ulmfit_lab.config.paths import field_types, override

    if not experiment.factor:
        raise ConfigError(f"{experiment.name} crosses no field with its variants, so it takes no --levels.")
    kind = field_types(type(base))[experiment.factor]
    try:
        found = tuple(dict.fromkeys(level_of(part.strip(), kind) for part in text.split(",")))
    except ValueError:
        name = {int: "whole numbers", float: "numbers"}.get(kind, f"of {kind}")
        raise ConfigError(
            f"--levels {text!r} must be {name}, as {experiment.factor} has, with commas between."
        ) from None
    for level in found:
        override(base, {experiment.factor: level})
    return found


def level_of(text: str, kind: Any) -> Any:
    """A value of a config field's type; raises ValueError where the text is none.

    >>> level_of("0.5", float), level_of("20", int), level_of("false", bool), level_of("en", Literal["en", "de"])
    (0.5, 20, False, 'en')
    """
    if get_origin(kind) in (Union, UnionType):
        return level_of(text, next(each for each in get_args(kind) if each is not NoneType))
    if get_origin(kind) is Literal or kind is bool:
        named = {str(each).lower(): each for each in (get_args(kind) or (True, False))}
        if text.lower() not in named:
            raise ValueError(text)
        return named[text.lower()]
    return kind(text)


def _overrides(base: Any, rest: Sequence[str]) -> dict[str, Any]:
    """The fields that the command line replaces, parsed by tyro."""
    if not rest:
        return {}
    import tyro

    from ulmfit_lab.config.paths import flatten

    parsed = flatten(tyro.cli(type(base), default=base, args=one_value_each(rest), prog="ulmfit-lab ... "))
    named = {_path(token, parsed) for token in rest if token.startswith("--")}
    return {path: value for path, value in parsed.items() if path in named}


def one_value_each(rest: Sequence[str]) -> list[str]:
    """The options, with a pattern in place of the files that a shell put there.

    Raises ConfigError where a path is given several values that no pattern stands for.
    """
    tokens: list[str] = []
    for is_option, group in groupby(rest, lambda token: token.startswith("-")):
        values = list(group)
        if not is_option and len(values) > 1 and tokens and tokens[-1].endswith("path"):
            values = [_pattern_of(values, tokens[-1])]
        tokens += values
    return tokens


def _pattern_of(files: Sequence[str], option: str) -> str:
    """The pattern with one star that these files, and no others, match."""
    start = commonprefix(files)  # noqa: RUF071 - of characters, as patterns go
    end = commonprefix([file[len(start) :][::-1] for file in files])[::-1]  # noqa: RUF071
    pattern = f"{glob.escape(start)}*{glob.escape(end)}"
    if set(glob.glob(pattern)) != set(files):
        raise ConfigError(
            f"{option} takes one file, folder or pattern, not {files[0]} and {len(files) - 1} more; "
            "put a pattern in quotes, as in 'notes/*.txt'."
        )
    return pattern


def _path(token: str, known: dict[str, Any]) -> str:
    """The field that an option such as --lm.drop-mult or --lm.no-tie-weights names."""
    path = token[2:].partition("=")[0].replace("-", "_")
    head, _, last = path.rpartition(".")
    return path if path in known else f"{head}.{last.removeprefix('no_')}"


def results_folder(args: argparse.Namespace, experiment: Experiment, overrides: dict[str, Any]) -> Path:
    """results/EXPERIMENT at the small scale, results/SCALE/EXPERIMENT at another, results/custom/ for a changed one."""
    from ulmfit_lab.experiment.declaration import declaration
    from ulmfit_lab.report.folders import folder_of

    root = Path(args.results)
    if overrides or any(getattr(args, name, None) is not None for name in ("seeds", "max_seeds", "levels", "budget")):
        return root / "custom" / f"{experiment.name}-{declaration(experiment, args.scale, overrides)[:8]}"
    return folder_of(root, experiment.name, args.scale)
