"""The `bench` command. Slow modules are imported when they are needed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ulmfit_lab.utils.files import json_text

FASTAI = ".venv-fastai/bin/python"
"""Python of the environment that `make bench` creates for fastai."""
RESULTS = "results/benchmarks"


def bench_options(bench: argparse.ArgumentParser) -> None:
    """Add the options of `bench`."""
    bench.add_argument(
        "what", metavar="WHAT", nargs="*", help="benchmarks to run (default: all but grid, workers, tracking)"
    )
    bench.add_argument("--only", metavar="A,B", help="the same, as a comma-separated list")
    bench.add_argument("--device", metavar="D", help="run the GPU benchmarks on this device; see docs/gpu.md")
    bench.add_argument(
        "--budget", type=float, metavar="S", help="time limit in seconds; benchmarks that exceed it are skipped"
    )
    bench.add_argument(
        "--minutes",
        type=float,
        default=5.0,
        metavar="M",
        help="with --device: minutes for awd_lstm_wikitext2 (default: 5)",
    )
    bench.add_argument("--again", action="store_true", help="with --device: repeat finished benchmarks")
    bench.add_argument("--json", action="store_true", help="print one JSON object")
    bench.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, as a test; files are written only with --results",
    )
    bench.add_argument("--fastai", metavar="PYTHON", help=f"Python interpreter with fastai (default: {FASTAI})")
    bench.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")
    bench.add_argument(
        "--results",
        metavar="DIR",
        help=f"output folder (default: {RESULTS}/KIND, KIND of processor; with --device: {RESULTS}/gpu)",
    )
    bench.add_argument("--readme", metavar="FILE", help="update the table between the markers of this file")


def bench_command(args: argparse.Namespace) -> int:
    """Run the benchmarks, write their files, and print tables or JSON; progress goes to standard error."""
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    tell("Loading the benchmarks ...")
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    find_benchmarks()
    from benchmarks.machine import this_kind
    from benchmarks.rows import tables
    from benchmarks.run import run

    from ulmfit_lab.utils.errors import ConfigError
    from ulmfit_lab.utils.home import data_dir, open_home

    if args.readme and not Path(args.readme).is_file():
        raise ConfigError(f"--readme {args.readme} is not a file; give an existing file.")
    results = Path(args.results or f"{RESULTS}/{this_kind() if args.device is None else 'gpu'}")
    try:
        found = run(
            [*args.what, *(name.strip() for name in (args.only or "").split(",") if name.strip())],
            quick=args.quick,
            fastai=fastai_python(args.fastai),
            data=data_dir(args.data_dir),
            home=open_home(args.home).root,
            results=None if args.quick and not args.results else results,
            tell=tell,
            device=args.device,
            budget=args.budget,
            minutes=args.minutes,
            again=args.again,
        )
    finally:  # an ended run, too, shows what it has measured
        if args.readme and not args.quick:
            put_tables(Path(args.readme), results)
    if args.json:
        print(json_text(found, indent=1))
    elif args.device is None:  # with --device, tables are printed during the run
        print(tables(found), end="")
    return 0


def find_benchmarks() -> None:
    """Make `tests/benchmarks` importable; raises ConfigError outside a clone of the repository."""
    from ulmfit_lab.utils.errors import ConfigError
    from ulmfit_lab.utils.provenance import CHECKOUT

    tests = CHECKOUT / "tests"
    if not (tests / "benchmarks").is_dir():
        raise ConfigError(
            "The installed package does not contain the benchmarks; run bench in a clone of the repository."
        )
    if str(tests) not in sys.path:
        sys.path.append(str(tests))


def put_tables(readme: Path, results: Path) -> None:
    """Replace the tables between the markers of a README: those of `results` and of other kinds beside it."""
    from benchmarks.machine import KINDS
    from benchmarks.rows import with_tables

    from ulmfit_lab.utils.files import atomic_write

    folders = dict.fromkeys([*(results.parent / kind for kind in KINDS), results])
    found = [(folder / "table.md").read_text(encoding="utf-8") for folder in folders if (folder / "table.md").exists()]
    if not found:
        return
    text = with_tables(readme.read_text(encoding="utf-8"), found)
    with atomic_write(readme) as temporary:
        temporary.write_text(text, encoding="utf-8")


def fastai_python(given: str | None) -> Path | None:
    """Return a Python interpreter with fastai, or None: `given`, that of `make bench`, or the current one."""
    from ulmfit_lab.utils.errors import ConfigError

    path = Path(given or FASTAI)
    if path.exists():
        return path.absolute()  # not resolved: the symlink's location selects the virtual environment
    if given:
        raise ConfigError(f"--fastai {given} does not exist; give the Python of an environment with fastai.")
    return Path(sys.executable) if find_spec("fastai") else None
