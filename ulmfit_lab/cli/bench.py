"""The command that measures speed and size; slow imports wait until it is needed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ulmfit_lab.utils.files import json_text

FASTAI = ".venv-fastai/bin/python"
"""Where `make bench` puts the environment that has fastai."""
RESULTS = "results/benchmarks"


def bench_options(bench: argparse.ArgumentParser) -> None:
    """Options of `bench`."""
    bench.add_argument("what", metavar="WHAT", nargs="*", help="subjects to measure (default: all; see the table)")
    bench.add_argument("--only", metavar="A,B", help="the same, as one word")
    bench.add_argument("--device", metavar="D", help="measure what there is for a GPU, on this device; see docs/gpu.md")
    bench.add_argument("--budget", type=float, metavar="S", help="seconds in all; what takes longer is left out")
    bench.add_argument(
        "--minutes", type=float, default=5.0, metavar="M", help="with --device: time of awd_lstm_wikitext2"
    )
    bench.add_argument("--again", action="store_true", help="with --device: measure what was measured before, too")
    bench.add_argument("--json", action="store_true", help="print one JSON object")
    bench.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that it works; written to --results only"
    )
    bench.add_argument("--fastai", metavar="PYTHON", help=f"Python of an environment with fastai (default: {FASTAI})")
    bench.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")
    bench.add_argument("--results", metavar="DIR", help=f"default: {RESULTS}, with --device {RESULTS}/gpu")
    bench.add_argument("--readme", metavar="FILE", help="put the targets' table between this file's markers, too")


def bench_command(args: argparse.Namespace) -> int:
    """Measure, write, and print the tables or the JSON object; tell of every row and round as it comes."""
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    tell("The benchmarks are loaded ...")
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    find_benchmarks()
    from benchmarks.rows import tables
    from benchmarks.run import run

    from ulmfit_lab.utils.errors import ConfigError
    from ulmfit_lab.utils.home import data_dir, open_home

    if args.readme and not Path(args.readme).is_file():
        raise ConfigError(f"--readme {args.readme} is no file; nothing was measured.")
    results = Path(args.results or (RESULTS if args.device is None else f"{RESULTS}/gpu"))
    found = run(
        [*args.what, *(args.only.split(",") if args.only else ())],
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
    if args.readme and not args.quick:
        put_table(Path(args.readme), results)
    if args.json:
        print(json_text(found, indent=1))
    elif args.device is None:  # with a device each table was told when it was measured
        print(tables(found), end="")
    return 0


def find_benchmarks() -> None:
    """Make `benchmarks`, a folder of the tests, importable; raises ConfigError where there is no checkout."""
    from ulmfit_lab.utils.errors import ConfigError
    from ulmfit_lab.utils.provenance import CHECKOUT

    tests = CHECKOUT / "tests"
    if not (tests / "benchmarks").is_dir():
        raise ConfigError("The benchmarks are in the repository and not in the installed package; run it in a clone.")
    if str(tests) not in sys.path:
        sys.path.append(str(tests))


def put_table(readme: Path, results: Path) -> None:
    """Write the table of all that was measured so far into a README that has its markers."""
    from benchmarks.rows import with_table

    from ulmfit_lab.utils.files import atomic_write

    text = with_table(readme.read_text(encoding="utf-8"), (results / "table.md").read_text(encoding="utf-8"))
    with atomic_write(readme) as temporary:
        temporary.write_text(text, encoding="utf-8")


def fastai_python(given: str | None) -> Path | None:
    """The Python that has fastai: the one that was said, that of `make bench`, or this one; none where none has it."""
    from ulmfit_lab.utils.errors import ConfigError

    path = Path(given or FASTAI)
    if path.exists():
        return path.absolute()  # not resolved: a link into the environment is what makes it one
    if given:
        raise ConfigError(f"--fastai {given} does not exist; name the Python of an environment that has fastai.")
    return Path(sys.executable) if find_spec("fastai") else None
