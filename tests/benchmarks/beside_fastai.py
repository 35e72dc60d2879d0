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
from benchmarks.setting import NO_FASTAI, Bench
from benchmarks.sides import Task, answers_in_turns, rates

PRECISIONS = ("bfloat16", "float32")
FASTAI = "fastai"
TRAIN = "train language model"


def language_models(bench: Bench) -> list[Row]:
    """Tokens/s of training beside fastai, and floating-point operations/s beside what matrix products alone reach."""
    sizes = bench.sizes
    small = training(bench, "small", sizes.small, sizes.rounds, sizes.steps)
    return small + training(bench, "full", sizes.full, sizes.full_rounds, sizes.full_steps)


def training(bench: Bench, name: str, model: Model, rounds: int, steps: int) -> list[Row]:
    """The rows of one size; the peak of matrix products is measured in the same turns."""
    facts: dict[str, Any] = {"steps": steps, **bench.streams(model.words, steps)}
    alone = {f"alone {number}": bench.ours(TRAIN, model, **{**facts, "threads": 1}) for number in (1, 2)}
    wanted: dict[str, Task] = dict(alone)
    products = {"shapes": bench.sizes.shapes, "repeats": bench.sizes.repeats}
    for precision in PRECISIONS:
        wanted[precision] = bench.ours(TRAIN, model, precision, **facts)
        wanted[f"peak {precision}"] = bench.ours("multiply", model, precision, **products)
        if bench.fastai:
            wanted[f"{FASTAI} {precision}"] = bench.theirs(TRAIN, model, precision, **facts)
    found = in_turns(bench, wanted, rounds, {"two processes": list(alone)})
    about = f"Language model training, {name} size"
    targets = {"bfloat16": "training", "float32": "training, float32"}
    rows = [beside_fastai(f"{about}, {p}", found[p], found, "tokens/s", targets[p]) for p in PRECISIONS]
    rows += [near_peak(f"Matrix products of {about[0].lower()}{about[1:]}, {p}", model, p, found) for p in PRECISIONS]
    both: dict[str, Any] = {"unit": "tokens/s", "against": "one process of two threads"}
    rows.append(compared(f"{about}, two processes of one thread", found["two processes"], found["bfloat16"], **both))
    if bench.fastai:
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


def beside_fastai(
    name: str, ours: Sequence[float], found: Mapping[str, Sequence[float]], unit: str, target: str = ""
) -> Row:
    """A row of ours beside fastai as it comes, in float32."""
    theirs = found.get(f"{FASTAI} float32")
    if theirs is None:
        return missing(name, NO_FASTAI, unit=unit, against=FASTAI, target=target)
    return compared(name, ours, theirs, unit=unit, against=FASTAI, target=target)


def near_peak(name: str, model: Model, precision: str, found: Mapping[str, Sequence[float]]) -> Row:
    """What the model's own matrix products come to, as a share of what products alone reach here."""
    flops, peaks = [rate * model.training_flops for rate in found[precision]], found[f"peak {precision}"]
    ours, other = median(flops) / 1e9, median(peaks) / 1e9
    return with_ratio(
        Row(name, "GFLOP/s", ours, other, "peak", "share", target="share of the peak"), ratio(flops, peaks)
    )


def losses(bench: Bench) -> list[Row]:
    """Validation loss after one epoch over the same text, over seeds, each side at its better learning rate."""
    sizes = bench.sizes
    facts = bench.streams(sizes.small.words)
    theirs = fitted(bench, bench.theirs, facts) if bench.fastai else []
    tokens = min(sizes.train_tokens, bench.text[1].n_tokens)
    listed = " and ".join(f"{lr:g}" for lr in sizes.rates)
    rows = []
    for precision in PRECISIONS:
        ours = fitted(bench, partial(bench.ours, precision=precision), facts)
        name = f"Validation loss after {tokens:,} tokens of {bench.text[0]}, small size, {precision}"
        row = Row(name, "nats a token", mean(ours), None, FASTAI, "nats", target="validation loss")
        if theirs:
            note = (
                f"difference of the means over {len(ours)} seeds with its 95% interval (Welch), of which the lower end "
                f"is held against the target; seeds spread by {stdev(ours):.3f} and {stdev(theirs):.3f} (sd); "
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
    wanted = {precision: bench.ours(precision=precision, **task) for precision in PRECISIONS}
    if bench.fastai:
        wanted[f"{FASTAI} float32"] = bench.theirs(**task)
    answers = answers_in_turns(wanted, bench.sizes.rounds, bench.folder)
    found = {name: rates(each) for name, each in answers.items()}
    name, unit = f"Classifier training on {bench.reviews[0]} reviews, small size", "documents/s"
    padding = {name: 100 * each[0]["padding"] for name, each in answers.items()}
    share = Row("Padding in its batches", "%", padding["bfloat16"], padding.get(f"{FASTAI} float32"), FASTAI)
    note = "shares of all places; fastai's encoder leaves out most of its own, a window at a time"
    return [
        beside_fastai(f"{name}, bfloat16", found["bfloat16"], found, unit, "classifier"),
        beside_fastai(f"{name}, float32", found["float32"], found, unit),
        replace(share, form="share", value=padding["bfloat16"] / 100, note=note),
    ]


def memory(bench: Bench) -> list[Row]:
    """Most memory of a fresh process that makes a full-size training step."""
    model = bench.sizes.full
    facts: dict[str, Any] = {**bench.streams(model.words, 1), "steps": 1}
    wanted = {precision: bench.ours(TRAIN, model, precision, **facts) for precision in PRECISIONS}
    if bench.fastai:
        wanted[f"{FASTAI} float32"] = bench.theirs(TRAIN, model, **facts)
    found = {name: bench.once(task)["peak_bytes"] / 2**20 for name, task in wanted.items()}
    each = {name: [size] for name, size in found.items()}
    about = "Peak memory of a language model's training, full size"
    return [beside_fastai(f"{about}, {p}", each[p], each, "MB", "memory") for p in PRECISIONS]


def inference(bench: Bench) -> list[Row]:
    """Documents/s of classifying reviews, tokens/s of evaluating a language model."""
    model = bench.sizes.small
    kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
        "classify": (f"Classifying {bench.reviews[0]} reviews", "documents/s", {"documents": bench.documents}),
        "evaluate language model": ("Evaluating a language model", "tokens/s", bench.streams(model.words)),
    }
    rows = []
    for task, (name, unit, facts) in kinds.items():
        wanted = {precision: bench.ours(task, model, precision, **facts) for precision in PRECISIONS}
        if bench.fastai:
            wanted[f"{FASTAI} float32"] = bench.theirs(task, model, **facts)
        found = in_turns(bench, wanted, bench.sizes.rounds)
        rows += [
            beside_fastai(f"{name}, small size, bfloat16", found["bfloat16"], found, unit, "inference"),
            beside_fastai(f"{name}, small size, float32", found["float32"], found, unit),
        ]
    return rows
