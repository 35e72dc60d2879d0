"""Language models and classifiers beside fastai's: training, validation loss, memory, inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean, median, stdev
from typing import Any

from scipy.stats import ttest_ind

from benchmarks.arithmetic import Model
from benchmarks.paired import ratio
from benchmarks.rows import Row, compared, missing, with_ratio
from benchmarks.setting import NO_BFLOAT16, NO_FASTAI, PRECISIONS, Bench
from benchmarks.sides import Task, answers_in_turns, rates

FASTAI = "fastai"
TRAIN = "train language model"


def small_models(bench: Bench) -> list[Row]:
    """Tokens/s of training beside fastai, and floating-point operations/s beside what matrix products alone reach."""
    sizes = bench.sizes
    return training(bench, "small", sizes.small, sizes.rounds, sizes.steps, further=True)


def full_models(bench: Bench) -> list[Row]:
    """The same at full size, without the rows that have no target: a step there takes seconds."""
    sizes = bench.sizes
    return training(bench, "full", sizes.full, sizes.full_rounds, sizes.full_steps)


def training(bench: Bench, name: str, model: Model, rounds: int, steps: int, *, further: bool = False) -> list[Row]:
    """The rows of one size; the peak of matrix products is measured in the same turns."""
    facts: dict[str, Any] = {"steps": steps, **bench.streams(model.words, steps)}
    products = {"shapes": bench.sizes.shapes, "repeats": bench.sizes.repeats}
    wanted: dict[str, Task] = {}
    for p in bench.precisions:
        wanted |= {p: bench.ours(TRAIN, model, p, **facts), f"peak {p}": bench.ours("multiply", model, p, **products)}
        if bench.fastai and (further or p == "float32"):
            wanted[f"{FASTAI} {p}"] = bench.theirs(TRAIN, model, p, **facts)
    faster = "bfloat16" if bench.kind == "bfloat16" else "float32"
    one_thread = bench.ours(TRAIN, model, faster, **{**facts, "threads": 1})
    alone = {f"alone {number}": one_thread for number in (1, 2)} if further else {}
    groups = {"two processes": list(alone)} if further else {}
    found = in_turns(bench, wanted | alone, rounds, groups)
    about = f"Language model training, {name} size"
    rows = [
        beside_fastai(about, p, found, "tokens/s", bench.target("training", p, "training, float32")) for p in PRECISIONS
    ]
    rows += [near_peak(f"Matrix products of {about[0].lower()}{about[1:]}, {p}", model, p, found) for p in PRECISIONS]
    both: dict[str, Any] = {"unit": "tokens/s", "against": "one process of two threads"}
    if further:
        rows.append(compared(f"{about}, two processes of one thread", found["two processes"], found[faster], **both))
    if f"{FASTAI} bfloat16" in found:
        both |= {"against": "fastai under autocast", "note": "fastai's own mixed precision is for GPUs alone"}
        low = found["bfloat16"], found[f"{FASTAI} bfloat16"]
        rows.append(compared(f"{about}, bfloat16 on both sides", *low, **both))
    return rows


def in_turns(
    bench: Bench, wanted: Mapping[str, Task], rounds: int, groups: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[float]]:
    """Units a second of each side in each round."""
    answers = answers_in_turns(wanted, rounds, bench.folder, groups)
    return {name: rates(each) for name, each in answers.items()}


def beside_fastai(about: str, precision: str, found: Mapping[str, Sequence[float]], unit: str, target: str = "") -> Row:
    """A row of ours in a precision beside fastai as it comes, in float32."""
    facts: dict[str, Any] = {"unit": unit, "against": FASTAI, "target": target}
    name, theirs = f"{about}, {precision}", found.get(f"{FASTAI} float32")
    if precision not in found:
        return missing(name, NO_BFLOAT16, **facts)
    return compared(name, found[precision], theirs, **facts) if theirs else missing(name, NO_FASTAI, **facts)


def near_peak(name: str, model: Model, precision: str, found: Mapping[str, Sequence[float]]) -> Row:
    """What the model's own matrix products come to, as a share of what products alone reach here."""
    row = Row(name, "GFLOP/s", against="peak", form="share", target="share of the peak")
    if precision not in found:
        return replace(row, note=f"not measured: {NO_BFLOAT16}")
    flops, peaks = [rate * model.training_flops for rate in found[precision]], found[f"peak {precision}"]
    return with_ratio(replace(row, ours=median(flops) / 1e9, other=median(peaks) / 1e9), ratio(flops, peaks))


