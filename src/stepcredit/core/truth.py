"""What can be said of attempts that others wrote: a verifier's outcomes at the leaves, an oracle's labels on the steps.

Verifiers and oracles read what was written. The steps that an attempt was given to start on (`rollout/given`) are a part of it:
both are shown them as if the policy had written them too, or the fourth line of a chain would be held against the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Task, Verifier
from stepcredit.core.tree import with_outcomes
from stepcredit.core.types import Credit, Outcome, OutcomeStatus, Record, Step, Tree


def verified(record: Record, verifier: Verifier) -> Record:
    """The record with the outcomes that the verifier gives; an attempt cut off by its length stays "truncated"."""
    tree = record.tree
    leaves = [leaf for leaf in tree.leaves if not _truncated(tree.outcomes[leaf])]
    if not leaves:
        return record
    found = verifier(tree.problem, [as_written(tree.solution(leaf)) for leaf in leaves])
    return replace(record, tree=with_outcomes(tree, dict(zip(leaves, found, strict=True))))


def with_truth(record: Record, task: Task) -> Record:
    """The record with the oracle's labels as `credits["truth"]`, on sampled steps: measured against, never trained on.

    NaN, weight 0, where the oracle cannot read a step, and on given steps. Raises ValueError for an oracle whose labels are not
    one a sampled step.
    """
    tree = record.tree
    value_N = np.full(tree.num_nodes, np.nan)
    for leaf in tree.leaves:
        steps = as_written(tree.solution(leaf))
        label_S = task.label_steps(tree.problem, steps)
        labelled = [node for node, step in zip(tree.path(leaf), steps, strict=True) if step.sampled]
        if np.shape(label_S) != (len(labelled),):
            raise ValueError(f"problem {tree.problem.id!r}: the oracle of {task.name} gave {list(np.shape(label_S))} labels; expected "
                             f"[{len(labelled)}], one a sampled step")  # fmt: skip
        own = tree.sampled_N[labelled]
        value_N[np.array(labelled, dtype=np.int64)[own]] = label_S[own]
    truth = Credit(value_N, "label", (~np.isnan(value_N)).astype(np.float64), f"{task.name} oracle")
    return replace(record, credits={**record.credits, "truth": truth})


def as_written(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The attempt with what it was given to start on as if the policy had written it; prompts and tool results stay context.

    >>> given, result = Step("2+3=5", sampled=False), Step("5", kind="tool_result", sampled=False)
    >>> [step.sampled for step in as_written([given, result, Step("5*0=0"), result])]
    [True, False, True, False]
    """
    start = next((place for place, step in enumerate(steps) if step.sampled), len(steps))
    return tuple(
        replace(step, sampled=True) if place < start and step.kind not in ("prompt", "tool_result") else step
        for place, step in enumerate(steps)
    )


def judged_wrong(tree: Tree, statuses: Sequence[OutcomeStatus]) -> Tree:
    """The tree with outcomes of these statuses scored 0, for a trainer that must hold its policy from never ending."""
    wrong = {n: Outcome(0.0, False, o.well_formed, o.answer, verifier=o.verifier) for n, o in enumerate(tree.outcomes)
             if o is not None and o.status != "scored" and o.status in statuses}  # fmt: skip
    return with_outcomes(tree, wrong) if wrong else tree


def _truncated(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status == "truncated"
