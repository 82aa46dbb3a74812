"""What a tree's restarts found: the outcomes behind each node, counted once each.

A restart of a node is a child that opens another group (`group_N` differs); it counts the outcomes below it that are in
its own group, so that restarts grown from restarts are not counted twice. In a tree without groups every child is one.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.types import Floats, Tree


def restart_rewards(tree: Tree, reward_N: Floats | None = None) -> list[list[float]]:
    """Scored rewards of the restarts of each node, N lists; a restart with several ends counts their mean once.

    A finished node counts as one: its own outcome. `reward_N` stands in for the tree's own rewards; NaN is unscored.
    """
    reward_N = tree.reward_N if reward_N is None else reward_N
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


def attempts(tree: Tree) -> list[int]:
    """The leaves that end what their first step began, rather than a restart, in node order."""
    if tree.group_N is None:
        return list(tree.leaves)
    group_N = tree.group_N
    return [leaf for leaf in tree.leaves if len({int(group_N[node]) for node in tree.path(leaf)}) == 1]
