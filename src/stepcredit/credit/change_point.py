"""P(sound so far) at every step of a wrong attempt, from whatever restarts its tree holds: many, few, at some steps only.

    value_j = P(e > j | successes and restarts behind the steps),   e = first wrong step            core/change_point

Ours: it reads what `rollout/adaptive` grew, and any other restarts. One success behind a later step speaks for all steps
before it, so steps that nobody asked have a value too. `recovery`, `luck` and `profile` are those the tree was grown with.
A right attempt is 1 at every step, as one success is for `monte_carlo` with `soft=False`.
Shared nodes: the mean over the attempts through the node.
Raises ValueError for a reward outside [0, 1], or knobs outside their range.
Degenerate: an unscored attempt, and a wrong one of several steps without a scored restart, stays NaN, weight 0; restarts are
evidence, not samples, and stay unassigned.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.change_point import Beliefs, Profile, first_error_prior, posterior
from stepcredit.core.registry import each_tree, register
from stepcredit.core.restarts import attempts, restart_rewards
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign, is_right, unit_reward_N


@register("credit", paper="ours", kind="value")
@each_tree
def change_point(tree: Tree, *, recovery: float = 0.0, luck: float = 0.0, profile: Profile = "flat") -> Credit:
    """P(no error up to the step), [N] in [0, 1], on the steps of scored attempts."""
    reward_N = unit_reward_N(tree, "change_point")
    right_N = is_right(reward_N)
    scored = [leaf for leaf in attempts(tree) if not np.isnan(right_N[leaf])]
    num_right = int(right_N[scored].sum())
    rewards = restart_rewards(tree, reward_N)
    found: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for leaf in scored:
        nodes = [node for node in tree.path(leaf) if tree.steps[node].sampled]
        if not nodes:
            continue
        value_S: Floats = np.ones(len(nodes))
        if right_N[leaf] == 0:
            behind = [[reward > 0.5 for reward in rewards[node]] for node in nodes[:-1]]
            if behind and not any(behind):
                continue
            beliefs = Beliefs(
                first_error_prior(len(nodes)), num_right, len(scored) - num_right, recovery, luck, profile
            )
            place_S = posterior([*map(sum, behind), 0], [*map(len, behind), 0], beliefs)
            value_S = np.clip(1 - np.cumsum(place_S), 0, 1)
            value_S[-1] = 0.0
        for node, value in zip(nodes, value_S.tolist(), strict=True):
            found[node].append(value)
    value_N = np.array([np.mean(np.sort(each)) if each else np.nan for each in found])
    return assign(tree, value_N, "value", "change_point")
