"""A tokenised corpus on disk, opened as memory maps.

The folder holds `ids.npy` (indices into the corpus's own lexicon), `offsets.npy`, `counts.npy`, `labels.npy` if
documents have labels, `lexicon.json` (distinct words, in order of first appearance) and `corpus.json`, written last.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit_lab.data.formats import Document
from ulmfit_lab.data.tokenizer import has_words, tokenize
from ulmfit_lab.data.vocabulary import Vocabulary, read_words
from ulmfit_lab.utils.errors import DataError

BLOCK = 2**22
"""Tokens copied at a time."""
UNLABELLED = -1
"""Label index of a document without a label."""


@dataclass(frozen=True, eq=False)
class TokenCorpus:
    """Tokens of a corpus; the arrays are read-only memory maps.

    ids      (n_tokens,)        uint16 (uint32 above 65,536 distinct words), indices into `lexicon`
    offsets  (n_documents + 1,) int64; document i is ids[offsets[i]:offsets[i + 1]]
    counts   (n_words,)         int64, frequency of each word of the lexicon
    labels   (n_documents,)     int64, indices into label_names, -1 for none; None if no document has a label
    """

    folder: Path
    language: str
    ids: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray
    labels: np.ndarray | None
    label_names: tuple[str, ...]

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1

    @cached_property
    def lexicon(self) -> tuple[str, ...]:
        """Distinct words, in order of first appearance; read on first use."""
        return read_words(self.folder / "lexicon.json")

    def words(self, number: int) -> list[str]:
        """Return the tokens of a document."""
        return [self.lexicon[place] for place in self.ids[self.offsets[number] : self.offsets[number + 1]]]

    def stream(self, vocabulary: Vocabulary, numbers: np.ndarray | None = None) -> np.ndarray:
        """Return the given documents (None: all) end to end as ids of the vocabulary, (n,) int32."""
        return vocabulary.table(self.lexicon).expand(self._places(numbers))

    def documents(
        self, vocabulary: Vocabulary, numbers: np.ndarray | None = None, max_words: int | None = None
    ) -> list[np.ndarray]:
        """Return the ids of each given document (None: all), (length,) int32.

        Documents are cut after max_words words, not after as many subwords.
        """
        numbers = np.arange(self.n_documents) if numbers is None else numbers
        places = self._places(numbers, max_words)
        ends = np.cumsum(np.minimum(np.diff(self.offsets)[numbers], max_words or self.n_tokens))
        table = vocabulary.table(self.lexicon)
        return np.split(table.expand(places), np.cumsum(table.lengths[places])[ends - 1])[:-1]

    def count_words(self, numbers: np.ndarray | None = None) -> Counter[str]:
        """Return the frequency of each word that occurs in the given documents (None: all)."""
        counts = self.counts
        if numbers is not None:
            counts = np.bincount(self._places(numbers), minlength=len(self.lexicon))
        return Counter({self.lexicon[place]: int(counts[place]) for place in np.flatnonzero(counts)})

    def _places(self, numbers: np.ndarray | None, max_words: int | None = None) -> np.ndarray:
        if numbers is None:
            return self.ids
        parts = [self.ids[self.offsets[number] : self.offsets[number + 1]][:max_words] for number in numbers]
        return np.concatenate(parts) if parts else self.ids[:0]


def write_corpus(documents: Iterable[Document], language: str, folder: Path, *, mark_capitals: bool = False) -> None:
    """Tokenise documents into a folder (see `tokenize`); only one document and the lexicon are held in memory.

    To write a corpus atomically, write to a temporary folder and rename it. Raises DataError for a document without
    tokens, and for no documents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels: list[str | None] = []
    lexicon: defaultdict[str, int] = defaultdict()
    lexicon.default_factory = lexicon.__len__  # a new word gets the next index
    raw = folder / "ids.raw"
    pending: deque[str] = deque()
    texts = tokenize(_noting(documents, labels, pending), language, mark_capitals=mark_capitals)
    lengths = _write_places(texts, pending, lexicon, raw)
    if not lengths:
        raise DataError("There are no documents; give a file, folder or set that has some.")
    np.save(folder / "offsets.npy", np.cumsum([0, *lengths], dtype=np.int64))
    np.save(folder / "counts.npy", _narrow(raw, folder / "ids.npy", len(lexicon)))
    raw.unlink()
    names = _write_labels(labels, folder / "labels.npy")
    _write_json(folder / "lexicon.json", list(lexicon))
    summary = {"language": language, "n_tokens": sum(lengths), "n_documents": len(lengths), "label_names": names}
    _write_json(folder / "corpus.json", summary)


def _noting(documents: Iterable[Document], labels: list[str | None], pending: deque[str]) -> Iterator[str]:
    """Yield the documents' texts; append each label and location to labels and pending."""
    for number, document in enumerate(documents, 1):
        labels.append(document.label)
        pending.append(document.where or f"document {number}")
        yield document.text


