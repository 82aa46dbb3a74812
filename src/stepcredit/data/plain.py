"""The plainest attempts file: {"problem", "attempt" or "steps", "correct"}, one attempt a row.

`attempt` is text, cut into steps by the `segment` knob; `steps` is a list of texts, taken as it is, and wins when both
are there. `correct` is true, false, 0, 1, or null where nobody looked. Optional: `problem_id` or `id` (of the *problem*;
leave it out where it numbers the rows: the same problem text then groups together by itself), `answer` (what a verifier
needs), `status` (of an outcome that could not be scored), `reward` (where it is not 0 or 1). Further fields are kept
in the problem's `meta`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from stepcredit.core.segment import How, check_how, split
from stepcredit.core.types import Outcome, OutcomeStatus, Problem, Record
from stepcredit.data._fields import Fields
from stepcredit.data._record import as_steps, attempts, chain, identity, plain_meta, recorded

OWN = ("problem_id", "id", "problem", "attempt", "steps", "correct", "answer", "status", "reward")


def matches(row: dict[str, Any]) -> bool:
    """A problem, an attempt of it, and whether it was right."""
    return {"problem", "correct"} <= row.keys() and bool({"attempt", "steps"} & row.keys())


def check(*, segment: How = "newline", delimiter: str | None = None) -> None:
    """Raise ValueError for knobs that do not go together, before the first row is read."""
    check_how(segment, delimiter)


def parse(fields: Fields, *, segment: How = "newline", delimiter: str | None = None) -> Iterator[Record]:
    """One Record a row."""
    prompt = fields.text("problem")
    if fields.has("steps") or "attempt" not in fields.values:
        if not {"attempt", "steps"} & fields.values.keys():
            fields.need("attempt", "text in 'attempt', or a list of texts in 'steps'")
        steps = fields.texts("steps")
    else:
        text = fields.text("attempt")
        try:
            steps = split(text, segment, delimiter=delimiter)
        except ValueError as error:
            raise ValueError(f"field 'attempt': {error}") from error
    problem = Problem(
        identity(fields, prompt, "problem_id", "id"), prompt, fields.values.get("answer"), meta=fields.rest(*OWN)
    )
    yield chain(problem, as_steps(steps), _outcome(fields))


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """One row an attempt; raises ValueError for steps the policy did not write."""
    problem = record.tree.problem
    for leaf, steps in attempts(record, "plain"):
        outcome = record.tree.outcomes[leaf]
        row: dict[str, Any] = {
            "id": problem.id,
            "problem": problem.prompt,
            "steps": [step.text for step in steps],
            "correct": outcome.correct if outcome else None,
        }
        if problem.answer is not None:
            row["answer"] = problem.answer
        if outcome is not None and outcome.status != "scored":
            row["status"] = outcome.status
        elif outcome is not None and (outcome.correct is None or outcome.reward != outcome.correct):
            row["reward"] = outcome.reward
        yield row | plain_meta(problem.meta, *OWN)


def _outcome(fields: Fields) -> Outcome | None:
    correct = fields.flag("correct")
    if fields.has("status"):
        status = fields.text("status")
        if status not in get_args(OutcomeStatus):
            fields.fail("status", status, ", ".join(get_args(OutcomeStatus)))
        if status != "scored":
            return Outcome(correct=correct, status=status)  # type: ignore[arg-type]  # checked above
    if fields.has("reward"):
        return Outcome(reward=fields.number("reward"), correct=correct)
    return recorded(correct)
