"""What is measured on a GPU: the paper's sizes, in three precisions, beside fastai and the card's own limit.

Both sides, each a process of its own, read the same ids; what a side cannot do is told in its row, and the others go
on. Nothing here tokenises: WikiText-2 is split at blanks, as in the paper, and documents are cut from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.arithmetic import Model
from benchmarks.paired import ratio
from benchmarks.rows import Row, compared, missing, with_ratio
from benchmarks.setting import NO_FASTAI, Bench
from benchmarks.sides import Facts, Side, Task, answers_or_errors, rates, run_together, started
from ulmfit_lab.utils.errors import LabError

PRECISIONS = ("bfloat16", "tf32", "float32")
RESERVED = 2
"""Ids that stand for no word: of unknown ones, and the padding's."""
END_OF_LINE = "<eos>"
PARTS = ("train", "valid", "test")
MADE_UP = {"train": 400_000, "valid": 20_000, "test": 20_000}
"""Ids of a text that is drawn at random where WikiText-2 is not here."""
PUBLISHED = {"valid": 68.6, "test": 65.8}
"""Perplexity of AWD-LSTM on WikiText-2 after 750 epochs (Merity et al. 2017, table 3)."""


def has_wikitext(bench: Bench) -> bool:
    """Whether WikiText-2 is among the named sets."""
    return bench.data is not None and (bench.data / "wikitext-2").is_dir()


@cache
def wikitext(folder: Path) -> dict[str, np.ndarray]:
    """The ids of WikiText-2's three parts; a word's id follows from how often the training part has it."""
    words = {part: list(words_of(folder / f"wiki.{part}.tokens")) for part in PARTS}
    known = {word: number + RESERVED for number, (word, _) in enumerate(Counter(words["train"]).most_common())}
    return {part: np.array([known.get(word, 0) for word in words[part]], np.int32) for part in PARTS}


def words_of(path: Path) -> Iterator[str]:
    """The words of a file that is already tokenised, every line followed by its end's own."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield from line.split()
            yield END_OF_LINE


@cache
def made_up(words: int) -> dict[str, np.ndarray]:
    """Random ids, the n-th word as often as 1 / n of the first."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, words - RESERVED + 1)
    chances = share / share.sum()
    return {part: (rng.choice(len(share), n, p=chances) + RESERVED).astype(np.int32) for part, n in MADE_UP.items()}


def text(bench: Bench, words: int) -> dict[str, np.ndarray]:
    """The ids of all parts under a vocabulary of so many words; rarer ones are unknown."""
    found = wikitext(bench.data / "wikitext-2") if bench.data and has_wikitext(bench) else made_up(words)
    return {part: np.where(ids < words, ids, 0)[: bench.sizes.device_tokens] for part, ids in found.items()}


def streams(bench: Bench, words: int, train: int, valid: int = 0) -> dict[str, str]:
    """Files of the first ids of the training and validation part, repeated where there are too few of them."""
    files = {}
    for part, n in (("train", train), ("valid", valid or 1000)):
        path = bench.folder / f"{part}-{words}-{n}.npy"
        np.save(path, np.resize(text(bench, words)[part], n))
        files[part] = str(path)
    return files


def documents(bench: Bench, words: int, n: int) -> str:
    """File of documents cut from the text, as long as reviews are: 200 words in the middle, most below 400."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(200), 0.65, n).astype(int), 10, bench.sizes.max_length)
    path = bench.folder / f"documents-{words}-{n}.npz"
    ids = np.resize(text(bench, words)["train"], lengths.sum())
    np.savez(path, ids=ids, ends=np.cumsum(lengths), labels=np.arange(n, dtype=np.int64) % 2)
    return str(path)


def training_paper(bench: Bench) -> list[Row]:
    """AWD-LSTM of the paper's size."""
    sizes = bench.sizes
    return training(bench, "the paper's size", sizes.paper, sizes.paper_batch, sizes.device_steps)


def training_small(bench: Bench) -> list[Row]:
    """The language model of scale small."""
    sizes = bench.sizes
    return training(bench, "small size", sizes.small, sizes.batch_size, 2 * sizes.device_steps)


def training_full(bench: Bench) -> list[Row]:
    """The full-size language model."""
    sizes = bench.sizes
    return training(bench, "full size", sizes.full, sizes.batch_size, sizes.device_steps)


