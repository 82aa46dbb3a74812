"""What can be said of attempts that others wrote: a verifier's outcomes at the leaves, an oracle's labels on the steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Task, Verifier
from stepcredit.core.tree import with_outcomes
from stepcredit.core.types import Credit, Outcome, Record


def verified(record: Record, verifier: Verifier) -> Record:
    """The record with the outcomes that the verifier gives; an attempt cut off by its length stays "truncated"."""
    tree = record.tree
    leaves = [leaf for leaf in tree.leaves if not _truncated(tree.outcomes[leaf])]
    if not leaves:
        return record
    found = verifier(tree.problem, [tree.solution(leaf) for leaf in leaves])
    return replace(record, tree=with_outcomes(tree, dict(zip(leaves, found, strict=True))))


def with_truth(record: Record, task: Task) -> Record:
    """The record with the oracle's labels as `credits["truth"]`, on sampled steps: measured against, never trained on.

    NaN, weight 0, where the oracle cannot read a step.
    """
    tree = record.tree
    value_N = np.full(tree.num_nodes, np.nan)
    for leaf in tree.leaves:
        nodes = [node for node in tree.path(leaf) if tree.steps[node].sampled]
        value_N[nodes] = task.label_steps(tree.problem, tree.solution(leaf))
    truth = Credit(value_N, "label", (~np.isnan(value_N)).astype(np.float64), f"{task.name} oracle")
    return replace(record, credits={**record.credits, "truth": truth})


def _truncated(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status == "truncated"
