"""What a task can say of attempts it did not write: outcomes, what the environment shows, and the oracle's step truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Task, Verifier
from stepcredit.core.tree import star, with_outcomes
from stepcredit.core.types import Credit, Floats, Outcome, Problem, Record, Step, Tree

Observe = Callable[[Problem, Sequence[Step]], list[Step]]


def decided(record: Record, verifier: Verifier) -> Record:
    """The record with the outcomes that the verifier gives; an attempt cut off by its length stays "truncated"."""
    tree = record.tree
    leaves = [leaf for leaf in tree.leaves if not _truncated(tree.outcomes[leaf])]
    if not leaves:
        return record
    found = verifier(tree.problem, [tree.solution(leaf) for leaf in leaves])
    return replace(record, tree=with_outcomes(tree, dict(zip(leaves, found, strict=True))))


def _truncated(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status == "truncated"


def observed(record: Record, observe: Observe) -> Record:
    """The record with what the environment shows after each step; credits and judgments keep to their steps.

    Raises ValueError where attempts share steps: what is shown after a shared step could differ.
    """
    tree = record.tree
    if (np.bincount(tree.parent_N[1:], minlength=tree.num_nodes)[1:] > 1).any():
        raise ValueError(f"problem {tree.problem.id!r}: observations need attempts that share no step but the prompt")
    seen = star(
        tree.problem,
        [observe(tree.problem, tree.solution(leaf)) for leaf in tree.leaves],
        [tree.outcomes[leaf] for leaf in tree.leaves],
        cost=tree.cost,
    )
    before, after = _sampled(tree), _sampled(seen)
    if len(before) != len(after):
        raise ValueError(f"problem {tree.problem.id!r}: observing made {len(after)} steps of {len(before)}")
    return Record(seen, {name: _moved(c, before, after, seen) for name, c in record.credits.items()}, record.judgments)


def _sampled(tree: Tree) -> list[int]:
    return [node for leaf in tree.leaves for node in tree.path(leaf) if tree.steps[node].sampled]


def _moved(credit: Credit, before: list[int], after: list[int], tree: Tree) -> Credit:
    value_N, weight_N = np.full(tree.num_nodes, np.nan), np.zeros(tree.num_nodes)
    value_N[after], weight_N[after] = credit.values_N[before], credit.weight_N[before]
    value_N[0], weight_N[0] = credit.values_N[0], credit.weight_N[0]
    return replace(credit, values_N=value_N, weight_N=weight_N)


def labelled(record: Record, task: Task) -> Record:
    """The record with the oracle's labels as `credits["truth"]`."""
    tree = record.tree
    value_N: Floats = np.full(tree.num_nodes, np.nan)
    for leaf in tree.leaves:
        nodes = [node for node in tree.path(leaf) if tree.steps[node].sampled]
        value_N[nodes] = task.label_steps(tree.problem, tree.solution(leaf))
    truth = Credit(value_N, "label", (~np.isnan(value_N)).astype(np.float64), f"{task.name} oracle")
    return replace(record, credits={**record.credits, "truth": truth})


def need_observe(task: Task) -> Observe:
    """The task's environment. Raises ValueError for a task without one."""
    if task.observe is None:
        raise ValueError(f"the task {task.name} has no environment to observe; leave out --observe")
    return task.observe
