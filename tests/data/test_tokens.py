"""Tokens against sentences worked out by hand, and against spaCy's own on text without anything to mark."""

from __future__ import annotations

import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit_lab.config.schema import SourceConfig
from ulmfit_lab.data import tokenizer as module
from ulmfit_lab.data.rules import FIELD_BREAK, SPECIALS
from ulmfit_lab.data.sources import read_documents
from ulmfit_lab.data.tokenizer import PACKAGES, SubwordSplitter, load_tokenizer, tokenize, tokenize_text
from ulmfit_lab.utils.errors import DataError


def one(text: str, language: str = "en", *, mark_capitals: bool = False) -> list[str]:
    """The tokens of one text."""
    return next(tokenize([text], language, mark_capitals=mark_capitals))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I can't go.", "xxbos i ca n't go ."),
        ("Soooo GOOD!!!!", "xxbos s xxrep 4 o xxup good xxrep 4 !"),
        ("a very very very very bad film", "xxbos a xxwrep 4 very bad film"),
        ("NO NO NO!", "xxbos xxwrep 3 xxup no !"),
        ("No no no.", "xxbos xxwrep 3 no ."),
        ("either/or   #1 ...", "xxbos either / or # 1 …"),
        ("AT&amp;T's\tU.S. deal", "xxbos xxup at&t 's xxup u.s. deal"),
        ("", "xxbos"),
        ("  \t ", "xxbos"),
    ],
)
def test_a_sentence_worked_out_by_hand(text: str, tokens: str) -> None:
    assert one(text) == tokens.split(" ")


def test_capitals_are_marked_on_request() -> None:
    assert one("The End of IT", mark_capitals=True) == ["xxbos", "xxmaj", "the", "xxmaj", "end", "of", "xxup", "it"]


@pytest.mark.parametrize("text", ["a<br /><br />b", "a\n\n \r\n b\n", "\n a \\n b", "a&#10;b"])
def test_lines_are_separated_by_one_newline_token(text: str) -> None:
    assert one(text) == ["xxbos", "a", "\n", "b"]


def test_words_are_counted_within_a_line_only() -> None:
    assert one("no no\nno") == ["xxbos", "no", "no", "\n", "no"]


def test_fields_are_numbered_where_there_are_several() -> None:
    assert one(f"Title{FIELD_BREAK}Some text") == ["xxbos", "xxfld", "1", "title", "xxfld", "2", "some", "text"]


def test_a_text_cannot_forge_markers() -> None:
    assert one("xxbos XXFLD 2 xxpad's Xxrep") == ["xxbos", "xxunk", "xxunk", "2", "xxunk", "'s", "xxunk"]


plain_text = st.text(alphabet=st.sampled_from("abcehimnotu ''\"().,!?:-$%12é\t"), max_size=60)


@given(plain_text.filter(lambda text: not any(c * 3 in text for c in text)))
def test_words_are_spacys_where_there_is_nothing_to_mark(text: str) -> None:
    words = [token.text for piece in text.split() for token in spacy_en()(piece)]
    expected = [word for word, run in itertools.groupby(words) for word in run]
    if all(len(list(run)) < 3 for _, run in itertools.groupby(words)):
        assert one_en(text) == ["xxbos", *expected]


_BARE = spacy.blank("en").tokenizer
_SPLIT = SubwordSplitter(load_tokenizer("en"), False)


def spacy_en() -> Callable[[str], spacy.tokens.Doc]:
    """spaCy's tokenizer, made once."""
    return _BARE


def one_en(text: str) -> list[str]:
    """The tokens of one text, by a splitter that remembers those before."""
    return tokenize_text(text, _SPLIT)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=5))
def test_tokens_do_not_depend_on_what_was_read_before(texts: list[str]) -> None:
    fresh = SubwordSplitter(load_tokenizer("en"), False)
    assert [one_en(text) for text in texts] == [tokenize_text(text, fresh) for text in texts]


@given(st.text(max_size=80))
def test_tokens_are_words_or_newlines_in_lower_case_behind_one_bos(text: str) -> None:
    tokens = one_en(text)
    assert tokens[0] == "xxbos" and "xxbos" not in tokens[1:]
    assert all(token == "\n" or not any(c.isspace() for c in token) for token in tokens)
    assert all(token == token.lower() or token in SPECIALS for token in tokens)


def test_forgetting_changes_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one two three", "two three four", "three, four, one"]
    before = list(tokenize(texts))
    monkeypatch.setattr(module, "REMEMBERED", 2)
    split = SubwordSplitter(load_tokenizer("en"), False)
    assert [tokenize_text(text, split) for text in texts] == before
    assert len(split.known) < 6


def test_languages_split_their_own_words() -> None:
    assert one("L'amour, c'est tout.", "fr") == ["xxbos", "l'", "amour", ",", "c'", "est", "tout", "."]
    assert one("电影很好!!!\n好", "zh") == ["xxbos", "电", "影", "很", "好", "xxrep", "3", "!", "\n", "好"]


def test_an_unknown_language_is_refused_at_once_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no language 'frr'\. Did you mean 'fr'"):
        tokenize([], "frr")


@pytest.mark.parametrize(
    ("language", "needed"), [("th", "pythainlp"), ("ja", "sudachipy"), ("ko", "natto"), ("vi", "pyvi")]
)
def test_a_missing_language_package_is_named(language: str, needed: str) -> None:
    if importlib.util.find_spec(needed):
        pytest.skip(f"{needed} is installed")
    with pytest.raises(DataError) as caught:
        load_tokenizer(language)
    assert PACKAGES[language] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_of_real_reviews_are_spacys(data_dir: Path) -> None:
    """With everything unmarked that the rules mark, 300 reviews have spaCy's words, piece by piece."""
    texts = [d.text for d, _ in zip(read_documents(SourceConfig(name="imdb"), data_dir), range(300), strict=False)]
    kept = [[piece for piece in text.replace("<br />", " ").split() if piece.isalpha()] for text in texts]
    for pieces in kept:
        words = [token.text.lower() for piece in pieces for token in spacy_en()(piece)]
        ours = [token for token in one_en(" , ".join(pieces)) if token not in (*SPECIALS, ",")]
        if not any(c * 3 in word for word in words for c in word):
            assert ours == words


@pytest.mark.slow
def test_rules_cost_at_most_a_tenth_of_spacys_rate(data_dir: Path) -> None:
    """The median ratio over three turns, each on 1,000 reviews that neither has met; loading is not counted."""
    texts = (document.text for document in read_documents(SourceConfig(name="imdb"), data_dir))
    bare, split = spacy.blank("en").tokenizer, SubwordSplitter(load_tokenizer("en"), False)
    ratios = []
    for _ in range(3):
        batch = list(itertools.islice(texts, 1000))
        seconds = [cpu_seconds(bare, batch), cpu_seconds(lambda text: tokenize_text(text, split), batch)]
        ratios.append(seconds[0] / seconds[1])
    assert statistics.median(ratios) >= 0.9


def cpu_seconds(work: Callable[[str], object], texts: list[str]) -> float:
    """This process's time on the processor for all texts; unlike the clock's, it hardly feels what else is running."""
    start = time.process_time()
    for text in texts:
        work(text)
    return time.process_time() - start
