"""How every method writes its numbers down: sampled steps only, NaN and weight 0 where nothing was assigned."""

from __future__ import annotations

import numpy as np

from stepcredit.core.types import Cost, Credit, CreditKind, Floats, Tree


def assign(
    tree: Tree,
    values_N: Floats,
    kind: CreditKind,
    method: str,
    *,
    weight_N: Floats | None = None,
    cost: Cost | None = None,
) -> Credit:
    """The Credit of `values_N`, [N], with every step the policy did not write unassigned.

    A NaN value gets weight 0, a weight of 0 a NaN value; other weights are 1 unless given. Negative zero becomes
    zero, so that equal credits are equal bytes. `cost` is what the method itself spent; what grew the tree stands on
    the tree.
    """
    weight_N = np.ones(tree.num_nodes) if weight_N is None else weight_N
    assigned_N = tree.sampled_N & ~np.isnan(values_N) & (weight_N > 0)
    values_N = np.where(assigned_N, values_N + 0.0, np.nan)
    return Credit(values_N, kind, np.where(assigned_N, weight_N, 0.0), method, cost or Cost())


def unit_reward_N(tree: Tree, method: str) -> Floats:
    """Rewards per node, NaN where unscored, for methods whose credit is a probability.

    Raises ValueError for a reward outside [0, 1].
    """
    reward_N = tree.reward_N
    outside = np.flatnonzero((reward_N < 0) | (reward_N > 1))
    if outside.size:
        raise ValueError(
            f"{method} reads outcomes as probabilities: rewards must lie in [0, 1], problem {tree.problem.id!r} has "
            f"{reward_N[outside[0]]} at node {outside[0]}"
        )
    return reward_N


def is_right(reward: Floats) -> Floats:
    """1.0 where a reward in [0, 1] is above one half, 0.0 where it is not, NaN where unscored."""
    return np.where(np.isnan(reward), np.nan, (np.asarray(reward) > 0.5).astype(np.float64))
