"""Log-space numerics shared by the poolings."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = -1e9  # stands for log 0 where an exact -inf would give NaN gradients


def log_complement(log_p: Tensor) -> Tensor:
    """log(1 - exp(log_p)) for log_p <= 0, with a finite gradient as log_p -> 0."""
    clamped = log_p.clamp(max=-1e-7)
    return torch.where(clamped > -0.6931, torch.log(-torch.expm1(clamped)), torch.log1p(-torch.exp(clamped)))


def log_rate(rate: float | Tensor, like: Tensor) -> Tensor:
    """Log of a probability given as number or tensor; log 0 is FLOOR."""
    tensor = torch.as_tensor(rate, dtype=like.dtype, device=like.device)
    return torch.where(tensor > 0, torch.log(tensor.clamp_min(1e-30)), torch.full_like(tensor, FLOOR))


def masked_mean(value_BS: Tensor, step_BS: Tensor) -> Tensor:
    """Mean over real steps, [B]."""
    return (value_BS * step_BS).sum(1) / step_BS.sum(1)