def losses(bench: Bench) -> list[Row]:
    """Validation loss after one epoch over the same text, over seeds, each side at its better learning rate."""
    sizes = bench.sizes
    facts = bench.streams(sizes.small.words)
    theirs = fitted(bench, bench.theirs, facts) if bench.fastai else []
    tokens = min(sizes.train_tokens, bench.text[1].n_tokens)
    listed = " and ".join(f"{lr:g}" for lr in sizes.rates)
    rows = []
    for precision in PRECISIONS:
        name = f"Validation loss after {tokens:,} tokens of {bench.text[0]}, small size, {precision}"
        if precision not in bench.precisions:
            rows.append(missing(name, NO_BFLOAT16, against=FASTAI, form="nats", target="validation loss"))
            continue
        ours = fitted(bench, partial(bench.ours, precision=precision), facts)
        row = Row(name, "nats a token", mean(ours), None, FASTAI, "nats", target="validation loss")
        if theirs:
            note = (
                f"difference of the means over {len(ours)} seeds with its 95% interval (Welch), which is held "
                f"against the target as a whole; seeds spread by {stdev(ours):.3f} and {stdev(theirs):.3f} (sd); "
                f"one-cycle schedules on both sides, each at the better of the rates {listed} with its first seed"
            )
            rows.append(replace(row, other=mean(theirs), note=note, **difference(ours, theirs)))
        else:
            rows.append(replace(row, note=f"not measured: {NO_FASTAI}"))
    return rows


def fitted(bench: Bench, side: Callable[..., Task], facts: Mapping[str, Any]) -> list[float]:
    """A side's validation loss with each seed, at the rate that is the better one with the first."""

    def loss(lr: float, seed: int) -> float:
        task = side("fit language model", bench.sizes.small, lr=lr, seed=seed, **facts)
        return float(bench.once(task)["loss"])

    first, best = min((loss(lr, 0), lr) for lr in bench.sizes.rates)
    return [first, *(loss(best, seed) for seed in range(1, bench.sizes.fit_seeds))]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Difference of two means, with Welch's 95% interval.

    >>> difference([2.0, 4.0], [1.0, 3.0])["value"]
    1.0
    """
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    facts = {"low": float(interval.low), "high": float(interval.high), "pairs": len(ours)}
    return {"value": mean(ours) - mean(theirs), **facts}


def classifiers(bench: Bench) -> list[Row]:
    """Documents/s of training on reviews, and how much of what is read is padding."""
    task: dict[str, Any] = {"task": "train classifier", "model": bench.sizes.small, "documents": bench.documents}
    wanted = {precision: bench.ours(precision=precision, **task) for precision in bench.precisions}
    if bench.fastai:
        wanted[f"{FASTAI} float32"] = bench.theirs(**task)
    answers = answers_in_turns(wanted, bench.sizes.rounds, bench.folder)
    found = {name: rates(each) for name, each in answers.items()}
    name, unit = f"Classifier training on {bench.reviews[0]} reviews, small size", "documents/s"
    padding = {name: 100 * each[0]["padding"] for name, each in answers.items()}
    ours, theirs = padding["float32"], padding.get(f"{FASTAI} float32")
    share = Row("Padding in its batches", "%", ours, theirs, FASTAI, "share", ours / 100)
    note = "shares of all places; fastai's encoder leaves out most of its own, a window at a time"
    return [
        *(beside_fastai(name, p, found, unit, bench.target("classifier", p)) for p in PRECISIONS),
        replace(share, note=note),
    ]


def memory(bench: Bench) -> list[Row]:
    """Most memory of a fresh process that makes a full-size training step."""
    model = bench.sizes.full
    facts: dict[str, Any] = {**bench.streams(model.words, 1), "steps": 1}
    wanted = {precision: bench.ours(TRAIN, model, precision, **facts) for precision in bench.precisions}
    if bench.fastai:
        wanted[f"{FASTAI} float32"] = bench.theirs(TRAIN, model, **facts)
    found = {name: bench.once(task)["peak_bytes"] / 2**20 for name, task in wanted.items()}
    each = {name: [size] for name, size in found.items()}
    about = "Peak memory of a language model's training, full size"
    return [beside_fastai(about, p, each, "MB", "memory") for p in PRECISIONS]


def classifying(bench: Bench) -> list[Row]:
    """Documents/s of classifying reviews."""
    about = f"Classifying {bench.reviews[0]} reviews, small size"
    return inference(bench, "classify", about, "documents/s", documents=bench.documents)


def evaluating(bench: Bench) -> list[Row]:
    """Tokens/s of evaluating a language model."""
    about, streams = "Evaluating a language model, small size", bench.streams(bench.sizes.small.words)
    return inference(bench, "evaluate language model", about, "tokens/s", **streams)


def inference(bench: Bench, task: str, about: str, unit: str, **facts: str) -> list[Row]:
    """The rows of a task without training."""
    model = bench.sizes.small
    wanted = {precision: bench.ours(task, model, precision, **facts) for precision in bench.precisions}
    if bench.fastai:
        wanted[f"{FASTAI} float32"] = bench.theirs(task, model, **facts)
    found = in_turns(bench, wanted, bench.sizes.rounds)
    return [
        *(beside_fastai(about, p, found, unit, bench.target("inference", p)) for p in PRECISIONS),
    ]
