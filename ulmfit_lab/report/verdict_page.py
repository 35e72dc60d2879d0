"""The report as one HTML page, which MLflow shows unfolded among a run's artifacts."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from markdown_it import MarkdownIt

STYLE = """
body { font: 13px/1.45 system-ui, sans-serif; margin: 8px 12px; color: #1f272d }
h1 { font-size: 18px; margin: 0 0 6px } h2 { font-size: 15px; margin: 14px 0 4px } p { margin: 6px 0 }
table { border-collapse: collapse; font-size: 12px } th, td { border: 1px solid #d1d9e1; padding: 2px 7px }
th { background: #f2f5f7; text-align: left }
blockquote { margin: 6px 0; padding-left: 10px; border-left: 3px solid #ccc }
img { max-width: 100% }
"""


def verdict_page(title: str, report: str, figure: bytes) -> str:
    """Return a report as an HTML page without scripts, with its figure at the end.

    report: Markdown; HTML in it is shown as text
    figure: a PNG picture
    """
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(report)
    picture = f'<img alt="figure" src="data:image/png;base64,{b64encode(figure).decode()}">'
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body><h1>{escape(title)}</h1>\n{body}{picture}</body></html>\n"
