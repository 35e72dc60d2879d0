"""Explanations as they are shown: strongest word on full colour, nothing in a text becomes markup."""

from __future__ import annotations

import numpy as np

from ulmfit_lab.report.explanations import Explanation, color_words, format_explanation, format_strongest, html_page

EXPLAINED = Explanation(("xxbos", "<b>bad</b>", "\n", "[red]"), np.array([0.0, 0.4, -0.2, 0.1]), "pos", 0.8, 0.5, 0.0)


def test_words_stand_on_the_colour_of_their_value() -> None:
    text = color_words(EXPLAINED)
    assert text.plain == "xxbos <b>bad</b> ↵ [red] "
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles["xxbos"] == "black on rgb(255,255,255)"
    assert styles["<b>bad</b>"] == "black on rgb(0,158,115)"
    assert styles["↵"] == "black on rgb(234,174,128)"


def test_a_page_escapes_what_texts_hold() -> None:
    page = html_page([EXPLAINED])
    assert "<b>bad" not in page and "&lt;b&gt;bad&lt;/b&gt;" in page
    assert 'rgba(0,158,115,1.00)" title="+0.4000"' in page
    assert "pos: probability 0.800 (baseline 0.500, sum of attributions +0.300)" in page
    assert format_explanation(EXPLAINED) in page


def test_words_that_say_nothing_have_no_colour() -> None:
    nothing = Explanation(("a", "b"), np.zeros(2), "pos", 0.5, 0.5, 0.0)
    assert {str(span.style) for span in color_words(nothing).spans} == {"black on rgb(255,255,255)"}


def test_nothing_is_said_by_colour_alone() -> None:
    values = np.array([0.1, -0.3, 0.05])
    found = Explanation(("a", "bad", "film"), values, "pos", 0.4, 0.5, 0.0)
    assert format_strongest(found) == "  largest attributions: bad -0.300, a +0.100, film +0.050"
