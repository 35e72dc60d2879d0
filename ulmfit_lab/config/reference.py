"""Reference of all config fields, generated from the schema; run as a module it prints docs/config.md."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from ulmfit_lab.config import schema
from ulmfit_lab.config.paths import flatten, leaf_fields
from ulmfit_lab.config.schema import RunConfig

INTRODUCTION = """# Config fields

All fields of a run's config with the defaults of `RunConfig()`; the named scales (`config/scales.py`) set other values.
In an experiment and in an MLflow run a field is `group.name`; on the command line it is `--group.name`, with hyphens.

This page is generated from `config/schema.py` (`make reference`).
"""


def config_reference() -> str:
    """Return a Markdown table per group of fields: name, type and range, default, description."""
    values, texts = flatten(RunConfig()), describe_fields(RunConfig)
    groups: dict[str, list[str]] = {}
    for path, leaf in leaf_fields(RunConfig).items():
        kind = format_type(leaf.type)
        if leaf.annotation:
            kind += f", {leaf.annotation.low:g} to {leaf.annotation.high:g}"
        row = f"| `{path}` | {kind} | `{values[path]!r}` | {texts[path]} |"
        groups.setdefault(path.rpartition(".")[0], []).append(row)
    parts = [INTRODUCTION.rstrip()]
    for group, rows in sorted(groups.items(), key=lambda item: bool(item[0])):
        parts.append("\n".join([f"## {group or 'The run'}\n\n| field | type | default | |\n|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def describe_fields(kind: type) -> dict[str, str]:
    """Return dotted path -> docstring of all leaf fields of a config class, in the order of declaration."""
    return {path: field_docstrings(leaf.owner)[leaf.name] for path, leaf in leaf_fields(kind).items()}


@cache
def field_docstrings(kind: type) -> Mapping[str, str]:
    """Return field -> the string literal below it, of a class and its bases."""
    found: dict[str, str] = {}
    tree = ast.parse(inspect.getsource(schema))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for base in reversed(kind.__mro__[:-1]):
        body = classes[base.__name__].body
        for node, below in pairwise(body):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[ast.unparse(node.target)] = " ".join(str(below.value.value).split())
    return found


def format_type(kind: Any) -> str:
    """Format a field's type.

    >>> format_type(typing.Literal["words", "subwords"]), format_type(int | None)
    ('`words` or `subwords`', 'int or none')
    """
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{each}`" for each in typing.get_args(kind))
    if options := typing.get_args(kind):
        return " or ".join("none" if each is type(None) else each.__name__ for each in options)
    return str(kind.__name__)


if __name__ == "__main__":
    print(config_reference(), end="")
