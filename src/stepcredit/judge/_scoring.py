"""One pass per attempt: encode, bucket by length under a token budget, forward, read out. No torch here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stepcredit.core.layout import Encoded, buckets, pad
from stepcredit.core.protocols import Solution
from stepcredit.core.readout import Readout, judgment
from stepcredit.core.types import Bools, Cost, Floats, Ints, Judgment, Problem

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


class ScorerJudge:
    """The Judge protocol over a `StepScorer` (see `judge/head`), trained or being trained."""

    def __init__(self, scorer: Any, token_budget: int = 16384) -> None:
        self.scorer, self.token_budget = scorer, token_budget

    def __call__(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        """One judgment per attempt, in order. Raises ValueError for a marker inside a step, naming the attempt."""
        scorer, manifest = self.scorer, self.scorer.manifest
        found = [Judgment(float("nan"), np.zeros(0), status="abstained") for _ in attempts]
        rows = [row for row, (_, steps) in enumerate(attempts) if any(step.sampled for step in steps)]
        was_training = scorer.training
        scorer.eval()
        try:
            judged = score_encoded(
                scorer.encode([attempts[row] for row in rows]), scorer.logits, manifest.readout, pad_id=scorer.pad_id,
                token_budget=self.token_budget, max_tokens=manifest.max_tokens,
            )  # fmt: skip
        finally:
            scorer.train(was_training)
        for row, one in zip(rows, judged, strict=True):
            found[row] = one
        return found
