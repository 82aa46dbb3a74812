"""From rewards of steps to advantages, as L2T has it (`information_gain` says which form is which): arrays alone.

arXiv:2505.10425, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from stepcredit.core.types import Floats, Step, Tree

Weights = Literal["surprise", "even"]
EPSILON = 1e-3  # nats, as in train/policy_samples
KEPT = 0.95


def surprise_weights(logprobs: Sequence[float], *, epsilon: float = EPSILON) -> Floats:
    """What each token of a step carries of it, [T], in proportion to its surprise; even where nothing surprises.

    >>> surprise_weights([-1.0, -3.0], epsilon=0.0)
    array([0.25, 0.75])
    """
    surprise_T = epsilon - np.array(logprobs, dtype=np.float64)
    if surprise_T.size == 0 or not surprise_T.sum() > 0:
        return np.full(surprise_T.size, 1 / max(surprise_T.size, 1))
    return np.asarray(surprise_T / surprise_T.sum())


def truncated_mean(values_T: Floats, kept: float = KEPT) -> float:
    """Mean without the lowest and highest values, half of what is not kept on either side, rounded down; 0 without values."""
    cut = int((1 - kept) / 2 * len(values_T) + 1e-9)
    middle = np.sort(values_T)[cut : len(values_T) - cut]
    return float(np.mean(middle)) if middle.size else 0.0


def ratio(ahat: float, reward_K: Floats, rbar: float) -> Floats:
    """The paper's advantages of an attempt's steps, Ahat R_k / rbar: 0 where Ahat is, unassigned where only rbar is 0."""
    if ahat == 0:
        return np.zeros(len(reward_K))
    return np.full(len(reward_K), np.nan) if rbar == 0 else ahat * reward_K / rbar


def clipped_z(gain_GK: Sequence[Floats], clip: float) -> list[Floats]:
    """Deviations of each step's r_k from the group's in standard deviations, at most `clip`; every attempt counts once."""
    every = np.concatenate(list(gain_GK)) if gain_GK else np.zeros(0)
    if len(gain_GK) < 2 or np.all(every == every[0]):
        return [np.zeros(len(own)) for own in gain_GK]
    mean = np.mean(np.sort([np.mean(own) for own in gain_GK]))
    deviation = np.sqrt(np.mean(np.sort([np.mean((own - mean) ** 2) for own in gain_GK])))
    return [np.clip((own - mean) / deviation, -clip, clip) for own in gain_GK]


def to_go(charge_K: Floats) -> Floats:
    """What each step of an attempt and all behind it are charged.

    >>> to_go(np.array([1.0, 0.0, 2.0]))
    array([3., 2., 2.])
    """
    return np.cumsum(charge_K[::-1])[::-1]


def token_shares(tree: Tree, nodes: Sequence[int], weights: Weights, epsilon: float) -> dict[int, Floats]:
    """w_t of the tokens of each of these steps; ValueError where some have recorded tokens and some have not."""
    counts = {node: _num_tokens(tree.steps[node]) for node in nodes}
    if 0 < sum(num is None for num in counts.values()) < len(counts):
        raise ValueError(
            f"problem {tree.problem.id!r}: some steps have recorded tokens and some have not; lengths must be of one kind"
        )
    found = {}
    for node, num in counts.items():
        step = tree.steps[node]
        if weights == "surprise" and step.logprobs is not None:
            found[node] = surprise_weights(step.logprobs, epsilon=epsilon)
        else:
            num = len(step.text) if num is None else num
            found[node] = np.full(num, 1 / max(num, 1))
    return found


def _num_tokens(step: Step) -> int | None:
    tokens = step.logprobs if step.logprobs is not None else step.token_ids
    return None if tokens is None else len(tokens)
