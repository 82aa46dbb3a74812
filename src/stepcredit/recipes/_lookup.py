"""Teaching a table of step texts (`train/lookup`) by the objectives of every other judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stepcredit.core.types import Record
from stepcredit.recipes._fit import Budget, Teaching, check_phases, objective_of, start_biases


def fit_lookup(records: Sequence[Record], *, teaching: Teaching, budget: Budget, seed: int) -> tuple[Any, Any]:
    """The `train.lookup.Lookup` that is taught the texts of the records' sampled steps, and its `train.prm.Fit`.

    Same seed, same table. Raises ValueError for data that cannot teach, FilterCollapse for a filter that collapses.
    """
    from stepcredit.train.lookup import Lookup
    from stepcredit.train.prm import fit
    from stepcredit.train.samples import samples

    check_phases(teaching, budget.num_updates)
    readout = teaching.readout
    texts = sorted({step.text for record in records for step in record.tree.steps if step.sampled})
    blank = Lookup(texts, readout, [])
    rows = samples(records, blank.encode, credit=teaching.credit, max_tokens=budget.max_tokens)
    judge = Lookup(texts, readout, start_biases(rows, readout))
    done = fit(
        judge, rows, objective=objective_of(teaching), num_updates=budget.num_updates, batch_size=budget.batch_size,
        token_budget=budget.token_budget, learning_rate=budget.learning_rate, seed=seed,
    )  # fmt: skip
    if done.recovery is not None:
        judge.readout = replace(readout, recovery=done.recovery)
    return judge, done
