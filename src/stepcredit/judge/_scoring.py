"""One pass per attempt: encode, bucket by length under a token budget, forward, read out. No torch here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from stepcredit.core.layout import Encoded, buckets, pad
from stepcredit.core.readout import Readout, judgment
from stepcredit.core.types import Bools, Cost, Floats, Ints, Judgment

Forward = Callable[[Ints, Bools, Ints], Floats]


def score_encoded(
    encoded: Sequence[Encoded], forward: Forward, readout: Readout, *, pad_id: int, token_budget: int, max_tokens: int
) -> list[Judgment]:
    """A Judgment per attempt, in order.

    An attempt over `max_tokens` is judged `truncated`: its scores are NaN, never those of a shortened text.
    """
    found: list[Judgment | None] = [None] * len(encoded)
    fits = [i for i, one in enumerate(encoded) if len(one.token_ids_T) <= max_tokens]
    for i in set(range(len(encoded))) - set(fits):
        found[i] = Judgment(float("nan"), np.full(len(encoded[i].read_S), np.nan), status="truncated")
    for batch in buckets([len(encoded[i].token_ids_T) for i in fits], token_budget):
        rows = [fits[b] for b in batch]
        token_ids_BT, attention_BT, read_BS, _ = pad([encoded[i] for i in rows], pad_id)
        started = time.perf_counter()
        logit_BSC = forward(token_ids_BT, attention_BT, read_BS)
        seconds = (time.perf_counter() - started) / len(rows)
        for row, i in enumerate(rows):
            cost = Cost(forwarded_tokens=len(encoded[i].token_ids_T), judge_calls=1, seconds=seconds)
            found[i] = judgment(logit_BSC[row, : len(encoded[i].read_S)], readout, cost)
    return [one for one in found if one is not None]
