"""Rows of a benchmark, as JSON and as tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from statistics import median
from typing import Any, Literal, TypeAlias

from benchmarks.machine import KINDS, LIMITS
from benchmarks.paired import Ratio, ratio
from benchmarks.targets import TARGETS

Form: TypeAlias = Literal["ratio", "share", "nats", "ms", "rate", "alone"]

HEADER = ("ours", "beside", "result", "target", "met")
IF_NAMED = ("grid", "workers", "tracking")
"""What is measured only where it is named: it takes long, or needs a home with finished sweeps."""
BEGIN, END = "<!-- benchmarks -->", "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """One measurement: ours, what it is held against, and the value that a target may speak of."""

    name: str
    """What was measured, on what and how."""
    unit: str = ""
    """Unit of ours and other."""
    ours: float | None = None
    other: float | None = None
    against: str = ""
    """What the other is."""
    form: Form = "ratio"
    """What the value is: a ratio, a share, a difference in nats, milliseconds, tokens/s, or ours alone."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    target: str = ""
    """Key in TARGETS; empty: measured for what it tells."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing was measured.

        None too for a difference whose interval holds the bound: neither is shown.
        """
        if not self.target or self.value is None:
            return None
        ends = (self.low, self.high) if self.form == "nats" else ()
        found = {TARGETS[self.target].met(self.value if end is None else end) for end in ends or (self.value,)}
        return found.pop() if len(found) == 1 else None

    def as_json(self) -> dict[str, Any]:
        """All fields, with the bound and whether it is met."""
        bound = TARGETS[self.target].bound if self.target else None
        return asdict(self) | {"bound": bound, "met": self.met}


