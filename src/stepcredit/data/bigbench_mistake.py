"""BIG-Bench-Mistake: traces with the 0-based first logical mistake, null for none (arXiv:2311.08516).

The outcome is `answer` against `target`, white space set aside (Dyck answers differ in it); `mistake_index` is the truth:
1 before the mistake, 0 at it, not known after it. The two can disagree in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepcredit.core.types import Outcome, Problem, Record
from stepcredit.data._fields import Fields
from stepcredit.data._record import as_steps, chain, first_error_labels, identity

OWN = ("problem_id", "input", "steps", "answer", "target", "mistake_index")


def matches(row: dict[str, Any]) -> bool:
    """Steps with a mistake index."""
    return {"input", "steps", "mistake_index"} <= row.keys()


def parse(fields: Fields) -> Iterator[Record]:
    """One Record a row. An empty answer was given, and is wrong; null means none was found: "unparsed"."""
    prompt, texts = fields.text("input"), fields.texts("steps")
    target = fields.text("target")
    fields.need("answer", "text, or null where none was found")
    answer = fields.optional_text("answer")
    fields.need("mistake_index", "a step's index from 0, or null for no mistake")
    error = fields.integer("mistake_index", 0, len(texts) - 1) if fields.has("mistake_index") else -1
    if answer is None:
        outcome = Outcome(status="unparsed")
    else:
        correct = answer.split() == target.split()
        outcome = Outcome(reward=float(correct), correct=correct, answer=answer)
    problem = Problem(identity(fields, prompt, "problem_id"), prompt, target, meta=fields.rest(*OWN))
    yield chain(problem, as_steps(texts), outcome, first_error_labels(len(texts), error))
