"""What a trainer may call an advantage: an advantage as it is, rewards only after their length is out of them.

    advantage:  A_n as given
    reward:     R_n = mean of r over the assigned steps from n to the attempt's end,   A_n = R_n - b
                b = mean over the group's attempts of their R at the first step

Rewards of steps that are added up (returns="sum", what verl and SkyRL do with token rewards under GRPO) pay for every
further step: a dense positive reward becomes a length bonus. The mean does not, and a constant reward is worth exactly 0.
A shared step has the mean over the attempts through it. PURE (arXiv:2504.15275, appendix) describes the bonus.
Values and labels are refused: a probability is no advantage (`credit/_transforms.value_to_advantage` makes one of it).
Degenerate: one attempt with rewards, or rewards that are all equal, is exactly 0; an attempt without any takes no part.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from stepcredit.core.types import Credit, Floats, Tree

Returns = Literal["mean", "sum"]


def step_advantages(tree: Tree, credit: Credit, *, returns: Returns = "mean") -> Floats:
    """The advantage of every node, [N]; NaN where the credit assigns nothing.

    Raises ValueError for a credit of another tree, one that is a value or a label, or an unknown `returns`.
    """
    if returns not in get_args(Returns):
        raise ValueError(f"returns is {returns!r}; allowed: {', '.join(get_args(Returns))}")
    if credit.values_N.shape != (tree.num_nodes,):
        raise ValueError(
            f"problem {tree.problem.id!r}: credit: expected [{tree.num_nodes}], got {list(credit.values_N.shape)}"
        )
    if credit.kind == "advantage":
        return credit.values_N.copy()
    if credit.kind != "reward":
        raise ValueError(f"credit of {credit.method} is a {credit.kind}; a policy is trained by an advantage or a reward "
                         "(a value becomes one by value_to_advantage, a label teaches a judge)")  # fmt: skip
    return _of_rewards(tree, credit.values_N, returns)


def _of_rewards(tree: Tree, reward_N: Floats, returns: Returns) -> Floats:
    paths = [own for leaf in tree.leaves if (own := [n for n in tree.path(leaf) if not np.isnan(reward_N[n])])]
    if len(paths) < 2 or (np.ptp(reward_N[~np.isnan(reward_N)]) == 0 and returns == "mean"):
        return np.where(np.isnan(reward_N), np.nan, 0.0)
    ahead = [_ahead(reward_N[own], returns) for own in paths]
    baseline = float(np.mean(np.sort([ahead_S[0] for ahead_S in ahead])))
    through: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for own, ahead_S in zip(paths, ahead, strict=True):
        for node, value in zip(own, ahead_S, strict=True):
            through[node].append(float(value))
    return np.array([np.mean(np.sort(found)) - baseline if found else np.nan for found in through])


def _ahead(reward_S: Floats, returns: Returns) -> Floats:
    """Mean or sum of the rewards from each step on, [S]."""
    sum_S = np.cumsum(reward_S[::-1])[::-1]
    return sum_S / np.arange(len(reward_S), 0, -1) if returns == "mean" else sum_S
