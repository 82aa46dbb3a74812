"""Log-space numerics shared by the poolings."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = -1e9  # stands for log 0 where an exact -inf would give NaN gradients


def log_complement(log_p: Tensor) -> Tensor:
    """log(1 - exp(log_p)) for log_p <= 0, exact up to log_p = -1e-30; value and gradient stay finite as log_p -> 0."""
    near = log_p > -0.6931
    # Each branch gets an argument it can bear: where() alone would still send NaN back through the other one.
    small = torch.where(near, log_p, -1.0).clamp(max=-1e-30)
    large = torch.where(near, -1.0, log_p)
    return torch.where(near, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))


def log_rate(rate: float | Tensor, like: Tensor) -> Tensor:
    """Log of a probability given as number or tensor; log 0 is FLOOR."""
    tensor = torch.as_tensor(rate, dtype=like.dtype, device=like.device)
    return torch.where(tensor > 0, torch.log(tensor.clamp_min(1e-30)), torch.full_like(tensor, FLOOR))


def masked_mean(value_BS: Tensor, step_BS: Tensor) -> Tensor:
    """Mean over real steps, [B]."""
    return (value_BS * step_BS).sum(1) / step_BS.sum(1)