def training(bench: Bench, size: str, model: Model, batch: int, steps: int) -> list[Row]:
    """Tokens/s and memory beside fastai in each precision, and the share of what matrix products alone reach."""
    sizes = bench.sizes
    files = streams(bench, model.words, (steps + 1) * batch * sizes.bptt + 1)
    facts: dict[str, Any] = {"steps": steps, "batch_size": batch, **files}
    products = {"shapes": sizes.device_shapes, "repeats": sizes.repeats}
    wanted = both_sides(bench, "train language model", model, facts)
    wanted |= {f"peak {p}": bench.ours("multiply", model, p, **products) for p in PRECISIONS}
    found, errors = answers_or_errors(wanted, sizes.device_rounds, bench.folder)
    about = f"language model training, {size}, batches of {batch}"
    rows = beside(about[0].upper() + about[1:], "tokens/s", found, errors)
    for p in PRECISIONS:
        name = f"Matrix products of {about}, {p}"
        if p in found and f"peak {p}" in found:
            flops = [rate * model.training_flops / 1e9 for rate in rates(found[p])]
            peaks = [rate / 1e9 for rate in rates(found[f"peak {p}"])]
            row = Row(name, "GFLOP/s", median(flops), median(peaks), "peak", "share")
            rows.append(with_ratio(row, ratio(flops, peaks)))
        else:
            rows.append(missing(name, errors.get(p) or errors[f"peak {p}"], unit="GFLOP/s", against="peak"))
    return rows + memory(f"Peak memory of {about}", found, errors)


def both_sides(bench: Bench, task: str, model: Model, facts: Mapping[str, Any]) -> dict[str, Task]:
    """A task of ours and of fastai's in each precision."""
    wanted = {p: bench.ours(task, model, p, **facts) for p in PRECISIONS}
    if bench.fastai:
        wanted |= {f"fastai {p}": bench.theirs(task, model, p, **facts) for p in PRECISIONS}
    return wanted


def beside(about: str, unit: str, found: Mapping[str, list[Facts]], errors: Mapping[str, str]) -> list[Row]:
    """A row of each precision: ours beside fastai in the same one."""
    rows = []
    for p in PRECISIONS:
        name, theirs = f"{about}, {p}", f"fastai {p}"
        if p not in found:
            rows.append(missing(name, errors[p], unit=unit, against="fastai"))
        elif theirs in found:
            ours, others = rates(found[p]), rates(found[theirs])
            rows.append(compared(name, ours, others, unit=unit, against=f"fastai in {p}"))
        else:
            rows.append(alone(name, unit, rates(found[p]), f"fastai: {errors.get(theirs, NO_FASTAI)}"))
    return rows


def memory(about: str, found: Mapping[str, list[Facts]], errors: Mapping[str, str]) -> list[Row]:
    """Most memory that either side's tensors took."""
    rows = []
    for p in PRECISIONS:
        ours, theirs = ([answer["peak_bytes"] / 2**20 for answer in found.get(n, [])] for n in (p, f"fastai {p}"))
        if ours and theirs:
            rows.append(compared(f"{about}, {p}", ours, theirs, unit="MB", against=f"fastai in {p}"))
        elif ours:
            rows.append(alone(f"{about}, {p}", "MB", ours, f"fastai: {errors.get(f'fastai {p}', NO_FASTAI)}"))
    return rows


def alone(name: str, unit: str, ours: list[float], note: str) -> Row:
    """A row of ours where there is nothing to hold it against, and why."""
    return Row(name, unit, median(ours), form="alone", value=median(ours), note=note)


def classifier_paper(bench: Bench) -> list[Row]:
    """Documents/s of training a classifier of the paper's size."""
    sizes = bench.sizes
    file = documents(bench, sizes.paper.words, sizes.device_documents)
    facts = {"documents": file, "batch_size": sizes.paper_documents}
    wanted = both_sides(bench, "train classifier", sizes.paper, facts)
    found, errors = answers_or_errors(wanted, sizes.device_rounds, bench.folder)
    about = f"Classifier training, the paper's size, batches of {sizes.paper_documents}"
    rows = beside(about, "documents/s", found, errors)
    return rows + memory(f"Peak memory of {about[0].lower()}{about[1:]}", found, errors)


