"""The reference of all config fields, made from the schema.

`python -m ulmfit_lab.config.reference` prints docs/config.md.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from ulmfit_lab.config import schema
from ulmfit_lab.config.bounds import field_bounds
from ulmfit_lab.config.paths import field_types
from ulmfit_lab.config.schema import RunConfig

INTRODUCTION = """# Config fields

Every field of a run's config, with the default of `RunConfig()`; the named scales (`config/scales.py`) set others. In
an experiment and in an MLflow run a field is `group.name`; on the command line it is `--group.name`, with hyphens.

This page is made from `config/schema.py` (`make reference`).
"""


def config_reference() -> str:
    """Markdown with a table for each group of fields: name, type and range, default, description."""
    types, bounds = field_types(RunConfig), field_bounds(RunConfig)
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, text in describe_fields(RunConfig).items():
        groups.setdefault(path.rpartition(".")[0], []).append((path, text))
    default: Any = RunConfig()
    parts = [INTRODUCTION.rstrip()]
    for group, fields in sorted(groups.items(), key=lambda item: bool(item[0])):
        parts.append(f"## {group or 'The run'}\n\n| field | type | default | |\n|---|---|---|---|")
        for path, text in fields:
            kind = format_type(types[path])
            if limits := bounds.get(path):
                kind += f", {limits.low:g} to {limits.high:g}"
            value = default
            for name in path.split("."):
                value = getattr(value, name)
            parts[-1] += f"\n| `{path}` | {kind} | `{value!r}` | {text} |"
    return "\n\n".join(parts) + "\n"


def describe_fields(kind: type) -> dict[str, str]:
    """Dotted path -> docstring of every leaf field of a config class, in the order of declaration."""
    found: dict[str, str] = {}
    hints = typing.get_type_hints(kind)
    documented = field_docstrings(kind)
    for f in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[f.name]):
            below = describe_fields(typing.cast(type, hints[f.name]))
            found |= {f"{f.name}.{path}": text for path, text in below.items()}
        else:
            found[f.name] = documented[f.name]
    return found


def field_docstrings(kind: type) -> Mapping[str, str]:
    """Field -> the string literal below it, of a class and of those it inherits from."""
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
    """A field's type, as people read it.

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
