"""One pass per attempt, and a beginning that attempts share read once: encode, plan, forward, read out. No torch here.

The tokens of a problem's attempts are planned together (`core/shared_prefixes`): what they have in common is forwarded once,
its keys and values kept (`core/key_values`) and spread over what follows; a backbone that cannot go on from keys and values
(an encoder, a recurrent one) is given each attempt whole. Scores are those of the attempt alone, up to rounding.
`forwarded_tokens` counts real tokens once: a shared one is split over the attempts that share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepcredit.core.key_values import KeyValues
from stepcredit.core.layout import Encoded
from stepcredit.core.protocols import Solution
from stepcredit.core.readout import judgment
from stepcredit.core.shared_prefixes import Segment, chunks, plan
from stepcredit.core.types import Cost, Floats, Ints, Judgment, Problem

CALL_TOKENS = {"cpu": 64}  # what a forward pass costs beside its tokens, in tokens: batches are cut accordingly
CALL_TOKENS_ELSEWHERE = 2048
_HELD = 8  # distinct tokens planned at once, in token budgets: an upper bound of the keys and values held


def _no_slots() -> Ints:
    return np.zeros(0, dtype=np.int64)


@dataclass
class Row:
    """What is read of an attempt so far: logits [S, C], NaN where not yet, the slots of its first tokens, its cost."""

    logit_SC: Floats
    slots: Ints = field(default_factory=_no_slots)
    tokens: int = 0
    seconds: float = 0.0


class ScorerJudge:
    """The Judge protocol over a `StepScorer` (see `judge/head`), trained or being trained."""

    def __init__(self, scorer: Any, token_budget: int = 16384) -> None:
        self.scorer, self.token_budget = scorer, token_budget

    def __call__(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        """One judgment per attempt, in order. Raises ValueError for a marker inside a step, naming the attempt."""
        return judged(self.scorer, attempts, lambda fits: score(self.scorer, fits, self.token_budget))


def judged(
    scorer: Any,
    attempts: Sequence[tuple[Problem, Solution]],
    read: Callable[[Sequence[Encoded]], Sequence[Row]],
) -> list[Judgment]:
    """Judgments of attempts whose rows `read` fills.

    An attempt without a sampled step is abstained on; one over the scorer's `max_tokens` is `truncated`: its scores are
    NaN, never those of a shortened text.
    """
    manifest = scorer.manifest
    found = [Judgment(float("nan"), np.zeros(0), status="abstained") for _ in attempts]
    index = [i for i, (_, steps) in enumerate(attempts) if any(step.sampled for step in steps)]
    with scorer.reading():
        encoded = scorer.encode([attempts[i] for i in index])
        fits = [len(one.token_ids_T) <= manifest.max_tokens for one in encoded]
        rows = iter(read([one for one, fit in zip(encoded, fits, strict=True) if fit]))
    for i, one, fit in zip(index, encoded, fits, strict=True):
        if fit:
            row = next(rows)
            cost = Cost(forwarded_tokens=row.tokens, judge_calls=1, seconds=row.seconds)
            found[i] = judgment(row.logit_SC, manifest.readout, cost)
        else:
            found[i] = Judgment(float("nan"), np.full(len(one.read_S), np.nan), status="truncated")
    return found


def score(scorer: Any, encoded: Sequence[Encoded], token_budget: int) -> list[Row]:
    """Each attempt read from its beginning; nothing is kept. Call inside `scorer.reading()`."""
    rows = [new_row(scorer, one) for one in encoded]
    for chunk in chunks([one.token_ids_T for one in encoded], _HELD * token_budget):
        extend(scorer, [encoded[i] for i in chunk], [rows[i] for i in chunk], KeyValues(), token_budget)
    return rows


def new_row(scorer: Any, one: Encoded) -> Row:
    """Of an attempt nothing of which is read."""
    return Row(np.full((len(one.read_S), scorer.manifest.readout.num_channels), np.nan))


def extend(
    scorer: Any,
    encoded: Sequence[Encoded],
    rows: Sequence[Row],
    store: KeyValues,
    token_budget: int,
    keep: bool = False,
) -> None:
    """Forward what lies behind each row's slots and fill its logits; with `keep`, all its tokens have slots then."""
    tokens, known = [one.token_ids_T for one in encoded], [len(row.slots) for row in rows]
    device = next(scorer.parameters()).device.type
    sizes = {"token_budget": token_budget, "call_tokens": CALL_TOKENS.get(device, CALL_TOKENS_ELSEWHERE)}
    levels, cost = plan(tokens, known, share=False, **sizes)
    if (shared := plan(tokens, known, share=True, **sizes))[1] < cost and scorer.continues:
        levels, _ = shared
    for level in levels:
        for batch in level:
            _forward(scorer, batch, encoded, rows, store, keep)


