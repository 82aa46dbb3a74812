"""A warm-up that leaves the filter both classes: outcome labels on every step, right and wrong weighted alike.

    w = N / (P + N) on steps of right attempts,   P / (P + N) on steps of wrong ones      P, N: 1 + steps of each in the batch

The weights of SPRM's released code (arXiv:2507.01951) without the filter and without its factor 1.5. Plain BCE first
learns the base rate: where most attempts are right it puts every step above one half, and the filter that follows keeps
no step of a wrong attempt ever again. Ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stepcredit.core.types import Floats

Relabel = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]


def warmed(relabel: Relabel, num_updates: int) -> Relabel:
    """`relabel` from its call `num_updates` on, balanced outcome labels before; it counts its own calls, one a batch."""
    if num_updates < 0:
        raise ValueError(f"num_updates is {num_updates}; allowed: 0 or more")
    done = 0

    def either(score_BS: Floats, outcome_B: Floats, step_BS: Floats) -> tuple[Floats, Floats]:
        nonlocal done
        done += 1
        return (balanced if done <= num_updates else relabel)(score_BS, outcome_B, step_BS)

    return either


def balanced(score_BS: Floats, outcome_B: Floats, step_BS: Floats) -> tuple[Floats, Floats]:
    """Each step's label is its attempt's outcome, [B, S]; together the two classes weigh alike, whatever their share.

    A step that is not there, or whose attempt has no outcome, is NaN with weight 0. An outcome above one half is right.
    """
    known_BS = step_BS.astype(np.bool_) & np.isfinite(outcome_B)[:, None]
    right_BS = np.broadcast_to((outcome_B > 0.5)[:, None], known_BS.shape)
    num_right, num_wrong = 1 + (known_BS & right_BS).sum(), 1 + (known_BS & ~right_BS).sum()
    weight_BS = np.where(right_BS, num_wrong, num_right) / (num_right + num_wrong)
    return np.where(known_BS, right_BS.astype(float), np.nan), np.where(known_BS, weight_BS, 0.0)
