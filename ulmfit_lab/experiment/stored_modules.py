"""Experiments declared in Python files, found by parsing without executing them."""

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
    """The declaration in a file."""

    experiment: bool
    """Whether it assigns or imports EXPERIMENT; True for invalid Python that contains the word."""
    name: str = ""
    """The experiment's name, if it is a string in the source."""


def declared_in(path: Path) -> StoredDeclaration:
    """Parse a file; returns no experiment if it cannot be read."""
    try:
        found = path.stat()
        return _declared(path.absolute(), found.st_mtime_ns, found.st_size)
    except OSError:
        return StoredDeclaration(False)


@cache
def _declared(path: Path, changed: int, size: int) -> StoredDeclaration:
    """Cached by modification time and size."""
    content = path.read_bytes()
    if VARIABLE.encode() not in content:
        return StoredDeclaration(False)
    try:
        with warnings.catch_warnings(action="ignore"):  # of invalid escapes
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return StoredDeclaration(True)
    nodes = list(ast.walk(tree))
    names = [each for each in nodes if isinstance(each, ast.Name) and each.id == VARIABLE]
    stored = any(isinstance(each.ctx, ast.Store) for each in names)
    imported = any(isinstance(each, ast.alias) and (each.asname or each.name) == VARIABLE for each in nodes)
    return StoredDeclaration(stored or imported, _name(tree))


def _name(tree: ast.Module) -> str:
    """The argument `name` of the call assigned to EXPERIMENT, a string or a constant of the module."""
    texts: dict[str, str] = {}
    found = ""
    for statement in tree.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
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
    """Raise ConfigError if another file declares an experiment of the same name.

    An identical copy with the same file name, such as in another checkout, is allowed.
    """
    for other in others:
        if declared_in(other).name != name or other.resolve() == path.resolve():
            continue
        if other.name != path.name or other.read_bytes() != path.read_bytes():
            raise ConfigError(f"{path} and {other} both declare an experiment named {name!r}; rename one of them.")
