"""Stepwise supervision, TRL's dataset type: {"prompt", "completions": [text], "labels": [bool or float]}.

Float labels survive (TRL up to 1.13 rounded 0.9 down to 0); null is "not known". The labels become a `label` credit
named by the knob `labels`: "truth" is only ever measured against, any other name may be trained on. An optional
`correct` records the outcome; without it there is none, and none is made up from the labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from stepcredit.core.types import Problem, Record
from stepcredit.data._fields import Fields
from stepcredit.data._fields import labels as read_labels
from stepcredit.data._record import TRUTH, as_steps, attempts, chain, identity, plain_meta, recorded

OWN = ("problem_id", "id", "prompt", "completions", "labels", "correct")


def matches(row: dict[str, Any]) -> bool:
    """TRL's three columns."""
    return {"prompt", "completions", "labels"} <= row.keys()


def parse(fields: Fields, *, labels: str = TRUTH) -> Iterator[Record]:
    """One Record a row."""
    prompt = fields.text("prompt")
    texts = fields.texts("completions")
    labels_S = read_labels(fields, "labels", len(texts), "completions")
    problem = Problem(identity(fields, prompt, "problem_id", "id"), prompt, meta=fields.rest(*OWN))
    yield chain(
        problem, as_steps(texts), recorded(fields.flag("correct")) if fields.has("correct") else None, labels_S, labels
    )


def rows(record: Record, *, credit: str = TRUTH) -> Iterator[dict[str, Any]]:
    """One row an attempt, labelled by the credit of this name, in numbers as they are; null where it has none.

    Raises ValueError for a credit the record lacks or that is no label or value, and for steps the policy did not write.
    """
    if credit not in record.credits:
        raise ValueError(
            f"problem {record.tree.problem.id!r} has no credit {credit!r}; there are: {', '.join(record.credits) or 'none'}"
        )
    kind = record.credits[credit].kind
    if kind not in ("label", "value"):
        raise ValueError(f"{credit} is a credit of kind {kind}; stepwise labels are a label or a value, from 0 to 1")
    values_N = record.credits[credit].values_N.tolist()
    for leaf, steps in attempts(record, "stepwise"):
        outcome = record.tree.outcomes[leaf]
        yield {
            "id": record.tree.problem.id,
            "prompt": record.tree.problem.prompt,
            "completions": [step.text for step in steps],
            "labels": [None if math.isnan(values_N[node]) else values_N[node] for node in record.tree.path(leaf)],
            **({"correct": outcome.correct} if outcome is not None else {}),
            **plain_meta(record.tree.problem.meta, *OWN),
        }
