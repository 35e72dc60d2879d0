"""Word attributions of predictions, for the terminal and as an HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.text import Text

POSITIVE, NEGATIVE = (0, 158, 115), (213, 94, 0)
"""RGB for positive and negative attributions: green and vermilion of the colour-blind palette of Okabe & Ito."""
SHOWN = 6
"""Number of words whose attributions are printed."""
NOTHING = "nothing to read"
"""Shown instead of a label if a text is empty or contains only markup."""
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Attributions</title>
<style>body {{ font: 16px/1.8 sans-serif; max-width: 50em; margin: 2em auto; color: #000; background: #fff }}
span {{ border-radius: 3px; padding: 1px 3px }} h2 {{ font-size: 1em; margin-bottom: 0 }}</style>
<h1>Word attributions</h1>
<p>The colour of a word is its attribution (integrated gradients) to the probability of the predicted label: green if
positive, orange if negative. Hover over a word for the value.</p>
{texts}
</html>
"""


@dataclass(frozen=True)
class Explanation:
    """Words of a text as the classifier reads them, and their attributions to the probability of the predicted label.

    The attributions sum to `probability - baseline`, up to the numerical error `gap`. The baseline is the probability
    with all embeddings set to zero.
    """

    words: tuple[str, ...]
    values: np.ndarray
    label: str
    probability: float
    baseline: float
    gap: float


def format_explanation(explanation: Explanation) -> str:
    """Return predicted label, probability, baseline and sum of attributions as one line."""
    return (
        f"{explanation.label}: probability {explanation.probability:.3f} (baseline {explanation.baseline:.3f}, "
        f"sum of attributions {float(explanation.values.sum()):+.3f})"
    )


def strengths(explanation: Explanation) -> list[float]:
    """Return each attribution divided by the largest absolute one, -1 to 1."""
    largest = max((abs(float(value)) for value in explanation.values), default=0.0)
    return [float(value) / largest if largest else 0.0 for value in explanation.values]


def color_words(explanation: Explanation) -> Text:
    """Return the words for a terminal, with the background colour scaled by attribution."""
    text = Text()
    for word, strength in zip(explanation.words, strengths(explanation), strict=True):
        colour = POSITIVE if strength > 0 else NEGATIVE
        scaled = (round(255 - abs(strength) * (255 - channel)) for channel in colour)
        text.append(printable(word), style=f"black on rgb({','.join(map(str, scaled))})")
        text.append(" ")
    return text


def format_strongest(explanation: Explanation) -> str:
    """Return the words with the largest absolute attributions and their values, readable without colour."""
    order = np.argsort(-np.abs(explanation.values), kind="stable")[:SHOWN]
    words = [f"{printable(explanation.words[i])} {float(explanation.values[i]):+.3f}" for i in order]
    return f"  largest attributions: {', '.join(words)}"


def html_page(explanations: Sequence[Explanation | None]) -> str:
    """Return a self-contained HTML page; None stands for a text without a prediction."""
    return PAGE.format(texts="\n".join(map(_section, explanations)))


def _section(explanation: Explanation | None) -> str:
    if explanation is None:
        return f"<h2>{NOTHING}</h2>"
    spans = []
    for word, value, strength in zip(explanation.words, explanation.values, strengths(explanation), strict=True):
        red, green, blue = POSITIVE if strength > 0 else NEGATIVE
        colour = f"rgba({red},{green},{blue},{abs(strength):.2f})"
        shown = html.escape(printable(word))
        spans.append(f'<span style="background:{colour}" title="{float(value):+.4f}">{shown}</span>')
    return f"<h2>{html.escape(format_explanation(explanation))}</h2>\n<p>{' '.join(spans)}</p>"


def printable(word: str) -> str:
    """Return a word with newlines as ↵ and other control characters as �."""
    return "".join(c if c.isprintable() else "↵" if c == "\n" else "�" for c in word)
