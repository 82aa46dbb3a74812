"""`stepcredit list`: what there is, by family."""

from __future__ import annotations

from stepcredit.commands import _catalog, _show
from stepcredit.core import registry

OPTIONAL = {"family": f"One of {', '.join(registry.FAMILIES)}; all when not given."}


def run(family: str | None = None) -> None:
    """List the registered methods with their kind, paper and first sentence."""
    for each in [family] if family else registry.FAMILIES:
        rows = _catalog.catalog(each)
        if not rows and not family:
            continue
        columns = ["name", "kind", "paper", "what it is"]
        lines = [[r.name, r.kind, r.paper, r.summary] for r in rows]
        if not any(r.kind for r in rows):
            columns, lines = ["name", *columns[2:]], [[line[0], *line[2:]] for line in lines]
        _show.table(columns, lines, each)
