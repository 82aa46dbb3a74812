"""Hidden ok / broken chain: steps break (or repair) a state that only the last outcome shows.

    a_j = a_(j-1) keep_j + (1 - a_(j-1)) fix_j
    P(right) = a_S (1 - fn) + (1 - a_S) fp

    derivation  keep = c + (1 - c) sigmoid(u), fix = c, a_0 = 1     c = `recovery`: a number, or learned by the trainer
    retry       fix = sigmoid(u), keep = 1, a_0 = 0                 noisy-OR multiple-instance learning
    free        fix = sigmoid(v), keep = fix + (1 - fix) sigmoid(u), a_0 = 1

The chain is RSP's (arXiv:2609.39220, section 3), c = 0 is CRM's survival form (arXiv:2509.26578).
Departs: keep >= fix by construction, so that the two states cannot swap (`swap_free=False` reproduces RSP in the free
link); the verifier's false positive rate fp and false negative rate fn are inside the likelihood, fixed, because a free
last step absorbs them. Everything is in log space: [B, S, C] logits in, two [B] log-probabilities out.
Degenerate: one step is plain logistic regression of the outcome on it. A better likelihood is not better credit: a head
that reads the verdict off the last step has the best one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from stepcredit.core.chain import check_rates
from stepcredit.core.readout import Link
from stepcredit.core.registry import register
from stepcredit.train.pooling._numerics import FLOOR, log_complement, log_rate


@register("pooling", paper="arXiv:2609.39220", step_label_free=True, split_invariant=True)
def latent_chain(
    logit_BSC: Tensor, step_BS: Tensor, *, link: Link = "derivation", recovery: float | Tensor = 0.0, fp: float = 0.0,
    fn: float = 0.0, swap_free: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Log P(right), log P(wrong) of each attempt, [B] nats.

    Raises ValueError for verifier rates that say nothing, or a recovery rate that is a number outside [0, 1).
    """
    check_rates(fp, fn)
    if not isinstance(recovery, Tensor) and not 0 <= recovery < 1:
        raise ValueError(f"the recovery rate lies in [0, 1); got {recovery}")
    log_keep, log_break, log_fix, log_stay = _log_rates(logit_BSC, link, recovery, swap_free)
    start, other = (FLOOR, 0.0) if link == "retry" else (0.0, FLOOR)
    log_ok = torch.full_like(logit_BSC[:, 0, 0], start)
    log_broken = torch.full_like(log_ok, other)
    for j in range(logit_BSC.shape[1]):
        real = step_BS[:, j]
        next_ok = torch.logaddexp(log_ok + log_keep[:, j], log_broken + log_fix[:, j])
        next_broken = torch.logaddexp(log_ok + log_break[:, j], log_broken + log_stay[:, j])
        log_ok, log_broken = torch.where(real, next_ok, log_ok), torch.where(real, next_broken, log_broken)
    right = torch.logaddexp(log_ok + log_rate(1 - fn, log_ok), log_broken + log_rate(fp, log_ok))
    wrong = torch.logaddexp(log_ok + log_rate(fn, log_ok), log_broken + log_rate(1 - fp, log_ok))
    return right, wrong


def _log_rates(logit_BSC: Tensor, link: Link, recovery: float | Tensor, swap_free: bool) -> tuple[Tensor, ...]:
    """Log keep, log(1 - keep), log fix, log(1 - fix), each [B, S]."""
    u = logit_BSC[:, :, 0]
    if link == "retry":
        certain, never = torch.zeros_like(u), torch.full_like(u, FLOOR)
        return certain, never, logsigmoid(u), logsigmoid(-u)
    if link == "derivation":
        fix = log_rate(recovery, u).expand_as(u)
        stay = log_complement(fix) if isinstance(recovery, Tensor) or recovery > 0 else torch.zeros_like(u)
    else:
        fix, stay = logsigmoid(logit_BSC[:, :, 1]), logsigmoid(-logit_BSC[:, :, 1])
        if not swap_free:
            return logsigmoid(u), logsigmoid(-u), fix, stay
    return torch.logaddexp(fix, stay + logsigmoid(u)), stay + logsigmoid(-u), fix, stay
