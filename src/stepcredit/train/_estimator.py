r"""Token rewards of a batch into token advantages, for the trainers of others: what `verl_estimator` and `skyrl_estimator` share.

    rewards="steps":    R_n = mean of r over the steps from n on,   A_n = R_n - mean over the group of R at the first step
    rewards="outcome":  A_i = (r_i - mean_G r) / std_G r            on every step of attempt i

A trainer of that kind hands over rewards by token, [B, T], and a mask of what the policy wrote. Its own GRPO adds a row's
rewards up: a row of six steps at 0.5 beats one of three, and a reward written on all tokens of a step counts once a token.
Here a step has one reward, read off its tokens and never summed: it stands on one token of the step, or the same on all.
The first formula is `step_advantages` (a constant reward is worth exactly 0), the second GRPO (arXiv:2402.03300, section
4.1, std with G - 1) or, normalize="none", Dr.GRPO (arXiv:2503.20783).
Steps are given by `step_ends`, for each row the tokens past its steps, or else are the turns: runs of tokens in the mask. A
token that the mask leaves out gives its reward to the step before it: what the environment says of an action stands there.
A step that the policy wrote nothing of is none.
A NaN reward is not known: its step (or attempt) takes no part. The contract has no third answer: its advantage is 0.
Degenerate: equal rewards and a group of one get exactly 0; a row without a step takes no part.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from stepcredit.core.tree import star
from stepcredit.core.types import Bools, Credit, Floats, Ints, Problem, Step
from stepcredit.train.step_advantages import Returns, step_advantages

Rewards = Literal["steps", "outcome"]
Normalize = Literal["std", "none"]
Spread = Literal["same", "split"]  # as in `policy_samples`, whose "surprise" needs log-probabilities


def token_advantages(
    reward_BT: Tensor, mask_BT: Tensor, index: Sequence[Any], *, rewards: Rewards, returns: Returns = "mean",
    spread: Spread = "same", normalize: Normalize = "std", step_ends: Sequence[Sequence[int]] | None = None,
) -> Tensor:  # fmt: skip
    """Advantages by token, [B, T], of the rewards' type and device, 0 outside the mask.

    `index` names the group of each row. `normalize` is of rewards="outcome" alone. Raises ValueError, naming the row, for
    shapes that differ, a step with several rewards, a reward before the first step, and step ends that do not ascend.
    """
    for name, given, allowed in (("rewards", rewards, Rewards), ("returns", returns, Returns), ("spread", spread, Spread),
                                 ("normalize", normalize, Normalize)):  # fmt: skip
        if given not in get_args(allowed):
            raise ValueError(f"{name} is {given!r}; allowed: {', '.join(get_args(allowed))}")
    if reward_BT.shape != mask_BT.shape or reward_BT.ndim != 2 or len(index) != len(reward_BT):
        raise ValueError(f"rewards {list(reward_BT.shape)}, mask {list(mask_BT.shape)} and {len(index)} group names; "
                         "needed: [B, T] twice and B names")  # fmt: skip
    if step_ends is not None and len(step_ends) != len(reward_BT):
        raise ValueError(f"step_ends: {len(reward_BT)} rows need as many lists, got {len(step_ends)}")
    reward = reward_BT.detach().to("cpu", torch.float64).numpy()
    mask = mask_BT.detach().to("cpu").numpy().astype(np.bool_)
    step_of = [_steps(row, mask[row], None if step_ends is None else step_ends[row]) for row in range(len(reward))]
    one = rewards == "outcome"
    found = [
        _rewards_of(row, reward[row], mask[row], np.zeros_like(step_of[row]) if one else step_of[row])
        for row in range(len(reward))
    ]
    groups: dict[Hashable, list[int]] = {}
    for row, name in enumerate(index):
        if len(found[row]):
            groups.setdefault(name, []).append(row)
    out = np.zeros(reward.shape)
    for rows in groups.values():
        advantages = (
            _of_outcomes([found[r] for r in rows], normalize) if one else _of_steps([found[r] for r in rows], returns)
        )
        for row, advantage_S in zip(rows, advantages, strict=True):
            out[row] = _spread(advantage_S, step_of[row], mask[row], one, spread)
    return torch.as_tensor(out, dtype=reward_BT.dtype, device=reward_BT.device)


def _steps(row: int, mask_T: Bools, ends: Sequence[int] | None) -> Ints:
    """The step of each token, [T], -1 before the first; a token outside the mask belongs to the step before it."""
    if ends is None:
        starts_T = mask_T & ~np.concatenate([[False], mask_T[:-1]])
        return np.cumsum(starts_T) - 1
    ends_S = np.asarray(ends, dtype=np.int64)
    if ends_S.ndim != 1 or np.any(np.diff(ends_S, prepend=0) <= 0) or np.any(ends_S > len(mask_T)):
        raise ValueError(f"row {row}: step_ends are {list(ends)}; needed: ascending, from 1 to {len(mask_T)}")
    if len(ends_S) and mask_T[ends_S[-1] :].any():
        raise ValueError(f"row {row}: step_ends end at {ends_S[-1]}, but the policy wrote tokens after it")
    if not len(ends_S) and mask_T.any():
        raise ValueError(f"row {row}: step_ends is empty, but the policy wrote tokens")
    step_T = np.searchsorted(ends_S, np.arange(len(mask_T)), side="right")
    return np.minimum(step_T, len(ends_S) - 1)


def _rewards_of(row: int, reward_T: Floats, mask_T: Bools, step_T: Ints) -> Floats:
    """The one reward of each step, [S]."""
    if not mask_T.any():
        return np.zeros(0)
    early = np.flatnonzero((step_T < 0) & (reward_T != 0))
    if early.size:
        raise ValueError(
            f"row {row}: token {early[0]} has the reward {reward_T[early[0]]:g}, but stands before the first step"
        )
    bounds = np.searchsorted(step_T, np.arange(step_T.max() + 2))
    spans = [slice(start, end) for start, end in itertools.pairwise(bounds)]
    return np.array([_one_reward(row, step, reward_T[at], mask_T[at]) for step, at in enumerate(spans)])


def _one_reward(row: int, step: int, reward_T: Floats, mask_T: Bools) -> float:
    there = reward_T[reward_T != 0]  # NaN is there
    if not mask_T.any():
        if there.size:
            raise ValueError(
                f"row {row}: step {step} has the reward {there[0]:g}, and the policy wrote none of its tokens"
            )
        return float("nan")
    if there.size == 0:
        return 0.0
    if np.isnan(there).any():
        return float("nan")
    everywhere = bool(np.all(reward_T[mask_T] == there[0])) and np.all(there == there[0])
    if there.size == 1 or everywhere:
        return float(there[0])
    raise ValueError(
        f"row {row}: step {step} has {there.size} rewards on its {int(mask_T.sum())} tokens ({there[0]:g}, {there[1]:g}, ...): which is "
        "the step's? Put it on one token or on all, or say where steps end with step_ends; they are never added up"
    )


def _of_steps(reward_GS: Sequence[Floats], returns: Returns) -> list[Floats]:
    """The group as a star of attempts, by the rule of our own trainer."""
    tree = star(Problem("group", ""), [[Step("")] * len(reward_S) for reward_S in reward_GS])
    value_N = np.concatenate([[np.nan], *reward_GS])
    credit = Credit(value_N, "reward", (~np.isnan(value_N)).astype(np.float64), "token rewards")
    advantage_N = np.nan_to_num(step_advantages(tree, credit, returns=returns), nan=0.0)
    return np.split(advantage_N[1:], np.cumsum([len(reward_S) for reward_S in reward_GS])[:-1])


def _of_outcomes(reward_GS: Sequence[Floats], normalize: Normalize) -> list[Floats]:
    reward_G = np.array([reward_S[0] for reward_S in reward_GS])
    known = reward_G[~np.isnan(reward_G)]
    if len(known) < 2 or np.all(known == known[0]):
        return [np.zeros(1)] * len(reward_G)
    centred_G = np.nan_to_num(reward_G - np.mean(np.sort(known)), nan=0.0)
    scale = np.sqrt(np.sum(np.sort(centred_G**2)) / (len(known) - 1)) if normalize == "std" else 1.0
    return [np.array([advantage]) for advantage in centred_G / scale]


def _spread(advantage_S: Floats, step_T: Ints, mask_T: Bools, one: bool, spread: Spread) -> Floats:
    own_T = np.maximum(step_T, 0)
    value_T = advantage_S[np.zeros_like(own_T) if one else own_T]
    if spread == "split":
        num_S = np.bincount(own_T[mask_T], minlength=int(own_T.max()) + 1)
        value_T = value_T / np.maximum(num_S, 1)[own_T]
    return np.where(mask_T & (step_T >= 0), value_T, 0.0)
