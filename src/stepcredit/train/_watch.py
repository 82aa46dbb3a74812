"""Watch a training run and stop it with an explanation: a collapsed filter, a loss that is no longer a number.

SPRM keeps a step only where the judge's sign already agrees with the outcome (arXiv:2507.01951). When every logit has
one sign, the other class is never kept and never receives a gradient: a fixed point from which plain training does not
return. What counts as collapsed is `core.filter_state`, over windows of 50 updates.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.filter_state import FilterState, filter_state
from stepcredit.core.types import Floats

WINDOW = 50  # updates
SHARES = ("positive", "kept_right", "kept_wrong")


class CollapseWatch:
    """The state of a filter over windows of updates; raises FilterCollapse at the end of a collapsed one."""

    def __init__(self) -> None:
        self.rows: list[tuple[Floats, Floats]] = []
        self.states: list[FilterState] = []

    @property
    def last(self) -> FilterState | None:
        """The state over the last whole window."""
        return self.states[-1] if self.states else None

    def update(self, score_S: Floats, right_S: Floats) -> None:
        """Add one batch: scores in [0, 1] of its real steps, and the outcome of each step's attempt."""
        self.rows.append((score_S, right_S))
        if len(self.rows) == WINDOW:
            self.states.append(self._state())
            self.rows = []
            self.states[-1].check()

    def _state(self) -> FilterState:
        score_S, right_S = (np.concatenate(column) for column in zip(*self.rows, strict=True))
        return filter_state(score_S, right_S)

    def lines(self) -> tuple[str, ...]:
        """Sentences for the report on the last full window (of a shorter run: on what there is); none without filter."""
        state = self.last or (self._state() if self.rows else None)
        found = [f"Filter: {line}" for line in state.lines()] if state else []
        if len(self.states) > 1:
            some = self.states[:: max(1, len(self.states) // 8)]
            told = ", ".join(
                f"{s.share_positive:.0%} / {s.kept_share_right:.0%} / {s.kept_share_wrong:.0%}" for s in some
            )
            found.append(f"Filter while training (scores above one half / kept of right / kept of wrong): {told}.")
        return tuple(found)

    def shares(self) -> dict[str, float]:
        """For the log while training: shares of the last whole window; empty before its end, and without a filter."""
        if self.last is None:
            return {}
        of = (self.last.share_positive, self.last.kept_share_right, self.last.kept_share_wrong)
        return dict(zip(SHARES, of, strict=True))


def check_loss(update: int, loss: float) -> None:
    """Raise ValueError for a loss that is not finite: what was learned is lost."""
    if not np.isfinite(loss):
        raise ValueError(f"the loss is {loss} at update {update}: training has diverged; lower the learning rate")
