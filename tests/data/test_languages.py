"""Languages of other scripts: no text is lost, and the same steps as for English make corpora and models of them.

The sentences are the examples that spaCy carries for each language: Cyrillic, Greek, Arabic, Devanagari, and
Chinese, which has no spaces between words.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.config.paths import override
from ulmfit_lab.config.scales import TINY
from ulmfit_lab.data.corpus import open_corpus, write_corpus
from ulmfit_lab.data.files import find_own
from ulmfit_lab.data.formats import Columns, Document
from ulmfit_lab.data.rules import BOS, CAPITAL, REPEAT, UNK, UNK_ID, UPPER, WORD_REPEAT
from ulmfit_lab.data.tokenizer import tokenize
from ulmfit_lab.data.vocabulary import Vocabulary, build_vocabulary
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import Observer, StageResult, StageStore

LANGUAGES = ("ru", "el", "ar", "hi", "zh")
# emphasis, a word three times and two lines, in each language's own letters
HARD = {
    "ru": "Фильм ОЧЕНЬ хооороший!!! Нет нет нет.\nДа...",
    "el": "Η ταινία ΕΊΝΑΙ καλή!!! Όχι όχι όχι.\nΝαιιιι...",
    "ar": "الفيلم جمييييل!!! لا لا لا.\nنعم...",
    "hi": "फ़िल्म अच्छी है!!! नहीं नहीं नहीं।\nहाँ...",
    "zh": "这部电影很很很好!!!\n好/坏...",
}


def texts_of(language: str) -> list[str]:
    """spaCy's example sentences and the hard one."""
    return [*importlib.import_module(f"spacy.lang.{language}.examples").sentences, HARD[language]]


def spelt(tokens: list[str]) -> str:
    """What tokens stand for, without whitespace: markers of capitals are dropped, repeated ones are written out."""
    left = iter(tokens)
    return "".join(part for token in left for part in written_out(token, left)).replace("…", "...")


def written_out(token: str, left: Iterator[str]) -> Iterator[str]:
    """A token as it stood in the text; takes what belongs to it from those that are left."""
    if token in (REPEAT, WORD_REPEAT):
        times = int(next(left))
        word = next(left)
        yield (next(left) if word in (UPPER, CAPITAL) else word) * times
    elif token not in (BOS, UPPER, CAPITAL, "\n"):
        yield token


def bare(text: str) -> str:
    """A text without whitespace, in lower case; casefold, for a Greek sigma differs at the end of a word."""
    return "".join(text.split()).replace("…", "...").casefold()


@pytest.mark.parametrize("mark_capitals", [False, True])
@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_but_whitespace_is_lost(language: str, mark_capitals: bool) -> None:
    texts = texts_of(language)
    for text, tokens in zip(texts, tokenize(texts, language, mark_capitals=mark_capitals), strict=True):
        assert tokens[0] == BOS and UNK not in tokens
        assert spelt(tokens).casefold() == bare(text)
        assert tokens.count("\n") == len([line for line in text.splitlines() if line.strip()]) - 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_words(language: str) -> None:
    """Most are of the language's own letters, and hold several of them, except in Chinese."""
    words = [word for tokens in tokenize(texts_of(language)[:-1], language) for word in tokens if word[0].isalpha()]
    own = [word for word in words if not word.isascii()]
    assert len(own) > len(words) / 2
    assert (max(map(len, own)) == 1) == (language == "zh")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("ru", "xxbos фильм xxup очень х xxrep 3 о роший xxrep 3 ! xxwrep 3 нет . \n да …"),
        ("el", "xxbos η ταινία xxup είναι καλή xxrep 3 ! xxwrep 3 όχι . \n να xxrep 4 ι …"),
        ("ar", "xxbos الفيلم جم xxrep 4 ي ل xxrep 3 ! xxwrep 3 لا . \n نعم …"),
        ("hi", "xxbos फ़िल्म अच्छी है xxrep 3 ! xxwrep 3 नहीं । \n हाँ …"),
        ("zh", "xxbos 这 部 电 影 xxrep 3 很 好 xxrep 3 ! \n 好 / 坏 …"),
    ],
)
def test_a_text_worked_out_by_hand(language: str, expected: str) -> None:
    assert next(tokenize([HARD[language]], language)) == expected.split(" ")


