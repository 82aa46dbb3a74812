"""The geometric mean of the step probabilities is the probability of a right outcome.

    log P(right) = 1/S sum_j log sigmoid(u_j)        log P(wrong) = log(1 - P(right))

"Learning Discriminative PRMs without Step Labels", SPOT workshop 2026 (OpenReview df3p10k2kq).
Differs from `broadcast` in the wrong attempts: one low step is enough to explain them.
Degenerate: one step is plain logistic regression. Not invariant to splitting a step in two.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from stepcredit.core.registry import register
from stepcredit.train.pooling._numerics import log_complement, masked_mean


@register("pooling", paper="OpenReview:df3p10k2kq", step_label_free=True, split_invariant=False)
def geometric_mean(logit_BSC: Tensor, step_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Log P(right), log P(wrong), [B] nats."""
    right = masked_mean(logsigmoid(logit_BSC[:, :, 0]), step_BS)
    return right, log_complement(right)
