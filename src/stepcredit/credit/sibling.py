"""What choosing a step was worth: its value against those of its siblings, the other steps tried from the same prefix.

    V_n = mean over its children of V,  a leaf: its outcome         A_n = V_n - mean of V over n and its siblings

The local advantage of TreeRL, arXiv:2506.11902; Tree-GRPO (arXiv:2509.21240) has none (`tree_advantage`).
`leave_one_out` compares with the *other* siblings: then E[A_n] is exactly the advantage Q - V of the step where siblings
are independent samples (with n among them it is smaller by 1 / siblings). `normalize="std"` divides by their deviation.
A step without siblings carries the advantage of the last choice before it, so that a step cut in two is worth what it was
and a star of chains gives exactly `group_mean`. Tool results carry it on; several results of one call are no choice.
Departs: V is the mean over children, each an equal sample of what follows, where TreeRL counts leaves: a child that was
expanded more often is no likelier. A finished node keeps its own outcome, one more child where it has children too.
Raises ValueError for an unknown `normalize`.
Degenerate: equal siblings (to 1e-12 of their size) and a tree without a choice get exactly 0; a node with nothing scored at
or below it takes no part, NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.tree import children
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign
from stepcredit.credit.group_mean import Normalize, advantages

EQUAL = 1e-12


@register("credit", paper="arXiv:2506.11902", kind="advantage")
@each_tree
def sibling(tree: Tree, *, normalize: Normalize = "none", leave_one_out: bool = False) -> Credit:
    """Give every step the advantage of the last choice on its path, over the values of the tree's own outcomes, [N]."""
    advantage_N = among_siblings(tree, values(tree), normalize, leave_one_out)
    return assign(tree, advantage_N, "advantage", "sibling")


def values(tree: Tree) -> Floats:
    """V of every node, [N]: the mean of its children's, from the outcomes up; NaN with nothing scored at or below."""
    reward_N = tree.reward_N
    below: list[list[float]] = [[] if np.isnan(reward) else [float(reward)] for reward in reward_N]
    value_N: Floats = np.full(tree.num_nodes, np.nan)
    for node in range(tree.num_nodes - 1, -1, -1):
        if below[node]:
            value_N[node] = _mean(below[node])
            if node:
                below[tree.parent_N[node]].append(float(value_N[node]))
    return value_N


def among_siblings(tree: Tree, value_N: Floats, normalize: Normalize = "none", leave_one_out: bool = False) -> Floats:
    """The advantage of every node by any values, [N]; NaN where it has none. `value_N` may be another method's."""
    advantages(np.zeros(1), normalize)  # refuses a wrong knob on any tree
    advantage_N: Floats = np.zeros(tree.num_nodes)
    of = children(tree)
    for node in range(tree.num_nodes):
        advantage_N[of[node]] = advantage_N[node]
        chosen = [child for child in of[node] if tree.steps[child].sampled and not np.isnan(value_N[child])]
        if len(chosen) > 1:
            among = value_N[chosen]
            equal = np.ptp(among) <= EQUAL * np.max(np.abs(among))
            advantage_N[chosen] = 0.0 if equal else advantages(among, normalize, leave_one_out)
    return np.where(np.isnan(value_N), np.nan, advantage_N)


def _mean(values: Sequence[float]) -> float:
    """Exactly their value where all are equal, in any order the same otherwise."""
    return values[0] if min(values) == max(values) else float(np.mean(np.sort(values)))
