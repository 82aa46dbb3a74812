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
from stepcredit.core.restarts import restart_rewards
from stepcredit.core.types import Credit, Floats, Ints, Tree
from stepcredit.credit._assign import assign, unit_reward_N


def counts(tree: Tree) -> tuple[Ints, Ints]:
    """Successes (reward above one half) and scored rollouts behind each node's value, ([N], [N]).

    The provenance of a Monte Carlo label. A finished node counts as one rollout: its own outcome.
    """
    rollouts = _rollouts(tree)
    num_success_N = [sum(reward > 0.5 for reward in found) for found in rollouts]
    return np.array(num_success_N, dtype=np.int64), np.array([len(found) for found in rollouts], dtype=np.int64)


def intervals(tree: Tree, *, level: float = 0.95, right: float = 1.0, wrong: float = 1.0) -> tuple[Floats, Floats]:
    """Central interval of each node's value given its counts, ([N], [N]): low and high, NaN where nothing is counted.

        V | counts ~ Beta(right + successes, wrong + rollouts - successes)

    `right` and `wrong` are the prior's, uniform by default; 1/2 each is Jeffreys'. A finished node's one outcome is known,
    not sampled: its interval is that outcome. Raises ValueError for a level outside (0, 1) or a prior not above 0.
    """
    if not 0 < level < 1 or right <= 0 or wrong <= 0:
        raise ValueError(f"level {level}, right {right}, wrong {wrong}; allowed: between 0 and 1, above 0, above 0")
    from scipy.special import betaincinv

    num_success_N, num_rollout_N = counts(tree)
    low_N, high_N = (
        np.asarray(betaincinv(right + num_success_N, wrong + num_rollout_N - num_success_N, share), dtype=np.float64)
        for share in ((1 - level) / 2, (1 + level) / 2)
    )
    finished_N = ~np.isnan(tree.reward_N)
    none_N = num_rollout_N == 0
    known_N = np.where(none_N, np.nan, num_success_N.astype(np.float64))
    return np.where(finished_N | none_N, known_N, low_N), np.where(finished_N | none_N, known_N, high_N)


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
    """Scored rewards of the rollouts that start at each node."""
    return restart_rewards(tree, unit_reward_N(tree, "monte_carlo"))
