"""A judge that knows each distinct step text by heart: nothing to compute, so that the credit alone limits it.

    u(step) = start + table[text of the step], [C] channels;      an unseen text keeps the start of the head

Taught by the trainer and the objectives of every other judge. What it reaches is what attempts and outcomes identify
about steps that recur, without the circuit that a network must first learn; what it cannot do is generalise to a text
it has not seen, or read what stands around a step. For worlds with few distinct steps only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stepcredit.core.layout import Encoded
from stepcredit.core.protocols import Judge, Solution
from stepcredit.core.readout import Readout, judgment
from stepcredit.core.types import Judgment, Problem, Record
from stepcredit.recipes._fit import Budget, Teaching, check_phases, objective_of, start_biases
from stepcredit.train.prm import Fit, fit
from stepcredit.train.samples import samples


class Lookup(nn.Module):
    """Logits beside a common start, [texts + 1, C], which weight decay draws to it; row 0 is every unknown text."""

    def __init__(self, texts: Sequence[str], readout: Readout, biases: Sequence[float]) -> None:
        super().__init__()
        self.row = {text: index for index, text in enumerate(dict.fromkeys(texts), start=1)}
        self.readout = readout
        self.table = nn.Embedding(len(self.row) + 1, readout.num_channels)
        nn.init.zeros_(self.table.weight)
        start = [*biases, *[0.0] * (readout.num_channels - len(biases))]
        self.start: Tensor
        self.register_buffer("start", torch.tensor(start))

    def encode(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Encoded]:
        """One token a sampled step, read where it stands."""
        rows = [[self.row.get(step.text, 0) for step in steps if step.sampled] for _, steps in attempts]
        return [Encoded(np.array(row, dtype=np.int64), np.arange(len(row))) for row in rows]

    def forward(self, token_ids_BT: Tensor, attention_BT: Tensor, read_BS: Tensor) -> Tensor:
        """Logits [B, S, C]."""
        found: Tensor = self.start + self.table(token_ids_BT.gather(1, read_BS.long()))
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A module for the trainer; a Judge for one list of attempts."""
        if len(args) == 1 and not kwargs and not isinstance(args[0], Tensor):
            return self._judged(args[0])
        return super().__call__(*args, **kwargs)

    def _judged(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        weight = (self.start + self.table.weight).detach().double().numpy()
        return [judgment(weight[one.token_ids_T], self.readout) for one in self.encode(attempts)]


def fit_lookup(
    records: Sequence[Record], *, teaching: Teaching, budget: Budget, seed: int,
    every: int = 0, on_update: Callable[[int, Judge], None] | None = None,
) -> tuple[Lookup, Fit]:  # fmt: skip
    """Teach a table the texts of the records' sampled steps. Same seed, same table.

    Raises ValueError for data that cannot teach, FilterCollapse for a filter that collapses.
    """
    check_phases(teaching, budget.num_updates)
    readout = teaching.readout
    texts = sorted({step.text for record in records for step in record.tree.steps if step.sampled})
    blank = Lookup(texts, readout, [])
    rows = samples(records, blank.encode, credit=teaching.credit, max_tokens=budget.max_tokens)
    judge = Lookup(texts, readout, start_biases(rows, readout))

    def recovered(rate: float) -> None:
        judge.readout = replace(readout, recovery=rate)

    done = fit(
        judge, rows, objective=objective_of(teaching), num_updates=budget.num_updates, batch_size=budget.batch_size,
        token_budget=budget.token_budget, learning_rate=budget.learning_rate, seed=seed, every=every,
        on_update=(lambda update: on_update(update, judge)) if on_update else None, on_recovery=recovered,
    )  # fmt: skip
    if done.recovery is not None:
        recovered(done.recovery)
    return judge, done
