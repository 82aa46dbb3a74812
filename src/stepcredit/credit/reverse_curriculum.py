"""How often the policy succeeds from each start state on a demonstration: step values that the curriculum gives for free.

    V(s_k) = right continuations of s_k / scored continuations of s_k        s_k: the demonstration's first k steps

R3, arXiv:2402.05808: reinforcement learning from start states that slide back along a demonstration; the paper trains on
the outcomes and throws these rates away. `rollout/restart` grows the starts: a continuation of s_k is a child of its last
step that opens another group. A demonstration is an attempt that has been continued; its end keeps its own outcome.
Unlike `monte_carlo`: right or wrong is counted, not reward, so that the partial reward for a wrong answer of the right form
(.2 in the paper) is no success; starts that read the same are one, wherever they stand in the tree; and continuations are
evidence, not samples, so they stay unassigned. V(s_0), the prompt's own, belongs to no step: `starts` counts it, from the
attempts that are no demonstrations.
A demonstration is an expert's: the values are the policy's chances after an expert's steps, not after its own.
Raises ValueError for a reward outside [0, 1].
Degenerate: a step that nothing was started from stays NaN, weight 0; a tree without starts assigns nothing.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.tree import prefix_of
from stepcredit.core.types import Credit, Floats, Ints, Tree
from stepcredit.credit._assign import assign, is_right, unit_reward_N


@register("credit", paper="arXiv:2402.05808", kind="value")
@each_tree
def reverse_curriculum(tree: Tree) -> Credit:
    """Value the steps of demonstrations by the success rate of the continuations that start behind them, [N] in [0, 1]."""
    num_right_N, num_scored_N = starts(tree)
    right_N = is_right(unit_reward_N(tree, "reverse_curriculum"))
    value_N: Floats = np.full(tree.num_nodes, np.nan)
    for leaf in tree.leaves:
        path = list(tree.path(leaf))
        if _groups_on(tree, path) == 1 and num_scored_N[path].any():
            known = [node for node in path if num_scored_N[node]]
            value_N[known] = num_right_N[known] / num_scored_N[known]
            if not num_scored_N[leaf]:
                value_N[leaf] = right_N[leaf]
    return assign(tree, value_N, "value", "reverse_curriculum")


def starts(tree: Tree) -> tuple[Ints, Ints]:
    """Right and scored continuations of every start state, ([N], [N]); starts that read the same have the same counts.

    At the prompt, node 0, the continuations are the attempts that nothing was continued from: a demonstration is an expert's,
    often chosen for being right.
    """
    right_N = is_right(unit_reward_N(tree, "reverse_curriculum"))
    prefix_N = prefix_of(tree)
    num_right_N, num_scored_N = (np.zeros(tree.num_nodes, dtype=np.int64) for _ in range(2))
    continued = _continued(tree)
    for leaf in tree.leaves:
        path = [0, *tree.path(leaf)]
        if np.isnan(right_N[leaf]) or tree.group_N is None:
            continue
        own = tree.group_N[leaf]
        begins = next(place for place in range(1, len(path)) if (tree.group_N[path[place:]] == own).all())
        if begins == 1 and continued.intersection(path):
            continue
        start = prefix_N[path[begins - 1]]
        num_right_N[start] += int(right_N[leaf])
        num_scored_N[start] += 1
    return num_right_N[prefix_N], num_scored_N[prefix_N]


def _continued(tree: Tree) -> set[int]:
    """Steps that another group goes on from."""
    if tree.group_N is None:
        return set()
    parent_N = tree.parent_N[1:]
    return set(parent_N[tree.group_N[1:] != tree.group_N[parent_N]].tolist()) - {0}


def _groups_on(tree: Tree, path: list[int]) -> int:
    return 1 if tree.group_N is None else len(np.unique(tree.group_N[path]))
