"""What every format makes of a row: a problem with a stable id, a chain of steps, recorded truth as a credit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Outcome, Problem, Record, Step
from stepcredit.data._fields import Fields
from stepcredit.data._sources import SOURCES

TRUTH = "truth"


def text_id(text: str) -> str:
    """A problem's id from its exact text: the same text always groups together.

    >>> text_id("2+3=?")
    'p-10e94709ffa4c7bb'
    """
    return "p-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def recorded(correct: bool | None) -> Outcome | None:
    """The outcome a file records: reward 1 or 0, or None where nobody looked."""
    return None if correct is None else Outcome(reward=float(correct), correct=correct)


def chain(problem: Problem, steps: Sequence[Step], outcome: Outcome | None, labels_S: Sequence[float] | None = None,
          credit: str = TRUTH) -> Record:  # fmt: skip
    """One attempt as a Record; `labels_S` has one entry per *sampled* step, NaN where unknown."""
    tree = star(problem, [steps], [outcome])
    if labels_S is None:
        return Record(tree)
    values_N = np.full(tree.num_nodes, np.nan)
    values_N[tree.sampled_N] = labels_S
    return Record(tree, {credit: label_credit(values_N)})


def label_credit(values_N: Sequence[float] | np.ndarray[Any, Any]) -> Credit:
    """Recorded labels: weight 1 where known, 0 where NaN."""
    values = np.asarray(values_N, dtype=np.float64)
    return Credit(values, "label", (~np.isnan(values)).astype(np.float64), "recorded")


def first_error_labels(num: int, error: int) -> list[float]:
    """Labels [S] from the 0-based first error, -1 for none: 1 before it, 0 at it, NaN after it.

    >>> first_error_labels(3, 1), first_error_labels(2, -1)
    ([1.0, 0.0, nan], [1.0, 1.0])
    """
    if error < 0:
        return [1.0] * num
    return [1.0] * error + [0.0] + [math.nan] * (num - error - 1)


def as_steps(texts: Sequence[str]) -> list[Step]:
    """Plain reasoning steps."""
    return [Step(text) for text in texts]


def identity(fields: Fields, prompt: str, *names: str) -> str:
    """The problem's id: the first of these fields that is there, as text, else the hash of the prompt."""
    for name in names:
        given = fields.values.get(name)
        if given is None:
            continue
        if isinstance(given, bool) or not isinstance(given, str | int):
            fields.fail(name, given, "text or a whole number")
        return str(given)
    return text_id(prompt)


def attempts(record: Record, format: str) -> list[tuple[int, tuple[Step, ...]]]:
    """(leaf, steps) of each attempt, for formats that hold plain steps only.

    Raises ValueError for a step the policy did not write: such a file would pass it off as an attempt's own.
    """
    found = [(leaf, record.tree.solution(leaf)) for leaf in record.tree.leaves]
    for _, steps in found:
        if not all(step.sampled for step in steps):
            raise ValueError(f"problem {record.tree.problem.id!r} has steps the policy did not write (tool results); "
                             f"{format} cannot hold them: write it as native")  # fmt: skip
    return found


def plain_meta(meta: Mapping[str, Any], *taken: str) -> dict[str, Any]:
    """The metadata that can stand beside a format's own fields; where attempts came from is said of all at once."""
    return {name: value for name, value in meta.items() if name not in (*taken, SOURCES)}
