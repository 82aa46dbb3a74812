"""The outcome read at the last step alone: the outcome reward model every step method must be compared with.

    log P(right) = log sigmoid(u_S)

Cobbe et al. 2021, arXiv:2110.14168, section 4 (solution-level verifier).
Degenerate: steps before the last are never trained; their scores mean nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from stepcredit.core.registry import register


@register("pooling", paper="arXiv:2110.14168", step_label_free=True, split_invariant=False)
def last(logit_BSC: Tensor, step_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Log P(right), log P(wrong), [B] nats."""
    u = logit_BSC[torch.arange(len(logit_BSC), device=logit_BSC.device), step_BS.sum(1) - 1, 0]
    return logsigmoid(u), logsigmoid(-u)
