"""Prefixes read once: the keys and values of what they have in common are computed for one and expanded over all.

    tokens forwarded = distinct tokens of the prefixes' tree + one for each prefix, instead of the sum of their lengths

The prefixes of one attempt, or of many attempts at one problem, are a tree of tokens (`core/shared_prefixes`); every
segment of it is forwarded once and kept (`core/key_values`). A prefix's last token is left to be read behind the rest,
for the logits that its continuations start from. Batches of a call, which run from short prefixes to long ones, go on
from what earlier ones have read, as far as `memory_tokens` allows. Where sharing would cost more than reading every
prefix, padding and calls counted, nothing is done. No torch here: tensors are touched through their own methods alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stepcredit.core.key_values import KeyValues, Pairs
from stepcredit.core.log_ratios import read_in
from stepcredit.core.shared_prefixes import MIN_SAVED, Plan, in_order, plan, prefix_length
from stepcredit.core.types import Bools, Ints

CALL_TOKENS = {"cpu": 64}  # what a forward pass costs beside its tokens, in tokens
CALL_TOKENS_ELSEWHERE = 2048
Forward = Callable[[Ints, Bools, Pairs], Any]


class SharedPrefixes:
    """What is read during one call of `sample`: `prefix_ids` are all its prefixes, which come in `num_batches`.

    `forward(token_ids_BT, attention_BL, pairs)` reads T new tokens behind L - T past ones, padding masked on both sides,
    and returns a cache that has `layers` with `keys` and `values`; `continues()`, asked before it is relied on, says
    whether it can. `num_forwarded` counts real tokens.
    """

    def __init__(self, prefix_ids: Sequence[Sequence[int]], num_batches: int, forward: Forward,
                 continues: Callable[[], bool], *, call_tokens: int, token_budget: int = 16384,
                 memory_tokens: int = 65536) -> None:  # fmt: skip
        self._forward, self._memory_tokens = forward, memory_tokens
        self._sizes = {"token_budget": token_budget, "call_tokens": call_tokens}
        self.num_forwarded = 0
        self._store = KeyValues()
        self._read: list[tuple[Ints, Ints]] = []  # tokens and their slots; none begins another
        self.pays = self._would_pay(prefix_ids, num_batches) and continues()

    def _would_pay(self, prefix_ids: Sequence[Sequence[int]], num_batches: int) -> bool:
        lengths = [len(ids) for ids in prefix_ids]
        texts, _ = _whole(prefix_ids)
        levels, cost = plan(texts, [0] * len(texts), share=True, **self._sizes)
        # One batch is padded to its longest; batches are sorted by length, and counted as if they were not padded.
        alone = len(lengths) * max(lengths, default=0) if num_batches == 1 else sum(lengths)
        calls = (num_batches - 1) * self._sizes["call_tokens"]
        return _new(levels) + len(lengths) + MIN_SAVED <= sum(lengths) and cost + len(lengths) + calls < alone

    def expand(self, prefix_ids: Sequence[Sequence[int]]) -> tuple[Pairs, Bools] | None:
        """Keys and values of each prefix of a batch but for its last token, on the right of [P, L], and where they are real.

        None where it does not pay in this call, or in this batch, where what was read before has been forgotten.
        """
        longest = max(len(ids) for ids in prefix_ids)
        if not self.pays or longest == 1:
            return None
        tokens, text_P = _whole(prefix_ids)
        known = self._known(tokens)
        levels, _ = plan(tokens, [len(slots) for slots in known], share=True, **self._sizes)
        if _new(levels) + len(prefix_ids) > sum(len(ids) for ids in prefix_ids):
            return None
        slots = self._fill(tokens, known, levels)
        self._remember(tokens, slots)
        self.num_forwarded += _new(levels)
        slot_PL = np.zeros((len(prefix_ids), longest - 1), dtype=np.int64)
        real_PL = np.zeros((len(prefix_ids), longest - 1), dtype=np.bool_)
        for place, ids in enumerate(prefix_ids):
            slot_PL[place, longest - len(ids) :] = slots[text_P[place]][: len(ids) - 1]
            real_PL[place, longest - len(ids) :] = True
        pairs = self._store.take(slot_PL)
        self._forget()
        return pairs, real_PL

    def _known(self, tokens: Sequence[Ints]) -> list[Ints]:
        """The slots of what each text has in common with one that has been read."""
        order, _ = in_order([*(ids for ids, _ in self._read), *tokens])
        num = len(self._read)
        found = [np.zeros(0, dtype=np.int64)] * len(tokens)
        # Sorted by tokens, the text with most in common is the nearest read before or behind.
        for way in (order, order[::-1]):
            last = None
            for item in way:
                if item < num:
                    last = self._read[item]
                elif last is not None:
                    common = prefix_length(tokens[item - num], last[0])
                    if common > len(found[item - num]):
                        found[item - num] = last[1][:common]
        return found

    def _fill(self, tokens: Sequence[Ints], known: Sequence[Ints], levels: Plan) -> list[Ints]:
        """Forward the plan; the slots of every text."""
        slots = list(known)
        for batch in (batch for level in levels for batch in level):
            behind, width = max(s.start for s in batch), max(s.length for s in batch)
            token_BT = np.zeros((len(batch), width), dtype=np.int64)
            real_BL = np.zeros((len(batch), behind + width), dtype=np.bool_)
            slot_BP = np.zeros((len(batch), behind), dtype=np.int64)
            for b, segment in enumerate(batch):
                first = segment.rows[0]
                token_BT[b, : segment.length] = tokens[first][segment.start : segment.stop]
                real_BL[b, behind - segment.start : behind + segment.length] = True
                slot_BP[b, behind - segment.start :] = slots[first][: segment.start]
            past = self._forward(token_BT, real_BL, self._store.take(slot_BP))
            lengths = np.array([segment.length for segment in batch])
            column_N = behind + np.concatenate([np.arange(length) for length in lengths])
            made = self._store.put(past, np.repeat(np.arange(len(batch)), lengths), column_N)
            for b, own in enumerate(np.split(made, np.cumsum(lengths)[:-1])):
                path = np.concatenate([slot_BP[b, behind - batch[b].start :], own])
                for row in batch[b].rows:
                    slots[row] = path
        return slots

    def _remember(self, tokens: Sequence[Ints], slots: Sequence[Ints]) -> None:
        """Without what is the beginning of another."""
        every = [*self._read, *zip(tokens, slots, strict=True)]
        whole = np.unique(read_in([ids.tolist() for ids, _ in every]))
        self._read = [every[place] for place in whole]

    def _forget(self) -> None:
        """All that was read, where it is more than may be kept; and slots that nothing holds."""
        self._store.keep([slots for _, slots in self._read])
        if self._store.num_tokens > self._memory_tokens:
            self._read = []
            self._store = KeyValues()


def _whole(prefix_ids: Sequence[Sequence[int]]) -> tuple[list[Ints], Ints]:
    """The prefixes but for their last tokens, without those that begin another; and which of these each is in, [P]."""
    within_P = read_in([list(ids[:-1]) for ids in prefix_ids])
    places, text_P = np.unique(within_P, return_inverse=True)
    return [np.array(prefix_ids[place][:-1], dtype=np.int64) for place in places], text_P


def _new(levels: Plan) -> int:
    return sum(segment.length for level in levels for batch in level for segment in batch)