def _forward(
    scorer: Any, batch: Sequence[Segment], encoded: Sequence[Encoded], rows: Sequence[Row], store: KeyValues, keep: bool
) -> None:
    """One batch. Pasts end, and new tokens begin, at one column: distances between tokens are true ones in each row."""
    started = time.perf_counter()
    reads = [_reads(segment, encoded) for segment in batch]
    behind = max(segment.start for segment in batch)
    width = max(segment.length for segment in batch)
    token_ids_BT = np.full((len(batch), width), scorer.pad_id, dtype=np.int64)
    attention_BT = np.zeros((len(batch), behind + width), dtype=np.bool_)
    slot_BP = np.zeros((len(batch), behind), dtype=np.int64)
    read_BS = np.zeros((len(batch), max(1, max(len(read_S) for read_S in reads))), dtype=np.int64)
    for b, segment in enumerate(batch):
        first = segment.rows[0]
        token_ids_BT[b, : segment.length] = encoded[first].token_ids_T[segment.start : segment.stop]
        attention_BT[b, behind - segment.start : behind + segment.length] = True
        slot_BP[b, behind - segment.start :] = rows[first].slots[: segment.start]
        read_BS[b, : len(reads[b])] = reads[b] - segment.start
    stored = [b for b, segment in enumerate(batch) if keep or len(segment.rows) > 1]
    past = scorer.past(store.take(slot_BP)) if behind or stored else None
    logit_BSC = scorer.logits(token_ids_BT, attention_BT, read_BS, past)
    if stored:
        row_N = np.repeat(stored, [batch[b].length for b in stored])
        column_N = behind + np.concatenate([np.arange(batch[b].length) for b in stored])
        slots = store.put(past, row_N, column_N)
        for b, own in zip(stored, np.split(slots, np.cumsum([batch[b].length for b in stored])[:-1]), strict=True):
            path = np.concatenate([slot_BP[b, behind - batch[b].start :], own])
            for i in batch[b].rows:
                rows[i].slots = path
    seconds = (time.perf_counter() - started) / len(batch)
    for segment, read_S, logit_SC in zip(batch, reads, logit_BSC, strict=True):
        whole, rest = divmod(segment.length, len(segment.rows))
        for place, i in enumerate(segment.rows):
            own_S = _inside(segment, encoded[i].read_S)
            rows[i].logit_SC[own_S] = logit_SC[np.searchsorted(read_S, encoded[i].read_S[own_S])]
            rows[i].tokens += whole + (place < rest)
            rows[i].seconds += seconds / len(segment.rows)


def _inside(segment: Segment, read_S: Ints) -> Ints:
    return np.flatnonzero((read_S >= segment.start) & (read_S < segment.stop))


def _reads(segment: Segment, encoded: Sequence[Encoded]) -> Ints:
    """Positions read in a segment by any of its attempts, ascending: equal tokens need not be cut into equal steps."""
    return np.unique(np.concatenate([encoded[i].read_S[_inside(segment, encoded[i].read_S)] for i in segment.rows]))
