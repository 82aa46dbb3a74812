"""Watch a training run and stop it with an explanation: a collapsed filter, a loss that is no longer a number.

SPRM keeps a step only where the judge's sign already agrees with the outcome (arXiv:2507.01951). When every logit has
one sign, the other class is never kept and never receives a gradient: a fixed point from which plain training does not
return. What counts as collapsed is `core.diagnostics.filter_state`, over windows of 50 updates.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.diagnostics import FilterState, filter_state
from stepcredit.core.types import Floats

WINDOW = 50  # updates


class CollapseWatch:
    """The state of a filter over windows of updates; raises FilterCollapse at the end of a collapsed one."""

    def __init__(self) -> None:
        self.rows: list[tuple[Floats, Floats]] = []
        self.last: FilterState | None = None

    def update(self, score_S: Floats, right_S: Floats) -> None:
        """Add one batch: scores in [0, 1] of its real steps, and the outcome of each step's attempt."""
        self.rows.append((score_S, right_S))
        if len(self.rows) == WINDOW:
            self.last = self._state()
            self.rows = []
            self.last.check()

    def _state(self) -> FilterState:
        score_S, right_S = (np.concatenate(column) for column in zip(*self.rows, strict=True))
        return filter_state(score_S, right_S)

    def lines(self) -> tuple[str, ...]:
        """Sentences for the report on the last full window (of a shorter run: on what there is); none without filter."""
        state = self.last or (self._state() if self.rows else None)
        return tuple(f"Filter: {line}" for line in state.lines()) if state else ()


def check_loss(update: int, loss: float) -> None:
    """Raise ValueError for a loss that is not finite: what was learned is lost."""
    if not np.isfinite(loss):
        raise ValueError(f"the loss is {loss} at update {update}: training has diverged; lower the learning rate")
