"""Right, wrong or undecided: each step is asked for the outcome, and a buffer takes what its label may have wrong.

    p_right, p_wrong, p_buffer = softmax(u, 0, v)        u and v: channels 0 and 1
    log P(right) = 1/S [ sum_(j<S) log(p_right + beta p_buffer) + log p_right_S ]
    log P(wrong) = 1/S [ sum_(j<S) log(p_wrong + beta p_buffer) + log(1 - p_right_S) ]

FreePRM, arXiv:2506.03570; the last step has a clean label and p_right alone. `factor="random"` is the paper's
random buffer factor, beta = 1 with probability p_buffer and else 0, by its mean over the draw (without gradient through
the probability of the draw): p_buffer log(p_right + p_buffer) + (1 - p_buffer) log p_right. beta = 0 is what the released
trainer minimises (but for a wrong last step): there the buffer reaches a metric and never the gradient. Departs: wrong is
the softmax's zero, so that u stays the log-odds of right against wrong; the last step counts once, where the released
script may repeat it.
A composite likelihood over steps. A step's own pair sums to 1 + (2 beta - 1) p_buffer: to one at beta = 1/2 only; above,
p_buffer = 1 on all steps but the last explains every outcome.
Degenerate: one step is logistic regression on p_right; without a buffer (v = -infinity) this is `broadcast`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from stepcredit.core.registry import register
from stepcredit.train.pooling._numerics import log_rate, masked_mean

Factor = Literal["fixed", "random"]


@register("pooling", paper="arXiv:2506.03570", step_label_free=True, split_invariant=False, likelihood="composite")
def buffer(logit_BSC: Tensor, step_BS: Tensor, *, beta: float = 0.5, factor: Factor = "fixed") -> tuple[Tensor, Tensor]:
    """Mean step log-likelihood of a right and of a wrong outcome, [B] nats; `beta` has no effect on a random factor.

    Raises ValueError for fewer than two channels, beta outside [0, 1], or an unknown factor.
    """
    if logit_BSC.shape[2] < 2:
        raise ValueError(f"buffer needs two channels, right and buffer against wrong; got {logit_BSC.shape[2]}")
    if not 0 <= beta <= 1:
        raise ValueError(f"beta lies in [0, 1]; got {beta}")
    if factor not in get_args(Factor):
        raise ValueError(f"factor is {factor!r}; allowed: {', '.join(get_args(Factor))}")
    u, v = logit_BSC[:, :, 0], logit_BSC[:, :, 1]
    right, wrong, unsure = torch.log_softmax(torch.stack([u, torch.zeros_like(u), v]), dim=0)
    is_last = torch.arange(step_BS.shape[1], device=u.device) == step_BS.sum(1, keepdim=True) - 1
    share = unsure.detach().exp()

    def shared(log_p: Tensor) -> Tensor:
        if factor == "fixed":
            return torch.logaddexp(log_p, unsure + log_rate(beta, unsure))
        mixed: Tensor = share * torch.logaddexp(log_p, unsure) + (1 - share) * log_p
        return mixed

    return (
        masked_mean(torch.where(is_last, right, shared(right)), step_BS),
        masked_mean(torch.where(is_last, torch.logaddexp(wrong, unsure), shared(wrong)), step_BS),
    )
