"""The rooms of the package form an order, and each imports only rooms before it."""

from __future__ import annotations

import ast
from pathlib import Path

import ulmfit_lab

PACKAGE = Path(ulmfit_lab.__file__).parent
ROOMS = [
    "utils",
    "config",
    "data",
    "models",
    "training",
    "pipeline",
    "tracking",
    "analysis",
    "experiment",
    "report",
    "sweep",
    "runs",
    "inference",
    "doctor",
    "cli",
]


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports from."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    names = [node.module.split(".") for node in nodes if node.module and node.module.startswith("ulmfit_lab.")]
    return {name[1] for name in names}


def test_each_room_imports_only_rooms_before_it() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for number, room in enumerate(ROOMS)
        for path in sorted((PACKAGE / room).glob("*.py"))
        for other in imported_rooms(path)
        if other in ROOMS[number + 1 :]
    ]
    assert wrong == []


def test_every_room_is_in_the_order_and_described() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(ROOMS)
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [room for room in ROOMS if f"**{room}**" not in page] == []