@pytest.mark.parametrize("units", ["words", "subwords"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_round_trip_through_a_vocabulary(language: str, units: str, tmp_path: Path) -> None:
    write_corpus(map(Document, texts_of(language)), language, tmp_path / "corpus")
    corpus = open_corpus(tmp_path / "corpus")
    vocabulary = build_vocabulary(corpus.count_words(), 2000, 1, units)  # type: ignore[arg-type]
    vocabulary.save(tmp_path / "vocabulary.json")
    vocabulary = Vocabulary.load(tmp_path / "vocabulary.json")
    for number, ids in enumerate(corpus.documents(vocabulary)):
        words = corpus.words(number)
        assert UNK_ID not in ids
        if units == "words":
            assert vocabulary.decode(ids) == words
        else:
            assert "".join(vocabulary.decode(ids)).split() == "".join(spaced(word) for word in words).split()


def spaced(word: str) -> str:
    """A word as its pieces spell it: the last one ends in a space, which a marker and a newline do without."""
    return word if word.startswith("xx") or word == "\n" else f"{word} "


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder of .txt files in a language, a document each, in two sub-folders."""

    def make(language: str) -> Path:
        texts = texts_of(language)
        for number in range(60):
            place = tmp_path / language / ("one", "two")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            text = "\n".join(texts[(number + further) % len(texts)] for further in range(2))
            (place / f"{number:02}.txt").write_text(text, encoding="utf-8")
        return tmp_path / language

    return make


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_folder_of_text_files_is_a_corpus(language: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    found = list(find_own(str(folder(language)), Columns("text", "label")).read())
    texts = texts_of(language)
    assert {document.label for document in found} == {"one", "two"}
    assert {line for document in found for line in document.text.splitlines()} >= {
        line for text in texts for line in text.splitlines()
    }
    write_corpus(found, language, tmp_path / "corpus")
    corpus = open_corpus(tmp_path / "corpus")
    assert (corpus.language, corpus.n_documents, corpus.label_names) == (language, 60, ("one", "two"))
    assert [spelt(corpus.words(i)).casefold() for i in range(60)] == [bare(document.text) for document in found]


def pretrained(language: str, path: Path, units: str, home: Path) -> StageResult:
    """A tiny language model of a folder's texts."""
    changes = {
        "general.name": "",
        "general.path": str(path),
        "general.valid_tokens": 200,
        "general.max_tokens": 0,
        "language": language,
        "vocabulary.units": units,
        "vocabulary.min_freq": 1,
        "pretraining.epochs": 2,
        "last_stage": "pretrained",
    }
    return StageStore(home).get_or_compute(final_stage(override(TINY, changes), 0, None), Observer())


@pytest.mark.parametrize(
    ("language", "units"), [("zh", "words"), ("zh", "subwords"), ("ru", "words"), ("hi", "subwords")]
)
def test_a_language_model_learns_from_a_folder(
    language: str, units: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    stored = pretrained(language, folder(language), units, tmp_path / "stages")
    losses = [point.values["valid_loss"] for point in stored.points() if "valid_loss" in point.values]
    assert losses[-1] < losses[0]


def test_the_command_line_trains_a_language_model_of_chinese(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ULMFIT_LAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    changes = ["--language", "zh", "--general.path", str(folder("zh")), "--general.valid-tokens", "200"]
    changes += ["--general.test-tokens", "200", "--vocabulary.min-freq", "1"]
    assert main(["sweep", "bptt", "--scale", "tiny", "--seeds", "1", *changes]) == 0
    assert "3 runs finished" in capsys.readouterr().out
    (saved,) = (tmp_path / "home" / "stages").glob("vocabulary/*/vocabulary.json")
    assert set("汉语语言") <= set(Vocabulary.load(saved).words)