def inference_paper(bench: Bench) -> list[Row]:
    """Documents/s of classifying, tokens/s of evaluating a language model."""
    sizes, model = bench.sizes, bench.sizes.paper
    valid = (bench.sizes.device_steps + 1) * sizes.paper_batch * sizes.bptt
    kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
        "classify": (
            "Classifying",
            "documents/s",
            {"documents": documents(bench, model.words, sizes.device_documents), "batch_size": sizes.paper_documents},
        ),
        "evaluate language model": (
            "Evaluating a language model",
            "tokens/s",
            {"batch_size": sizes.paper_batch, **streams(bench, model.words, 10 * valid, valid)},
        ),
    }
    rows = []
    for task, (name, unit, facts) in kinds.items():
        wanted = both_sides(bench, task, model, facts)
        found, errors = answers_or_errors(wanted, sizes.device_rounds, bench.folder)
        rows += beside(f"{name}, the paper's size", unit, found, errors)
    return rows


def side_by_side(bench: Bench) -> list[Row]:
    """Tokens/s of several trainings on one device at once, as the workers of a sweep share it."""
    sizes, model = bench.sizes, bench.sizes.small
    steps = 2 * sizes.device_steps
    files = streams(bench, model.words, (steps + 1) * sizes.batch_size * sizes.bptt + 1)
    task = bench.ours("train language model", model, "bfloat16", steps=steps, threads=1, **files)
    found: dict[int, list[float]] = {n: [] for n in sizes.processes}
    with started({str(n): task for n in range(max(sizes.processes))}, bench.folder) as processes:
        ready: list[Side] = []
        for process in processes.values():
            process.hear()
            ready.append(process)
        for _ in range(sizes.device_rounds):
            for n in sizes.processes:
                found[n] += rates([run_together(ready[:n])])
    one = found[sizes.processes[0]]
    return [
        compared(
            f"{n} trainings at once, language model, small size, bfloat16",
            found[n],
            one,
            unit="tokens/s",
            against="one",
            note="processes without MLflow, each with a thread of its own",
        )
        for n in sizes.processes[1:]
    ]


def lstm_layer(bench: Bench) -> list[Row]:
    """Milliseconds of a hidden layer of the paper's size, in several ways."""
    sizes = bench.sizes
    about = f"An LSTM layer of {sizes.paper.hidden} units forward and back"
    return part(bench, about, sizes.paper, {"part": "lstm_layer", "batch_size": sizes.paper_batch})


def output_layer(bench: Bench) -> list[Row]:
    """Milliseconds of the output layer, by rows of logits that are held at once."""
    sizes = bench.sizes
    rows = []
    for model, batch in ((sizes.paper, sizes.paper_batch), (sizes.small, sizes.batch_size)):
        facts = {"part": "output_layer", "batch_size": batch, "blocks": sizes.blocks}
        rows += part(bench, f"The output layer over {model.words:,} words forward and back", model, facts)
    return rows


def part(bench: Bench, about: str, model: Model, facts: Mapping[str, Any]) -> list[Row]:
    """Milliseconds of a part of a model in each precision and way, from one process."""
    answer = bench.once(bench.ours("part", model, PRECISIONS[0], precisions=PRECISIONS, **facts))
    return [
        way_row(f"{about}, {precision}, {way}", found)
        for precision, ways in answer["ways"].items()
        for way, found in ways.items()
    ]


def way_row(name: str, found: Mapping[str, Any]) -> Row:
    """A row of one way's milliseconds."""
    if "error" in found:
        return missing(name, found["error"])
    notes = [f"its output is {found['output']}"] if "output" in found else []
    notes += [f"warns: {warning}" for warning in found.get("warnings", [])]
    return Row(name, form="ms", value=found["ms"], note="; ".join(notes))


def awd_lstm_wikitext2(bench: Bench) -> list[Row]:
    """AWD-LSTM of the paper's size trained on WikiText-2 for some minutes; its perplexity beside the published one."""
    from benchmarks import wikitext_run

    report = wikitext_run.train(bench, text(bench, bench.sizes.paper.words), known=has_wikitext(bench))
    if not report["history"]:
        raise LabError("No epoch of the training was done in time; give more minutes.")
    epochs, spent = len(report["history"]), report["seconds"] / 60
    about = f"AWD-LSTM on {report['text']} after {epochs} epochs in {spent:.1f} minutes"
    found = {"valid": report["history"][-1]["perplexity"], "test": report.get("test_perplexity")}
    note = f"fastai's recipe in {report['precision']}, {report['tokens_per_second']:,.0f} tokens/s of training"
    return [
        Row(
            f"{about}, {part} perplexity",
            "perplexity",
            found[part],
            published,
            "Merity et al. 2017 after 750 epochs",
            value=found[part] / published,
            note=note,
        )
        for part, published in PUBLISHED.items()
        if found[part] is not None
    ]
