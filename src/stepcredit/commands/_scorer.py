"""A judge from a scorer's folder: `kind` in its scorer.json names the judge module that loads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepcredit.commands._reading import Cut
from stepcredit.core import registry
from stepcredit.core.protocols import Judge

FILE = "scorer.json"


def kind_of(folder: str | Path) -> str:
    """The judge that loads a folder. Raises ValueError for a folder that is missing or holds no scorer."""
    return str(_said(folder)["kind"])


def cut_of(folder: str | Path) -> Cut | None:
    """How the steps of its training file were cut from text; None where scorer.json does not say."""
    said = _said(folder)
    return None if said.get("segment") is None else Cut(said["segment"], said.get("delimiter"))


def _said(folder: str | Path) -> dict[str, Any]:
    """What scorer.json says, of any kind of judge there is."""
    path = Path(folder).expanduser() / FILE
    if not path.parent.is_dir():
        raise ValueError(f"there is no scorer folder {str(folder)!r}")
    if not path.is_file():
        raise ValueError(f"{str(folder)!r} holds no {FILE}: not a finished scorer")
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = said["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not say its kind of judge: {error!r}") from error
    if kind not in registry.names("judge"):
        raise ValueError(f"{path}: kind is {kind!r}; there are: {', '.join(registry.names('judge'))}")
    return said


def load(folder: str | Path, *, threads: int | None = None, **knobs: Any) -> Judge:
    """The judge, ready. Knobs that are None are left to the judge; ValueError for one it does not have."""
    from stepcredit.commands import _torch

    entry = registry.get("judge", kind_of(folder))
    given = {name: value for name, value in knobs.items() if value is not None}
    if unknown := sorted(set(given) - set(entry.knobs)):
        raise ValueError(
            f"a {entry.name} judge has no option {', '.join(unknown)}; it has: {', '.join(entry.knobs) or 'none'}"
        )
    if "dtype" in entry.knobs:
        _torch.prepare(threads)
    with _torch.weights_of(str(folder)):
        judge: Judge = entry.function(str(Path(folder).expanduser()), **given)
    return judge
