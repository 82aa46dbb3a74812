"""Every step's value is fitted to the outcome by squared error: an outcome value model.

    v_j = 1/2 + u_j / 4, or sigmoid(u_j) with `squash`        loss of an attempt: 1/S sum_j (v_j - y)^2

OVM, arXiv:2311.09724, section 3: a linear head under squared error; its fit at step j is P(right | steps up to j), a
value and not the step's soundness. `broadcast` is its cross-entropy form. AutoPSV (arXiv:2405.16802) marks errors where
such values drop: `credit/value_drop`. Departs: a mean over steps, not a sum over tokens, so that an attempt weighs the
same whatever its length (`by_length=True` sums over steps); the affine map changes nothing a linear head can say, and a
fresh one says one half.
Not a likelihood: the two numbers are -1/S sum (1 - v_j)^2 and -1/S sum v_j^2, and -(y first + (1 - y) second) is the
squared error plus y (1 - y). A squashed value that is surely wrong has next to no gradient, a linear one 2 (v - y) / 4.
Degenerate: with constant outcomes every step learns the constant. Linear values leave [0, 1]; readings are cut to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stepcredit.core.registry import register
from stepcredit.train.pooling._numerics import masked_mean


@register("pooling", paper="arXiv:2311.09724", step_label_free=True, split_invariant=False, likelihood="none")
def value(
    logit_BSC: Tensor, step_BS: Tensor, *, squash: bool = False, by_length: bool = False
) -> tuple[Tensor, Tensor]:
    """Minus the mean (with `by_length`, summed) squared error of the steps if right and if wrong, [B]."""
    u = logit_BSC[:, :, 0]
    v = torch.sigmoid(u) if squash else 0.5 + 0.25 * u
    scale = step_BS.sum(1) if by_length else torch.ones_like(u[:, 0])
    return -masked_mean((1 - v) ** 2, step_BS) * scale, -masked_mean(v**2, step_BS) * scale
