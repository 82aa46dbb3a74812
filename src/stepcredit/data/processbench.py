"""ProcessBench: solutions with the 0-based index of the first wrong step, -1 for none (arXiv:2412.06559).

`final_answer_correct` is the outcome; `label` the truth: 1 before the error, 0 at it, not known after it. A row's `id`
names the solution, not the problem (one problem has several), so problems are told apart by their text and `id` stays
in `meta`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from stepcredit.core.tree import first_error
from stepcredit.core.types import Problem, Record
from stepcredit.data._fields import Fields
from stepcredit.data._record import TRUTH, as_steps, attempts, chain, first_error_labels, identity, recorded

OWN = ("problem_id", "problem", "steps", "final_answer_correct", "label")


def matches(row: dict[str, Any]) -> bool:
    """Steps, and both labels."""
    return {"problem", "steps", "final_answer_correct", "label"} <= row.keys()


def parse(fields: Fields) -> Iterator[Record]:
    """One Record a row."""
    prompt, texts = fields.text("problem"), fields.texts("steps")
    error = fields.integer("label", -1, len(texts) - 1)
    problem = Problem(identity(fields, prompt, "problem_id"), prompt, meta=fields.rest(*OWN))
    yield chain(
        problem, as_steps(texts), recorded(fields.flag("final_answer_correct")), first_error_labels(len(texts), error)
    )


def rows(record: Record, *, credit: str = TRUTH) -> Iterator[dict[str, Any]]:
    """One row an attempt. Raises ValueError where the credit does not say where the first error is.

    `id` is the one read from a ProcessBench file, else problem id and number of the attempt.
    """
    problem = record.tree.problem
    if credit not in record.credits:
        raise ValueError(
            f"problem {problem.id!r} has no credit {credit!r}; there are: {', '.join(record.credits) or 'none'}"
        )
    found = attempts(record, "processbench")
    for number, (leaf, steps) in enumerate(found):
        label_S = record.credits[credit].values_N[list(record.tree.path(leaf))]
        error = first_error(label_S)
        if not np.all(label_S[: error if error >= 0 else None] == 1):
            raise ValueError(f"problem {problem.id!r}, attempt {number}: credit {credit!r} does not say where the first error is: "
                             f"needed 1 before it and 0 at it, got {label_S.tolist()}")  # fmt: skip
        outcome = record.tree.outcomes[leaf]
        yield {
            "id": problem.meta["id"] if "id" in problem.meta and len(found) == 1 else f"{problem.id}-{number}",
            **{name: value for name, value in problem.meta.items() if name not in (*OWN, "id")},
            "problem": problem.prompt,
            "steps": [step.text for step in steps],
            "final_answer_correct": outcome.correct if outcome else None,
            "label": error,
        }
