"""From a head's channel logits to a Judgment: the test-time reading of each way of training.

    latent_chain   derivation: keep = c + (1 - c) sigmoid(u), fix = c      a_0 = 1      (c: recovery rate, 0 by default)
                   retry:      fix = sigmoid(u), keep = 1                  a_0 = 0
                   free:       fix = sigmoid(v), keep = fix + (1 - fix) sigmoid(u),  a_0 = 1
                   step score = filtered a_j, score = a_S
    anything else  ok = sigmoid(u); step score = ok, score = aggregate(ok)

u and v are channels 0 and 1. keep >= fix by construction, so that the two states cannot swap (RSP, arXiv:2609.39220,
has both free; `swap_free=False` there). Posteriors use the outcome and are never a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from stepcredit.core import chain
from stepcredit.core.aggregate import Aggregation, aggregate
from stepcredit.core.types import Cost, Floats, Judgment

Link = Literal["derivation", "retry", "free"]


@dataclass(frozen=True)
class Readout:
    """How to read a head: which pooling trained it, the chain's link and recovery rate, the aggregation otherwise."""

    pooling: str = "latent_chain"
    link: Link = "derivation"
    recovery: float = 0.0
    swap_free: bool = True
    aggregation: Aggregation = "min"

    def __post_init__(self) -> None:
        if self.link not in get_args(Link):
            raise ValueError(f"link is {self.link!r}; allowed: {', '.join(get_args(Link))}")
        if self.aggregation not in get_args(Aggregation):
            raise ValueError(f"aggregation is {self.aggregation!r}; allowed: {', '.join(get_args(Aggregation))}")
        if not 0 <= self.recovery < 1:
            raise ValueError(f"the recovery rate lies in [0, 1); got {self.recovery}")

    @property
    def is_chain(self) -> bool:
        """Whether the head's channels are transition rates of the hidden chain."""
        return self.pooling == "latent_chain"

    @property
    def num_channels(self) -> int:
        """Channels the head needs."""
        return 2 if self.is_chain and self.link == "free" else 1


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))


def rates(logit_SC: Floats, readout: Readout) -> tuple[Floats, Floats, float]:
    """keep_S, fix_S and the start a_0 of the chain."""
    first = sigmoid(logit_SC[:, 0])
    if readout.link == "retry":
        return np.ones_like(first), first, 0.0
    if readout.link == "derivation":
        return readout.recovery + (1.0 - readout.recovery) * first, np.full_like(first, readout.recovery), 1.0
    fix = sigmoid(logit_SC[:, 1])
    return (fix + (1.0 - fix) * first if readout.swap_free else first), fix, 1.0


def judgment(logit_SC: Floats, readout: Readout, cost: Cost | None = None) -> Judgment:
    """The Judgment of one attempt from logits [S, C]. A non-finite logit makes the judge abstain, not score 0."""
    logits = np.asarray(logit_SC, dtype=np.float64)
    if logits.ndim != 2 or logits.shape[1] != readout.num_channels:
        raise ValueError(f"expected logits [S, {readout.num_channels}], got {list(logits.shape)}")
    cost = cost or Cost()
    if logits.shape[0] == 0 or not np.all(np.isfinite(logits)):
        return Judgment(float("nan"), np.full(logits.shape[0], np.nan), status="abstained", cost=cost)
    if not readout.is_chain:
        ok_S = sigmoid(logits[:, 0])
        return Judgment(aggregate(ok_S, readout.aggregation), ok_S, {"ok": ok_S}, cost=cost)
    keep_S, fix_S, start = rates(logits, readout)
    state_S = chain.filtered(keep_S, fix_S, start)
    channels = {"fix": fix_S} if readout.link == "retry" else {"keep": keep_S, "fix": fix_S}
    return Judgment(float(state_S[-1]), state_S, channels, cost=cost)
