"""One dict of methods, filled by decorators; the signature is the schema.

A family is a package (`credit`, `verify`, `train.pooling`, ...). Its public modules are its methods, one file each,
the file's name being the method's name; modules that start with an underscore are machinery. Files are listed with
pkgutil and imported when first used, so nothing is imported, and no list edited, to know what there is.

A registered function takes its data first. A keyword-only argument without default is a *resource*, known by its
annotation from the closed set {Policy, Verifier, Judge, Embedder, Environment, Rng, Credit}; one with a default is a
*knob*. A `Credit` resource is per tree: a function lifted by `each_tree` writes `Credit` and is given one for each tree;
one that takes the sequence of trees itself writes `Sequence[Credit]`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from stepcredit.core.types import Credit, Tree

RESOURCES = ("Policy", "Verifier", "Judge", "Embedder", "Environment", "Rng", "Credit")
FAMILIES = MappingProxyType(
    {
        "tasks": "stepcredit.tasks",
        "policy": "stepcredit.policy",
        "verify": "stepcredit.verify",
        "rollout": "stepcredit.rollout",
        "credit": "stepcredit.credit",
        "pooling": "stepcredit.train.pooling",
        "judge": "stepcredit.judge",
        "search": "stepcredit.search",
        "recipes": "stepcredit.recipes",
    }
)

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """A registered method: what it is called, whose it is, and what its signature asks for."""

    family: str
    name: str
    function: Callable[..., Any]
    paper: str
    properties: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """First sentence of the module's docstring."""
        doc = inspect.getdoc(inspect.getmodule(self.function)) or inspect.getdoc(self.function) or ""
        return doc.split("\n\n")[0].replace("\n", " ")

    @property
    def resources(self) -> dict[str, str]:
        """Keyword-only arguments without default, by annotation."""
        return {name: _annotation(p) for name, p in _keyword_only(self.function).items() if p.default is p.empty}

    @property
    def knobs(self) -> dict[str, Any]:
        """Keyword-only arguments with their defaults."""
        return {name: p.default for name, p in _keyword_only(self.function).items() if p.default is not p.empty}


_ENTRIES: dict[tuple[str, str], Entry] = {}


def _keyword_only(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def _annotation(parameter: inspect.Parameter) -> str:
    given = parameter.annotation
    return given if isinstance(given, str) else getattr(given, "__name__", str(given))


def register(family: str, *, paper: str, **properties: Any) -> Callable[[F], F]:
    """Enter a function under its module's file name. `paper` is an arXiv id, a citation, or "ours".

    Raises ValueError for an unknown family or a resource outside the closed set.
    """

    def enter(function: F) -> F:
        if family not in FAMILIES:
            raise ValueError(f"unknown family {family!r}; allowed: {', '.join(FAMILIES)}")
        name = function.__module__.rsplit(".", 1)[-1]
        entry = Entry(family, name, function, paper, MappingProxyType(properties))
        for argument, annotation in entry.resources.items():
            if annotation not in (*RESOURCES, "Sequence[Credit]"):
                raise ValueError(
                    f"{family}/{name}: resource {argument} is a {annotation}; allowed: {', '.join(RESOURCES)}"
                )
        _ENTRIES[family, name] = entry
        return function

    return enter


def names(family: str) -> list[str]:
    """The methods of a family, sorted, without importing any."""
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; allowed: {', '.join(FAMILIES)}")
    package = importlib.import_module(FAMILIES[family])
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_") and not m.ispkg)


def get(family: str, name: str) -> Entry:
    """Import and return one method; a wrong name answers with the right ones."""
    if (family, name) not in _ENTRIES:
        if name not in names(family):
            raise ValueError(f"no {family} method {name!r}; there are: {', '.join(names(family))}")
        importlib.import_module(f"{FAMILIES[family]}.{name}")
    return _ENTRIES[family, name]


def entries(family: str) -> list[Entry]:
    """All methods of a family, imported."""
    return [get(family, name) for name in names(family)]


def bind(family: str, name: str, **given: Any) -> Callable[..., Any]:
    """The method with knobs and resources filled in; refuses unknown or missing arguments by name."""
    entry = get(family, name)
    allowed = {**entry.resources, **entry.knobs}
    unknown = sorted(set(given) - set(allowed))
    missing = sorted(set(entry.resources) - set(given))
    if unknown:
        raise ValueError(f"{family}/{name} has no knob {', '.join(unknown)}; allowed: {', '.join(allowed) or 'none'}")
    if missing:
        raise ValueError(f"{family}/{name} needs {', '.join(f'{m} ({entry.resources[m]})' for m in missing)}")
    return functools.partial(entry.function, **given)


def each_tree(function: Callable[..., Credit]) -> Callable[..., Any]:
    """Lift Tree -> Credit to Sequence[Tree] -> list[Credit]; a single tree still gives a single credit.

    With a sequence of trees a `Credit` resource is a sequence too, one per tree; other arguments are shared.
    Raises ValueError when their numbers differ.
    """
    resources = {name: _annotation(p) for name, p in _keyword_only(function).items() if p.default is p.empty}

    @functools.wraps(function)
    def lifted(trees: Tree | Sequence[Tree], **given: Any) -> Credit | list[Credit]:
        if isinstance(trees, Tree):
            return function(trees, **given)
        per_tree = {name: given.pop(name) for name in list(given) if resources.get(name) == "Credit"}
        for name, credits in per_tree.items():
            if isinstance(credits, Credit) or len(credits) != len(trees):
                num = "one" if isinstance(credits, Credit) else len(credits)
                raise ValueError(f"{name}: {len(trees)} trees need a sequence of as many credits, got {num}")
        return [
            function(tree, **given, **{name: credits[index] for name, credits in per_tree.items()})
            for index, tree in enumerate(trees)
        ]

    return lifted
