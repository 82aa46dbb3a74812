"""The weakest step decides: a soft minimum of the step logits is the attempt's logit.

    s = sum_j w_j u_j,   w = softmax(-u / temperature)        log P(right) = log sigmoid(s)

LCA, arXiv:2606.27739 (the pooling of outcome-supervised process rewards), in the form of PURE's return,
arXiv:2504.15275, section 3. Departs: LCA's exact equation is not public; this is PURE's sum used as a training pool.
`detach_weights=True` keeps the gradient out of the weights. temperature -> 0 is the minimum, -> infinity the mean.
Not monotone: ds/du_j = w_j (1 - (u_j - s) / temperature) is negative for a step more than a temperature above s, so that
a right outcome pushes good steps down; with detached weights it never is.
Degenerate: one step is its own minimum. Not invariant to splitting a step in two.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from stepcredit.core.registry import register


@register("pooling", paper="arXiv:2606.27739", step_label_free=True, split_invariant=False)
def softmin(
    logit_BSC: Tensor, step_BS: Tensor, *, temperature: float = 1.0, detach_weights: bool = False
) -> tuple[Tensor, Tensor]:
    """Log P(right), log P(wrong), [B] nats. Raises ValueError unless temperature > 0."""
    if temperature <= 0:
        raise ValueError(f"softmin needs temperature > 0, got {temperature}")
    u = logit_BSC[:, :, 0]
    weight = torch.softmax((-u / temperature).masked_fill(~step_BS, float("-inf")), dim=1)
    pooled = ((weight.detach() if detach_weights else weight) * u.masked_fill(~step_BS, 0.0)).sum(1)
    return logsigmoid(pooled), logsigmoid(-pooled)
