"""Every step is asked for its attempt's outcome: the outcome-reward baseline.

    log P(right) = 1/S sum_j log sigmoid(u_j)        log P(wrong) = 1/S sum_j log(1 - sigmoid(u_j))

OVM, arXiv:2311.09724, section 3 (there MSE on every token; here BCE on every step). What it estimates at step j is
P(right | steps up to j), a value, not the step's soundness. A composite likelihood: the two do not sum to one.
Degenerate: with constant outcomes every step learns the constant.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from stepcredit.core.registry import register
from stepcredit.train.pooling._numerics import masked_mean


@register("pooling", paper="arXiv:2311.09724", step_label_free=True, split_invariant=False, likelihood="composite")
def broadcast(logit_BSC: Tensor, step_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Mean step log-likelihood of a right and of a wrong outcome, [B] nats."""
    u = logit_BSC[:, :, 0]
    return masked_mean(logsigmoid(u), step_BS), masked_mean(logsigmoid(-u), step_BS)
