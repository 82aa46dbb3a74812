"""Searches kept as they finish: one line a round, so that a killed search goes on without losing a finished one.

The file's name is the hash of what the rounds were drawn from: problems, settings, seed; of the settings all but how
long to go on (`num_searches`, `token_budget`), so that raising those goes on too. It cannot know the policy or the
critics: one folder for each. A line that was cut off by the kill is dropped; all before it is taken as it stands.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core.types import Cost, Outcome, Problem, Step, Tree
from stepcredit.rollout._mcts_options import Writing
from stepcredit.rollout._mcts_tree import Rollout, Settings, Visit

_VERSION = 2
Round = list[tuple[int, Visit]]


class Log:
    """Rounds on disk. Without a folder nothing is kept. Raises ValueError for a folder that is a file."""

    def __init__(
        self, folder: str | None, problems: Sequence[Problem | Tree], settings: Settings, writing: Writing, seed: int
    ):
        self.path: Path | None = None
        if folder is None:
            return
        place = Path(folder).expanduser()
        if place.exists() and not place.is_dir():
            raise ValueError(f"folder {folder!r} is a file; allowed: a folder, made where there is none")
        place.mkdir(parents=True, exist_ok=True)
        plain = dataclasses.replace(settings, num_searches=1, token_budget=None)
        made_of = [_VERSION, [_named(given) for given in problems], plain, writing, seed]
        self.path = place / f"mcts-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:24]}.jsonl"

    def read(self) -> list[Round]:
        """The rounds that finished; what is left of an unfinished one is cut off the file."""
        if self.path is None or not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self.path.open("r+b") as stream:
                stream.truncate(len(whole))
        return [[(index, _visit(row)) for index, row in json.loads(line)] for line in whole.splitlines()]

    def append(self, found: Round) -> None:
        """Add a round; it is on disk when this returns."""
        if self.path is None:
            return
        line = json.dumps([(index, _row(visit)) for index, visit in found], default=_plain).encode() + b"\n"
        with self.path.open("ab") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())


def _named(given: Problem | Tree) -> tuple[object, ...]:
    if isinstance(given, Problem):
        return given.id, given.prompt
    visits = None if given.visits_N is None else given.visits_N.tolist()
    return given.problem.id, [step.text for step in given.steps], given.parent_N.tolist(), visits


def _row(value: Any) -> Any:
    """What JSON can hold; dataclasses as dicts without what is at its default, which keeps a line short."""
    if isinstance(value, (list, tuple)):
        return [_row(one) for one in value]
    if not dataclasses.is_dataclass(value):
        return value
    pairs = ((each, getattr(value, each.name)) for each in dataclasses.fields(value))
    return {each.name: _row(own) for each, own in pairs if own is not None and own != each.default}


def _plain(value: Any) -> Any:
    """A NumPy number, as a policy may give for a token id, as the Python number it is."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be kept in a folder: it is no number, text or list")


def _visit(row: dict[str, Any]) -> Visit:
    rollouts = [
        Rollout(tuple(_step(step) for step in each["steps"]), _outcome(each.get("outcome")), each["score"])
        for each in row.pop("rollouts", [])
    ]
    step = row.pop("step", None)
    return Visit(step=None if step is None else _step(step), outcome=_outcome(row.pop("outcome", None)), rollouts=tuple(rollouts),
                 waits=tuple((node, until) for node, until in row.pop("waits", [])), cost=Cost(**row.pop("cost", {})), **row)  # fmt: skip


def _step(row: dict[str, Any]) -> Step:
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Step(**given)


def _outcome(row: dict[str, Any] | None) -> Outcome | None:
    return None if row is None else Outcome(**row)
