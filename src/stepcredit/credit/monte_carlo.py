"""Success rate of restarts from each step.

    V(s) = 1/K * sum_k verify(rollout_k(s)),   rollout_k ~ policy(. | s)          hard: 1 if any rollout succeeds

Math-Shepherd, arXiv:2312.08935, section 3 (soft and hard estimation).
The tree holds the restarts already; this only reads it. A restart of s is a child of s that opens another group
(`group_N` differs from that of s); it counts the outcomes below it that are in its own group, so that restarts grown
from restarts are not counted twice. In a tree without groups every child is a restart.
Departs: a finished node keeps its own outcome instead of being rolled out again.
Shared nodes: a value belongs to the node, so nothing is averaged.
Raises ValueError for a reward outside [0, 1].
Degenerate: a step without restarts, or whose restarts are all unscored, stays NaN, weight 0.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Floats, Ints, Tree
from stepcredit.credit._assign import assign, unit_reward_N


def counts(tree: Tree) -> tuple[Ints, Ints]:
    """Successes (reward above one half) and scored rollouts behind each node's value, ([N], [N]).

    The provenance of a Monte Carlo label. A finished node counts as one rollout: its own outcome.
    """
    rollouts = _rollouts(tree)
    num_success_N = [sum(reward > 0.5 for reward in found) for found in rollouts]
    return np.array(num_success_N, dtype=np.int64), np.array([len(found) for found in rollouts], dtype=np.int64)


@register("credit", paper="arXiv:2312.08935", kind="value")
@each_tree
def monte_carlo(tree: Tree, *, soft: bool = True) -> Credit:
    """Value every step by the restarts that start there, [N] in [0, 1]; `soft=False` asks whether any succeeds."""
    value_N: Floats = np.full(tree.num_nodes, np.nan)
    for node, found in enumerate(_rollouts(tree)):
        if found:
            value_N[node] = np.mean(np.sort(found)) if soft else float(max(found) > 0.5)
    return assign(tree, value_N, "value", "monte_carlo")


def _rollouts(tree: Tree) -> list[list[float]]:
    """Scored rewards of the rollouts that start at each node; a restart with several ends counts their mean once."""
    reward_N = unit_reward_N(tree, "monte_carlo")
    group_N = tree.group_N
    within: list[list[float]] = [[] for _ in range(tree.num_nodes)]  # outcomes at and below, in the node's own group
    restarts: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for node in range(tree.num_nodes - 1, 0, -1):
        parent = int(tree.parent_N[node])
        if not np.isnan(reward_N[node]):
            within[node] = restarts[node] = [float(reward_N[node])]
        if group_N is None or group_N[node] == group_N[parent]:
            within[parent].extend(within[node])
        if within[node] and (group_N is None or group_N[node] != group_N[parent]):
            restarts[parent].append(float(np.mean(np.sort(within[node]))))
    return restarts
