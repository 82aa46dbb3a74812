"""Hanging what a policy wrote behind the nodes it went on from: shared by all rollouts that continue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.types import Completion, Cost, Outcome, Step, Tree

Start = tuple[int, int]  # a node to continue from, and the group that the continuation belongs to
TRUNCATED = Outcome(status="truncated", verifier="rollout")


def cut(completion: Completion) -> Outcome | None:
    """What is known of an attempt before it is verified: that it was cut at its length, or nothing."""
    return TRUNCATED if completion.finish == "length" else None


def extended(tree: Tree, paths: Sequence[tuple[Start, Sequence[Step], Outcome | None]], cost: Cost) -> Tree:
    """The tree with each path behind its start, its last step with the outcome given; old nodes keep their numbers.

    An empty path hangs nothing. Visits are left out: they count what stood there before.
    """
    steps, parents, outcomes = list(tree.steps), tree.parent_N.tolist(), list(tree.outcomes)
    groups = [0] * tree.num_nodes if tree.group_N is None else tree.group_N.tolist()
    for (node, group), own, outcome in paths:
        parent = node
        for place, step in enumerate(own):
            steps.append(step)
            parents.append(parent)
            outcomes.append(outcome if place == len(own) - 1 else None)
            groups.append(group)
            parent = len(steps) - 1
    return replace(tree, steps=tuple(steps), parent_N=np.array(parents), outcomes=tuple(outcomes),
                   group_N=np.array(groups), visits_N=None, cost=tree.cost + cost)  # fmt: skip
