"""Texts with each word coloured by what it adds to a guess: green for it, red against it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.text import Text

FOR, AGAINST = (0, 158, 115), (213, 94, 0)
"""Green and red that people of all kinds of sight tell apart (Okabe & Ito)."""
SHOWN = 6
"""Words whose values are printed."""
NOTHING = "nothing to read"
"""What takes the place of a label where a text is empty or holds markup alone."""
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Attributions</title>
<style>body {{ font: 16px/1.8 sans-serif; max-width: 50em; margin: 2em auto; color: #000; background: #fff }}
span {{ border-radius: 3px; padding: 1px 3px }} h2 {{ font-size: 1em; margin-bottom: 0 }}</style>
<h1>What the guesses rest on</h1>
<p>Each word is coloured by what it adds to the probability of the guess (integrated gradients): green for it, orange
against it; hold the pointer over a word for the number.</p>
{texts}
</html>
"""


@dataclass(frozen=True)
class Explanation:
    """The words of a text as a classifier reads them, and what each adds to the probability of the guess.

    The values add up to the probability minus the baseline's, that of a text of which nothing is known, but for `gap`.
    """

    words: tuple[str, ...]
    values: np.ndarray
    label: str
    probability: float
    baseline: float
    gap: float


def format_explanation(explanation: Explanation) -> str:
    """Guess and probabilities in a line."""
    return (
        f"{explanation.label}: probability {explanation.probability:.3f}, {explanation.baseline:.3f} without words "
        f"(the words add up to {float(explanation.values.sum()):+.3f})"
    )


def strengths(explanation: Explanation) -> list[float]:
    """Each word's value as a share of the largest one, -1 to 1."""
    largest = max((abs(float(value)) for value in explanation.values), default=0.0)
    return [float(value) / largest if largest else 0.0 for value in explanation.values]


def color_words(explanation: Explanation) -> Text:
    """The words for a terminal, the strongest on full colour."""
    text = Text()
    for word, strength in zip(explanation.words, strengths(explanation), strict=True):
        full = FOR if strength > 0 else AGAINST
        mixed = (round(255 - abs(strength) * (255 - part)) for part in full)
        text.append(printable(word), style=f"black on rgb({','.join(map(str, mixed))})")
        text.append(" ")
    return text


def format_strongest(explanation: Explanation) -> str:
    """The words that add most, with their values: what the colours say, for a pipe and for those who see no colour."""
    order = np.argsort(-np.abs(explanation.values), kind="stable")[:SHOWN]
    words = [f"{printable(explanation.words[i])} {float(explanation.values[i]):+.3f}" for i in order]
    return f"  strongest: {', '.join(words)}"


def html_page(explanations: Sequence[Explanation | None]) -> str:
    """A page of its own, that needs no other file; None stands for a text of which nothing is left to read."""
    return PAGE.format(texts="\n".join(map(_section, explanations)))


def _section(explanation: Explanation | None) -> str:
    if explanation is None:
        return f"<h2>{NOTHING}</h2>"
    spans = []
    triples = zip(explanation.words, explanation.values, strengths(explanation), strict=True)
    for word, value, strength in triples:
        red, green, blue = FOR if strength > 0 else AGAINST
        colour = f"rgba({red},{green},{blue},{abs(strength):.2f})"
        shown = html.escape(printable(word))
        spans.append(f'<span style="background:{colour}" title="{float(value):+.4f}">{shown}</span>')
    return f"<h2>{html.escape(format_explanation(explanation))}</h2>\n<p>{' '.join(spans)}</p>"


def printable(word: str) -> str:
    """A word in which a newline is a sign, and other controls are none."""
    return "".join(c if c.isprintable() else "↵" if c == "\n" else "�" for c in word)
