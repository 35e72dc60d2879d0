"""What a Python file declares, read from its source: none of it is run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ulmfit_lab.utils.errors import ConfigError

VARIABLE = "EXPERIMENT"


@dataclass(frozen=True)
class StoredDeclaration:
    """What a file's source says of its experiment."""

    experiment: bool
    """Whether it assigns or imports EXPERIMENT; a file that is no Python does if it has the word: importing it says
    what is wrong."""
    name: str = ""
    """The experiment's name, where the source has it as a text."""


def declared_in(path: Path) -> StoredDeclaration:
    """What a file declares; nothing where it cannot be read."""
    try:
        found = path.stat()
        return _declared(path.absolute(), found.st_mtime_ns, found.st_size)
    except OSError:
        return StoredDeclaration(False)


@cache
def _declared(path: Path, changed: int, size: int) -> StoredDeclaration:
    """The same, read once for each content."""
    content = path.read_bytes()
    if VARIABLE.encode() not in content:
        return StoredDeclaration(False)
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes, which importing it will tell
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return StoredDeclaration(True)
    nodes = list(ast.walk(tree))
    stored = any(isinstance(each, ast.Name) and each.id == VARIABLE and _is_stored(each) for each in nodes)
    imported = any(isinstance(each, ast.alias) and (each.asname or each.name) == VARIABLE for each in nodes)
    return StoredDeclaration(stored or imported, _name(tree))


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _name(tree: ast.Module) -> str:
    """The `name` of the call that EXPERIMENT is assigned, given as a text or as a constant of the module."""
    texts: dict[str, str] = {}
    found = ""
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        value = statement.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            texts |= dict.fromkeys(names, value.value)
        if VARIABLE in names and isinstance(value, ast.Call):
            given = next((each.value for each in value.keywords if each.arg == "name"), None)
            if isinstance(given, ast.Constant):
                found = str(given.value)
            elif isinstance(given, ast.Name):
                found = texts.get(given.id, "")
    return found


def check_name_unique(name: str, path: Path, others: Iterable[Path]) -> None:
    """Raise ConfigError where another file declares an experiment of the same name.

    A copy of the same content under the same file name, as another checkout has, is the same experiment.
    """
    for other in others:
        if declared_in(other).name != name or other.resolve() == path.resolve():
            continue
        if other.name != path.name or other.read_bytes() != path.read_bytes():
            raise ConfigError(
                f"{path} and {other} both declare an experiment named {name!r}, whose runs and results would be "
                "mixed up; give one of them another name."
            )
