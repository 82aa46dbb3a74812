"""Attempts as an implicit reward reads them: token ids, how often each token counts, and the outcome.

An attempt is one row of tokens, read once, unless a step was sampled from another text (`Step.context`) or a token
straddles its border: such a step has a row of its own, and log-probabilities add up over the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stepcredit.core.log_ratios import Asked, questions, read_in, token_ids
from stepcredit.core.types import Floats, Record


@dataclass(frozen=True, eq=False)
class Attempt:
    """Rows of (ids [T], counts [T]), the reward in [0, 1], and where the attempt stands in the data."""

    rows: tuple[tuple[list[int], Floats], ...]
    outcome: float
    where: str

    @property
    def num_tokens(self) -> int:
        """Tokens that one pass reads."""
        return sum(len(ids) for ids, _ in self.rows)

    @property
    def room(self) -> int:
        """Tokens of its rows, padded to the longest: what a batch is made by."""
        return len(self.rows) * max(len(ids) for ids, _ in self.rows)


def rows(tokenizer: Any, asked_n: Sequence[Asked]) -> tuple[tuple[list[int], Floats], ...]:
    """The rows that answer these questions; a token counts once for each question whose continuation holds it."""
    ids_n, start_n = token_ids(tokenizer, asked_n)
    within_n = read_in(ids_n)
    found = {int(n): (ids_n[n], np.zeros(len(ids_n[n]))) for n in np.unique(within_n)}
    for ids, start, within in zip(ids_n, start_n, within_n, strict=True):
        found[int(within)][1][start : len(ids)] += 1
    return tuple(found.values())


def attempts(
    records: Iterable[Record], tokenizer: Any, *, limit: int, on_long: Literal["raise", "skip"], prompt_end: str,
    delimiter: str,
) -> list[Attempt]:  # fmt: skip
    """The attempts that have a scored outcome and a sampled step; rows are counted from 1 over all attempts.

    Raises ValueError naming the row for an attempt with a text over `limit` tokens, or a reward outside [0, 1]; and
    where there is none to learn from, or outcomes that never differ.
    """
    found: list[Attempt] = []
    num_seen = 0
    for record, leaf, row in _leaves(records):
        num_seen += 1
        tree = record.tree
        outcome = float(tree.reward_N[leaf])
        asked_n = questions(tree.problem, tree.solution(leaf), prompt_end=prompt_end, delimiter=delimiter)
        if not np.isfinite(outcome) or not asked_n:
            continue
        where = f"row {row} (problem {tree.problem.id!r})"
        if not 0 <= outcome <= 1:
            raise ValueError(f"{where} has the reward {outcome:g}; cross-entropy needs rewards in [0, 1]")
        attempt = Attempt(rows(tokenizer, asked_n), outcome, where)
        longest = max(len(ids) for ids, _ in attempt.rows)
        if longest <= limit:
            found.append(attempt)
        elif on_long == "raise":
            raise ValueError(
                f"{where} has {longest} tokens, the limit is {limit}; raise max_tokens if the model allows it, or leave "
                "long attempts out with on_long=skip"
            )
    if not found:
        raise ValueError(f"none of {num_seen} attempts has a scored outcome, a sampled step and at most {limit} tokens")
    if len({attempt.outcome for attempt in found}) == 1:
        raise ValueError(
            f"all {len(found)} scored attempts have the reward {found[0].outcome:g}: outcomes that never differ carry no "
            "signal; add harder or easier problems"
        )
    return found


def collate(chosen: Sequence[Attempt], pad_id: int) -> dict[str, Tensor]:
    """Rows padded to the right; `owner_BR` is 1 where row r belongs to attempt b."""
    flat = [(place, ids, counts) for place, attempt in enumerate(chosen) for ids, counts in attempt.rows]
    width = max(len(ids) for _, ids, _ in flat)
    token_ids_RT = np.full((len(flat), width), pad_id, dtype=np.int64)
    attention_RT, weight_RT = np.zeros((len(flat), width), dtype=np.int64), np.zeros((len(flat), width))
    owner_BR = np.zeros((len(chosen), len(flat)))
    for row, (place, ids, counts) in enumerate(flat):
        token_ids_RT[row, : len(ids)], attention_RT[row, : len(ids)] = ids, 1
        weight_RT[row, : len(ids)] = counts
        owner_BR[place, row] = 1
    named = {"token_ids_RT": token_ids_RT, "attention_RT": attention_RT, "weight_RT": weight_RT, "owner_BR": owner_BR,
             "outcome_B": np.array([attempt.outcome for attempt in chosen])}  # fmt: skip
    return {name: torch.as_tensor(array) for name, array in named.items()}


def _leaves(records: Iterable[Record]) -> Iterator[tuple[Record, int, int]]:
    """Each attempt with its row; a tree without one takes a row, as in the file it came from."""
    row = 0
    for record in records:
        row += not record.tree.leaves
        for leaf in record.tree.leaves:
            row += 1
            yield record, leaf, row
