"""Write the picture of docs/architecture.md, a Mermaid graph of the rooms, from the imports of the package.

python docs/draw_rooms.py
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- rooms -->\n", "<!-- end -->\n"


def imports_between_rooms(package: Path) -> dict[str, set[str]]:
    """Room -> the other rooms that it imports; imports for annotations alone do not count."""
    found: dict[str, set[str]] = {path.parent.name: set() for path in sorted(package.glob("*/__init__.py"))}
    for room in found:
        for path in sorted((package / room).glob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            typing_only = {node for each in ast.walk(tree) if is_type_checking(each) for node in ast.walk(each)}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node not in typing_only:
                    found[room] |= {(node.module or "").partition("ulmfit_lab.")[2].partition(".")[0]}
    return {room: (others & found.keys()) - {room} for room, others in found.items()}


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def reduce_transitively(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The graph without the arrows that follow from others."""

    def reachable(room: str) -> set[str]:
        return graph[room].union(*(reachable(other) for other in graph[room]))

    return {room: others - set().union(*(reachable(other) for other in others)) for room, others in graph.items()}


def mermaid(graph: Mapping[str, set[str]]) -> str:
    """The graph as Mermaid, which forges draw."""
    arrows = [f"    {room} --> {other}" for room, others in sorted(graph.items()) for other in sorted(others)]
    return "\n".join(["```mermaid", "flowchart BT", *arrows, "```", ""])


def page_with_picture(page: str) -> str:
    """The page with today's picture between its marks."""
    before, _, rest = page.partition(START)
    picture = mermaid(reduce_transitively(imports_between_rooms(ROOT / "ulmfit_lab")))
    return before + START + picture + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page_with_picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
