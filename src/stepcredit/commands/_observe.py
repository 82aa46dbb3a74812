"""What a task's environment shows after each step of attempts it did not write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Task
from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Problem, Record, Step, Tree

Observe = Callable[[Problem, Sequence[Step]], list[Step]]


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


def need_observe(task: Task) -> Observe:
    """The task's environment. Raises ValueError for a task without one."""
    if task.observe is None:
        raise ValueError(f"the task {task.name} has no environment to observe; leave out --observe")
    return task.observe
