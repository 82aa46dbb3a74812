"""Rewards of steps, a judge's or another credit's, made into advantages without paying for length.

    A_k = outcome_weight (outcome - b) + process_weight (G_k - b)         b: mean over the *other* attempts of the group (RLOO)
    min     G_k = min_(j>=k) r_j          with a temperature T:  sum_(j>=k) r_j softmax(-r / T)_j over the whole attempt
    mean    G_k = mean_(j>=k) r_j
    sum     G_k = sum_(j>=k) r_j
    prime   G_k - b = sum_(j>=k) (r_j - mean_G of the attempts' mean r) G / (G - 1)

`rewards` is what each step earned: step scores of a judge (a value), or rewards such as `log_ratio`'s. For min, mean and sum an
attempt's b is the others' G at their first steps. "min" is PURE's, arXiv:2504.15275: the value is the least reward still to come,
so one bad step cannot be made up for; its code has the softmax with T = .1 (behind the worst step nearly nothing is left, where
the minimum rises again). "sum" is what trainers do with dense rewards, and **pays for length**: c on every step is worth c times
their number. Under min and mean it is worth exactly 0. "prime" is PRIME's estimator, arXiv:2502.01456: sources are compared
apart, then summed to the end; where an attempt's mean is not the group's, the difference grows with the steps left.
Departs: by steps, where PRIME goes by tokens; no whitening, no division by the largest; PURE's baseline is others' reward a token.
baseline="group_mean" takes the mean of all attempts, the own one too. Both weights matter under every form (PRIME's released one
changes a log alone); outcome_weight=0 is the rewards alone, by which PURE was hacked within 200 updates.
Shared nodes: the mean over the attempts through them. A step without a reward takes no part and stays NaN.
Raises ValueError for a credit that is an advantage or of another tree, a temperature not above 0 or without min, unknown knobs.
Degenerate: one attempt, and attempts with equal outcomes and equal rewards under min and mean, are exactly 0; an unscored attempt
takes no part, NaN, unless outcomes have weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign
from stepcredit.credit.group_mean import advantages

Form = Literal["min", "mean", "sum", "prime"]
Baseline = Literal["rloo", "group_mean"]


@register(
    "credit", paper="arXiv:2504.15275", kind="advantage", resource_kinds={"rewards": "reward"},
    exempt={"equal_outcomes_carry_nothing": "attempts with equal outcomes may have earned differently on the way",
            "splitting_a_step_changes_nothing": "each half is given what the whole earned: only the minimum does not count steps",
            "longer_is_not_more": "form='sum' is the length bonus that trainers have, kept to be compared with"},
)  # fmt: skip
@each_tree
def process_reward(
    tree: Tree, *, rewards: Credit, form: Form = "min", outcome_weight: float = 1.0, process_weight: float = 1.0,
    baseline: Baseline = "rloo", temperature: float | None = None,
) -> Credit:  # fmt: skip
    """Give every step with a reward its advantage over the problem's other attempts, [N]."""
    for name, given, allowed in (("form", form, Form), ("baseline", baseline, Baseline)):
        if given not in get_args(allowed):
            raise ValueError(f"{name} is {given!r}; allowed: {', '.join(get_args(allowed))}")
    if rewards.kind == "advantage" or len(rewards.values_N) != tree.num_nodes:
        raise ValueError(f"rewards of problem {tree.problem.id!r}: expected a reward, value or label [{tree.num_nodes}], "
                         f"got a {rewards.kind} [{len(rewards.values_N)}]")  # fmt: skip
    if temperature is not None and not (form == "min" and temperature > 0):
        raise ValueError(f"temperature {temperature} with form {form!r}; allowed: above 0 with min, None")
    outcome_N = tree.reward_N if outcome_weight else np.zeros(tree.num_nodes)
    earned_N = np.where(tree.sampled_N, rewards.values_N, np.nan)
    paths = []
    for leaf in tree.leaves:
        own = [node for node in tree.path(leaf) if not np.isnan(earned_N[node])]
        if own and not np.isnan(outcome_N[leaf]):
            paths.append((float(outcome_N[leaf]), own))
    leave_one_out = baseline == "rloo"
    outcome_G = advantages(np.array([outcome for outcome, _ in paths]), "none", leave_one_out)
    process_GK = compared(
        [earned_N[own] for _, own in paths], form, leave_one_out=leave_one_out, temperature=temperature
    )
    through: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for outcome, process_K, (_, own) in zip(outcome_G, process_GK, paths, strict=True):
        for node, process in zip(own, process_K, strict=True):
            through[node].append(float(outcome_weight * outcome + process_weight * process))
    mean_N: Floats = np.array([np.mean(np.sort(found)) if found else np.nan for found in through])
    return assign(tree, mean_N, "advantage", "process_reward")


def compared(
    reward_GK: Sequence[Floats], form: Form, *, leave_one_out: bool = True, temperature: float | None = None
) -> list[Floats]:
    """G_k - b of every step of a group's attempts, [K] each.

    >>> [own.tolist() for own in compared([np.array([0.5, 0.5]), np.array([0.5])], "sum")]
    [[0.5, 0.0], [-0.5]]
    """
    num = len(reward_GK)
    if num < 2:
        return [np.zeros(len(own)) for own in reward_GK]
    if form == "prime":
        mean = _mean([_mean(own) for own in reward_GK])
        scale = num / (num - 1) if leave_one_out else 1.0
        return [_ahead((own - mean) * scale) for own in reward_GK]
    ahead_GK = [returns(own, form, temperature) for own in reward_GK]
    first_G = np.array([ahead[0] for ahead in ahead_GK])
    keep_G = [np.arange(num) != at if leave_one_out else np.ones(num, dtype=np.bool_) for at in range(num)]
    return [ahead - _mean(first_G[keep]) for ahead, keep in zip(ahead_GK, keep_G, strict=True)]


def returns(reward_K: Floats, form: Form, temperature: float | None = None) -> Floats:
    """G_k of an attempt's steps, [K]: what min, mean or sum make of the rewards from each step on.

    >>> returns(np.array([0.9, 0.2, 0.7]), "min")
    array([0.2, 0.2, 0.7])
    """
    if form == "min":
        if temperature is None:
            return np.minimum.accumulate(reward_K[::-1])[::-1]
        weight_K = np.exp((reward_K.min() - reward_K) / temperature)
        return _ahead(reward_K * weight_K / weight_K.sum())
    if form == "mean":
        return np.array([_mean(reward_K[at:]) for at in range(len(reward_K))])
    return _ahead(reward_K)


def _ahead(reward_K: Floats) -> Floats:
    """Sum from each step on."""
    return np.cumsum(reward_K[::-1])[::-1]


def _mean(values: Sequence[float] | Floats) -> float:
    """Exactly their value where all are equal, in any order the same otherwise."""
    sorted_values = np.sort(values)
    return float(sorted_values[0] if sorted_values[0] == sorted_values[-1] else np.mean(sorted_values))
