"""From a head's channel logits to a Judgment: the test-time reading of each way of training.

    latent_chain   derivation: keep = c + (1 - c) sigmoid(u), fix = c      a_0 = 1      (c: recovery rate, 0 by default)
                   retry:      fix = sigmoid(u), keep = 1                  a_0 = 0
                   free:       fix = sigmoid(v), keep = fix + (1 - fix) sigmoid(u),  a_0 = 1
                   step score = filtered a_j, score = a_S
    buffer         right, wrong, buffer = softmax(u, 0, v); step score = right, score = aggregate(right)
    value          ok = 1/2 + u / 4, cut to [0, 1], or sigmoid(u) where `squash`; step score = ok, score = aggregate(ok)
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
    """How to read a head: which pooling trained it, the chain's link and recovery rate, the aggregation otherwise.

    `squash` is that of the `value` pooling.
    """

    pooling: str = "latent_chain"
    link: Link = "derivation"
    recovery: float = 0.0
    swap_free: bool = True
    aggregation: Aggregation = "min"
    squash: bool = False

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
        return 2 if (self.is_chain and self.link == "free") or self.pooling == "buffer" else 1


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))


def logit(rate: float) -> float:
    """log(p / (1 - p)), the inverse of `sigmoid`; a rate within 1e-6 of 0 or 1 is held there, so that it stays finite."""
    rate = min(max(rate, 1e-6), 1 - 1e-6)
    return float(np.log(rate / (1 - rate)))


def start_rate(base_rate: float, mean_steps: float, link: Link) -> float:
    """The rate at which a chain of `mean_steps` equal steps predicts the share of right attempts, in [0, 1].

        keep = base_rate^(1 / steps)                 derivation; free, whose fix starts rare
        fix = 1 - (1 - base_rate)^(1 / steps)        retry

    >>> start_rate(0.25, 2.0, "derivation"), start_rate(0.75, 2.0, "retry")
    (0.5, 0.5)
    """
    share = 1 - base_rate if link == "retry" else base_rate  # of attempts in which no step changes the state
    unchanged = float(share ** (1 / mean_steps))
    return 1 - unchanged if link == "retry" else unchanged


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
        channels = _plain_channels(logits, readout)
        ok_S = channels["right" if readout.pooling == "buffer" else "ok"]
        return Judgment(aggregate(ok_S, readout.aggregation), ok_S, channels, cost=cost)
    keep_S, fix_S, start = rates(logits, readout)
    state_S = chain.filtered(keep_S, fix_S, start)
    channels = {"fix": fix_S} if readout.link == "retry" else {"keep": keep_S, "fix": fix_S}
    return Judgment(float(state_S[-1]), state_S, channels, cost=cost)


def _plain_channels(logit_SC: Floats, readout: Readout) -> dict[str, Floats]:
    """Named step outputs of a head that is no chain."""
    u = logit_SC[:, 0]
    if readout.pooling == "buffer":
        given_3S = np.stack([u, np.zeros_like(u), logit_SC[:, 1]])
        share_3S = np.exp(given_3S - given_3S.max(axis=0))
        return dict(zip(("right", "wrong", "buffer"), share_3S / share_3S.sum(axis=0), strict=True))
    if readout.pooling == "value" and not readout.squash:
        return {"ok": np.clip(0.5 + 0.25 * u, 0.0, 1.0)}
    return {"ok": sigmoid(u)}
