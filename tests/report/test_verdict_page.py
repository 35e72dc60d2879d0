"""The page of the verdict: the report's tables as HTML, and nothing that a browser would execute."""

from __future__ import annotations

from html.parser import HTMLParser

from ulmfit_lab.report.verdict_page import verdict_page

REPORT = """Which?

**A is better.**

| variant | result |
|---|---|
| A & co | 1.5 |
| <script>alert(1)</script> | 2.5 |

[home](javascript:alert(1))
"""


class Reader(HTMLParser):
    """Lists the elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_report_becomes_a_page_with_its_table_and_figure() -> None:
    page = Reader(verdict_page("A < B", REPORT, b"\x89PNG"))
    assert [page.elements.count(name) for name in ("table", "tr", "th", "td", "img", "strong")] == [1, 3, 2, 4, 1, 1]
    assert {"A < B", "A & co", "1.5"} <= set(page.texts)


def test_html_and_script_addresses_of_a_report_are_shown_as_text() -> None:
    page = Reader(verdict_page("x", REPORT, b""))
    assert not {"script", "a"} & set(page.elements)
    assert "<script>alert(1)</script>" in page.texts
