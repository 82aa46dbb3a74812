"""The registered methods of a family, read from their source: nothing is imported, so a list costs no libraries."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcredit.core import registry


@dataclass(frozen=True)
class Row:
    """One method: where it stands, what it is, whose it is, and the first sentence of its module."""

    family: str
    name: str
    paper: str
    summary: str
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What kind of number it gives, where the family has kinds."""
        return str(self.properties.get("kind", ""))


def catalog(family: str) -> list[Row]:
    """The methods of a family, by name. Raises ValueError for an unknown family."""
    return list(_rows(family))


def _rows(family: str) -> Iterator[Row]:
    names = registry.names(family)
    folders = list(importlib.import_module(registry.FAMILIES[family]).__path__)
    for name in names:
        path = next(Path(folder, f"{name}.py") for folder in folders if Path(folder, f"{name}.py").is_file())
        tree = ast.parse(path.read_text(encoding="utf-8"))
        summary = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "register":
                given = {each.arg: _literal(each.value) for each in node.keywords if each.arg}
                yield Row(family, name, str(given.pop("paper", "")), summary, given)
                break


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