def _write_places(
    documents: Iterable[list[str]], pending: deque[str], lexicon: defaultdict[str, int], path: Path
) -> list[int]:
    """Append each document's lexicon indices to a file as uint32; return the documents' lengths.

    pending: locations of the documents, for error messages
    """
    lengths: list[int] = []
    with path.open("wb") as file:
        for tokens in documents:
            where = pending.popleft()
            if not has_words(tokens):
                raise DataError(f"{where}: the text has no words without its markup; fill it in or remove it.")
            file.write(np.fromiter(map(lexicon.__getitem__, tokens), np.uint32, len(tokens)).data)
            lengths.append(len(tokens))
    return lengths


def _narrow(raw: Path, path: Path, n_words: int) -> np.ndarray:
    """Copy indices in the narrowest type that holds them; return the frequency of each."""
    wide = np.memmap(raw, np.uint32, "r")
    dtype = np.uint16 if n_words <= 2**16 else np.uint32
    narrow = np.lib.format.open_memmap(path, "w+", dtype, wide.shape)
    counts = np.zeros(n_words, np.int64)
    for start in range(0, len(wide), BLOCK):
        block = wide[start : start + BLOCK]
        narrow[start : start + BLOCK] = block
        counts += np.bincount(block, minlength=n_words)
    narrow.flush()
    return counts


def _write_labels(labels: Sequence[str | None], path: Path) -> list[str]:
    """Write each document's index into the sorted label names and return these; without labels, write nothing."""
    names = sorted({label for label in labels if label is not None})
    path.unlink(missing_ok=True)
    if names:
        places = {name: place for place, name in enumerate(names)}
        np.save(path, np.array([UNLABELLED if label is None else places[label] for label in labels], np.int64))
    return names


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def open_corpus(folder: Path) -> TokenCorpus:
    """Open a corpus written by `write_corpus`; raises DataError if it is incomplete."""
    load = partial(np.load, mmap_mode="r", allow_pickle=False)
    try:
        summary = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        ids, offsets, counts = (load(folder / f"{name}.npy") for name in ("ids", "offsets", "counts"))
        names = tuple(summary["label_names"])
        labels = load(folder / "labels.npy") if names else None
        sizes = (summary["n_tokens"], summary["n_documents"] + 1)
        whole = (ids.shape, offsets.shape) == ((sizes[0],), (sizes[1],)) and offsets[-1] == len(ids)
        language = str(summary["language"])
    except Exception as error:  # numpy raises seven types for a damaged header
        raise DataError(f"{folder} is not a complete corpus of tokens ({error}); tokenise the texts again.") from error
    if not whole:
        raise DataError(f"{folder} is damaged: numbers of tokens or documents differ; tokenise the texts again.")
    return TokenCorpus(folder, language, ids, offsets, counts, labels, names)


@dataclass(frozen=True)
class DocumentSplit:
    """Numbers of the training, validation and test documents of a language model, int64; `test` may be empty."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_documents(
    corpus: TokenCorpus, max_tokens: int, valid_tokens: int, test_tokens: int = 0, among: np.ndarray | None = None
) -> DocumentSplit:
    """Split documents into training, validation and test documents of a language model.

    The last documents with at least valid_tokens are for validation, those before them with at least test_tokens
    (0: none) for testing, and the first ones, up to max_tokens (0: all), for training. Documents are not cut. `among`
    restricts all parts to the given documents. Raises DataError if no training documents are left.
    """
    numbers = np.arange(corpus.n_documents) if among is None else np.asarray(among, np.int64)
    lengths = np.diff(corpus.offsets)[numbers]
    from_end = np.cumsum(lengths[::-1])
    first_valid = len(numbers) - int(np.searchsorted(from_end, valid_tokens)) - 1
    before = from_end[len(numbers) - first_valid - 1] if first_valid >= 0 else 0
    held_for_test = int(np.searchsorted(from_end, before + test_tokens)) + 1 if test_tokens else 0
    first_test = len(numbers) - held_for_test if test_tokens else first_valid
    if first_valid < 0 or first_test <= 0:
        wanted = f"valid_tokens = {valid_tokens}" + (f" and test_tokens = {test_tokens}" if test_tokens else "")
        raise DataError(
            f"The corpus has {lengths.sum()} tokens in {len(numbers)} documents, too few to hold out {wanted}; "
            "lower these, or give more (or shorter) documents."
        )
    train, test, valid = np.split(numbers, [first_test, first_valid])
    if max_tokens:
        train = train[: np.searchsorted(np.cumsum(lengths), max_tokens, side="right")]
    if not len(train):
        raise DataError(
            f"The first document has {lengths[0]} tokens, more than max_tokens = {max_tokens}; raise it, for example "
            f"with --unlabelled.max-tokens {lengths.sum()}, or give shorter documents."
        )
    return DocumentSplit(train, valid, test)
