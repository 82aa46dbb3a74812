"""Scoring for search: a judge that remembers what it has read, so that a longer attempt costs only its new tokens.

    tokens forwarded = tokens of the attempts - tokens they have in common with an attempt read before

A drop-in Judge: beam search, guided tree search or a chat call it with whole attempts, in any order; a branch shares its
trunk, and the scores are those of `ScorerJudge`, up to rounding. Attempts are tokenised whole each time, so a token that
merges across the border of two calls is read again, never misread. Remembered attempts are forgotten oldest use first
beyond `memory_tokens`, and all at once when the scorer's weights have changed. No torch here.
Degenerate: with a backbone that cannot go on from keys and values (an encoder) nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepcredit.core.key_values import KeyValues
from stepcredit.core.layout import Encoded
from stepcredit.core.protocols import Solution
from stepcredit.core.shared_prefixes import in_order, prefix_length
from stepcredit.core.types import Floats, Ints, Judgment, Problem
from stepcredit.judge._scoring import Row, extend, judged, new_row, score


@dataclass(frozen=True)
class _Read:
    """An attempt read before: a slot per token, and the logits at its read positions."""

    token_ids_T: Ints
    slots_T: Ints
    read_S: Ints
    logit_SC: Floats


class IncrementalScorer:
    """The Judge protocol over a `StepScorer`, with a memory of at most about `memory_tokens` tokens between calls.

    Raises ValueError for a memory below one token.
    """

    def __init__(self, scorer: Any, token_budget: int = 16384, memory_tokens: int = 65536) -> None:
        if memory_tokens < 1:
            raise ValueError(f"memory_tokens is {memory_tokens}; allowed: 1 or more")
        self.scorer, self.token_budget, self.memory_tokens = scorer, token_budget, memory_tokens
        self.forget()

    def forget(self) -> None:
        """Start afresh."""
        self._memory: list[_Read] = []  # oldest use first
        self._store = KeyValues()
        self._weights: object = None

    @property
    def num_tokens(self) -> int:
        """Tokens remembered; one that attempts share counts once."""
        return self._store.num_tokens

    def __call__(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        """One judgment per attempt, in order. Raises ValueError for a marker inside a step, naming the attempt."""
        return judged(self.scorer, attempts, self._read)

    def _read(self, encoded: Sequence[Encoded]) -> list[Row]:
        if not self.scorer.continues:
            return score(self.scorer, encoded, self.token_budget)
        if (weights := self.scorer.version()) != self._weights:
            self.forget()
            self._weights = weights
        used, rows = self._recall(encoded)
        try:
            extend(self.scorer, encoded, rows, self._store, self.token_budget, keep=True)
        except BaseException:
            self.forget()  # slots may have been taken that no attempt holds
            raise
        found = [_Read(e.token_ids_T, r.slots, e.read_S, r.logit_SC) for e, r in zip(encoded, rows, strict=True)]
        stay = [one for place, one in enumerate(self._memory) if place not in used]
        self._memory = _longest([*stay, *(self._memory[place] for place in used), *found])
        self._fit()
        return rows

    def _recall(self, encoded: Sequence[Encoded]) -> tuple[list[int], list[Row]]:
        """For each attempt a row with what is remembered of it, and which memories that took."""
        rows = [new_row(self.scorer, one) for one in encoded]
        num = len(self._memory)
        order, _ = in_order([*(one.token_ids_T for one in self._memory), *(one.token_ids_T for one in encoded)])
        # Sorted by tokens, the memory with most in common stands next before or next behind.
        before: list[int | None] = _last_memory(order, num)
        behind = _last_memory(order[::-1], num)[::-1]
        used: dict[int, None] = {}
        for place, item in enumerate(order):
            if item >= num:
                near = [m for m in (before[place], behind[place]) if m is not None]
                best = max(near, key=lambda m: self._common(m, encoded[item - num]), default=None)
                if best is not None:
                    used[best] = None
                    self._fill(rows[item - num], encoded[item - num], self._memory[best])
        return list(used), rows

    def _common(self, memory: int, one: Encoded) -> int:
        return prefix_length(self._memory[memory].token_ids_T, one.token_ids_T)

    def _fill(self, row: Row, one: Encoded, memory: _Read) -> None:
        """Take over what the two have in common, up to the first position that was not read then."""
        num = prefix_length(memory.token_ids_T, one.token_ids_T)
        asked_S = one.read_S[one.read_S < num]
        known = np.isin(asked_S, memory.read_S)
        if not known.all():
            num = int(asked_S[~known][0])
            asked_S = asked_S[asked_S < num]
        row.slots = memory.slots_T[:num]
        row.logit_SC[: len(asked_S)] = memory.logit_SC[np.searchsorted(memory.read_S, asked_S)]

    def _fit(self) -> None:
        """Forget the oldest attempts until the rest fits, and free what none holds."""
        while True:
            self._store.keep([one.slots_T for one in self._memory])
            if self._store.num_tokens <= self.memory_tokens or not self._memory:
                return
            over = self._store.num_tokens - self.memory_tokens
            while over > 0 and self._memory:
                over -= len(self._memory.pop(0).slots_T)


def _last_memory(order: Sequence[int], num: int) -> list[int | None]:
    """For each place in the order the memory (an item below `num`) last seen before it."""
    found: list[int | None] = []
    last = None
    for item in order:
        found.append(last)
        last = item if item < num else last
    return found


def _longest(reads: Sequence[_Read]) -> list[_Read]:
    """Without what is the beginning of a later one, in the order given: an attempt stands for its beginnings."""
    order, common = in_order([one.token_ids_T for one in reads])
    covered = {a for a, num in zip(order, common[1:], strict=False) if num == len(reads[a].token_ids_T)}
    return [one for place, one in enumerate(reads) if place not in covered]
