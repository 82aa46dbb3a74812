r"""PlanBench Blocksworld, several models a problem: plans with the verdict of a plan checker (arXiv:2206.10498).

A row is a problem with `samples`; every sample becomes a Record. The prompt is rewritten from the English query to

    init: clear a; hand empty; on b c; table a
    goal: on c b

(facts sorted; blocks named as in the plans by PlanBench's fixed colours), the query itself stays in `meta["query"]`, the
goal facts are `answer`, the sample's model is `meta["model"]`. Steps are the lines of `extracted_plan` without brackets,
then the step "end" (kind `answer`), with which the policy claims the goal. An empty plan is that one step, and its outcome
is "unparsed": nothing was there to check. The step truth is not recorded; a simulator can compute it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from stepcredit.core.types import Outcome, Problem, Record, Step
from stepcredit.data._fields import Fields
from stepcredit.data._record import chain, identity

# PlanBench's naming of objects a, b, c, ...; a to e are checked against the recorded plans by a test.
COLOURS = ("red", "blue", "orange", "yellow", "white", "magenta", "black", "cyan", "green", "violet", "silver", "gold")
BLOCK = dict(zip(COLOURS, "abcdefghijkl", strict=True))
_STATEMENT = re.compile(
    r"initial conditions I have that,? (?P<init>.*?)\.\s*My goal is to have that (?P<goal>.*?)\.", re.DOTALL
)
_FACTS = (
    (re.compile(r"the (\w+) block is on top of the (\w+) block"), "on {} {}"),
    (re.compile(r"the (\w+) block is on the table"), "table {}"),
    (re.compile(r"the (\w+) block is clear"), "clear {}"),
    (re.compile(r"the hand is empty"), "hand empty"),
    (re.compile(r"the hand is (?:currently )?holding the (\w+) block"), "holding {}"),
)


def matches(row: dict[str, Any]) -> bool:
    """A query with samples that carry extracted plans."""
    samples = row.get("samples")
    return (
        "query" in row
        and isinstance(samples, list)
        and bool(samples)
        and isinstance(samples[0], dict)
        and "extracted_plan" in samples[0]
    )


def parse(fields: Fields) -> Iterator[Record]:
    """One Record a sample."""
    query = fields.text("query")
    prompt, goal = canonical(query)
    meta = fields.rest("query", "samples") | {"query": query}
    for sample in fields.children("samples"):
        problem = Problem(
            identity(fields, prompt, "problem_id"), prompt, goal, meta=meta | {"model": sample.text("model")}
        )
        plan = sample.optional_text("extracted_plan") or ""
        actions = [line.strip().strip("()").strip() for line in plan.splitlines()]
        steps = [Step(action) for action in actions if action]
        correct = sample.flag("correct")
        if not steps:
            outcome: Outcome | None = Outcome(status="unparsed")
        else:
            outcome = None if correct is None else Outcome(reward=float(correct), correct=correct, well_formed=True)
        yield chain(problem, [*steps, Step("end", kind="answer")], outcome)


def canonical(query: str) -> tuple[str, str]:
    r"""The compact prompt of an English query, and its goal facts.

    The last statement counts: earlier ones are examples. Raises ValueError for words that are no Blocksworld fact.

    >>> print(canonical("As initial conditions I have that, the hand is empty and the red block is on the table."
    ...                 "\nMy goal is to have that the red block is on top of the blue block.")[0])
    init: hand empty; table a
    goal: on a b
    """
    found = list(_STATEMENT.finditer(query))
    if not found:
        raise ValueError(
            f"field 'query': looked for 'As initial conditions I have that ... My goal is to have that ...' in {query[-80:]!r}"
        )
    init, goal = (_facts(found[-1][side]) for side in ("init", "goal"))
    return f"init: {init}\ngoal: {goal}", goal


def _facts(english: str) -> str:
    return "; ".join(sorted(_fact(clause) for clause in re.split(r",\s*(?:and\s+)?|\s+and\s+", english.strip())))


def _fact(clause: str) -> str:
    for pattern, fact in _FACTS:
        if match := pattern.fullmatch(clause.strip()):
            unknown = [colour for colour in match.groups() if colour not in BLOCK]
            if unknown:
                raise ValueError(f"field 'query': block colour {unknown[0]!r}; allowed: {', '.join(COLOURS)}")
            return fact.format(*(BLOCK[colour] for colour in match.groups()))
    raise ValueError(
        f"field 'query': {clause!r} is no Blocksworld fact (on top of, on the table, clear, hand empty, holding)"
    )