def with_targets(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that was read from a file, with its target's bound of today and whether it is met."""
    return Row(**{each.name: row[each.name] for each in fields(Row) if each.name in row}).as_json()


@dataclass(frozen=True)
class Found:
    """What a subject came to: rows, and figures by file name."""

    rows: Sequence[Row]
    figures: Mapping[str, bytes] = field(default_factory=dict)


def compared(name: str, ours: Sequence[float], others: Sequence[float], **facts: Any) -> Row:
    """A row of two sides' rates in turns: medians, and the ratio by pairs."""
    return with_ratio(Row(name, ours=median(ours), other=median(others), **facts), ratio(ours, others))


def with_ratio(row: Row, found: Ratio) -> Row:
    """The row with a ratio's median as its value."""
    return replace(row, value=found.median, low=found.low, high=found.high, pairs=found.pairs)


def missing(name: str, reason: str, **facts: Any) -> Row:
    """A row of what was not measured, and why."""
    return Row(name, note=f"not measured: {reason}", **facts)


def tables(benchmarks: Mapping[str, Any]) -> str:
    """The Markdown of a JSON object: rows with a target first, then all others, notes, and on what it was measured.

    Rows that were measured on another processor or card have a table of their own.
    """
    subjects = benchmarks["subjects"]
    measured = rows_by_machine(benchmarks)
    rows = [row for found in measured.values() for row in found]
    promised = {heading: [row for row in found if row["target"]] for heading, found in measured.items()}
    others = {heading: [row for row in found if not row["target"]] for heading, found in measured.items()}
    about = _explain([row for found in promised.values() for row in found], IF_NAMED if "kind" in benchmarks else ())
    parts = ["# Benchmarks", about, *_tables_of(promised)]
    if any(others.values()):
        parts += ["## Without a target", *_tables_of(others)]
    notes = dict.fromkeys(
        f"* {row['name']}: {row['note']}." for row in rows if row["note"] and row["value"] is not None
    )
    parts += ["## Notes", "\n".join(notes)] if notes else []
    return "\n\n".join([*parts, "## Measured on", _machines(subjects)]) + "\n"


def rows_by_machine(benchmarks: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows under the head of their table."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, subject in benchmarks["subjects"].items():
        heading = heading_of({**benchmarks, "subjects": {name: subject}})
        found.setdefault(heading, []).extend(subject["rows"])
    return found


def _tables_of(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    return [table(found, heading) for heading, found in rows.items() if found]


def _explain(rows: Sequence[Mapping[str, Any]], if_named: Sequence[str]) -> str:
    measured = [row for row in rows if row["bound"] is not None and row["value"] is not None]
    met, open_ = (sum(row["met"] is each for row in measured) for each in (True, None))
    undecided = f" {open_} are neither shown to be met nor missed." if open_ else ""
    return (
        (f"{met} of the {len(measured)} targets that were measured are met.{undecided} " if rows else "")
        + "Sides take turns within one run (A B A B); "
        "a result is the median of the pairs' ratios, with the lowest and the highest."
        + (" The targets are declared in `tests/benchmarks/targets.py`." if rows else "")
        + (f" Measured only where they are named: {', '.join(if_named)}." if if_named else "")
    )


def heading_of(benchmarks: Mapping[str, Any]) -> str:
    """The head of a table's first column: on which processor or card its rows were measured.

    >>> heading_of({"kind": "avx2", "subjects": {"text": {"facts": {"CPU": "AMD EPYC"}}}})
    'measured on AMD EPYC with AVX2 alone'
    >>> facts = {"CPU": "AMD EPYC", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    >>> heading_of({"kind": "avx512", "subjects": {"text": {"facts": facts}}})
    'measured on AMD EPYC, limited to AVX-512 alone'
    """
    facts = [subject["facts"] for subject in benchmarks["subjects"].values()]
    names = dict.fromkeys(each.get("GPU", each["CPU"]) for each in facts)
    kind = KINDS.get(benchmarks.get("kind", ""), "")
    limited = any(LIMITS.keys() & each.keys() for each in facts)
    kind = kind.replace("with ", ", limited to ", 1) if limited else f" {kind}"
    return f"measured on {' and '.join(names) or 'nothing'}{kind}".rstrip()


def table(rows: Sequence[Mapping[str, Any]], heading: str = "measured") -> str:
    """Rows as a Markdown table."""
    head = (heading, *HEADER)
    lines = [head, ("---",) * len(head), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row's cells."""
    target = TARGETS[row["target"]] if row["target"] else None
    bound = f"{'at least' if target.at_least else 'at most'} {shown(target.bound, row['form'])}" if target else ""
    if row["value"] is None:
        return row["name"], "", row["against"], row["note"], bound, ""
    name = f"{row['name']} ({row['unit']})" if row["unit"] else row["name"]
    ours = "" if row["ours"] is None else number(row["ours"])
    beside = row["against"] + ("" if row["other"] is None else f" {number(row['other'])}")
    met = ("not shown" if target else "") if row["met"] is None else "yes" if row["met"] else "no"
    return name, ours, beside, result(row), bound, met


def result(row: Mapping[str, Any]) -> str:
    """The value, with its range and how many pairs it is of."""
    text = shown(row["value"], row["form"])
    if row["pairs"] > 1:
        of = "seeds" if row["form"] == "nats" else "pairs"
        text += f" ({shown(row['low'], row['form'])} to {shown(row['high'], row['form'])}, {row['pairs']} {of})"
    return text


def shown(value: float, form: str) -> str:
    """A value with its unit."""
    match form:
        case "ratio":
            return f"{value:.2f} x"
        case "share":
            return f"{100 * value:.3g}%"
        case "nats":
            return f"{value:+.3f} nats" if value else "0 nats"
        case "ms":
            return f"{number(value)} ms"
        case "alone":
            return "nothing beside it"
    return f"{number(value)} tokens/s"


def number(value: float) -> str:
    """Three significant digits and thousands apart.

    >>> number(12345.6), number(0.04567), number(2.5e7)
    ('12,300', '0.0457', '25,000,000')
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def _machines(subjects: Mapping[str, Any]) -> str:
    """Each distinct set of facts, with the subjects that were measured under it and the machine's load before."""
    found: dict[str, list[str]] = {}
    for name, subject in subjects.items():
        facts = "; ".join(f"{key} {value}" for key, value in subject["facts"].items())
        found.setdefault(facts, []).append(f"{name} (load {subject['load']:g})")
    lines = [f"* {', '.join(names)}: {facts}." for facts, names in found.items()]
    return "\n".join(
        [*lines, "", "Load is the machine's load average when the subject began, of whatever else it did."]
    )


def with_tables(readme: str, table_files: Iterable[str]) -> str:
    """A README with the tables of the targets between its markers; as it is where it has no markers."""
    parts = []
    for text in table_files:
        rows = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
        parts += ["\n".join(rows), ""]
    block = "\n".join([BEGIN, "", *parts, END])
    return re.sub(f"{BEGIN}.*?{END}", lambda _: block, readme, count=1, flags=re.DOTALL)
