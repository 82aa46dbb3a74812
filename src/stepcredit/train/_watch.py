"""Detect the collapse of a self-confirming filter while it trains, and stop with an explanation.

SPRM keeps a step only where the judge's sign already agrees with the outcome (arXiv:2507.01951). When every logit has
one sign, the other class is never kept and never receives a gradient: a fixed point from which plain training does not
return. Watched over a window of batches: the share of positive logits and the share kept of each class.
"""

from __future__ import annotations

from collections import deque

from torch import Tensor

WINDOW = 50  # updates
FLOOR_SHARE = 0.002  # a class kept less often than this over a whole window receives no gradient


class CollapseWatch:
    """Running shares of a filter; raises RuntimeError once a whole window is collapsed."""

    def __init__(self) -> None:
        self.rows: deque[tuple[float, float, float, float, float, float]] = deque(maxlen=WINDOW)

    def update(self, logit: Tensor, outcome: Tensor, weight: Tensor) -> None:
        """Add one batch: logits, outcomes and kept weights of its real steps, one dimension."""
        right, kept = outcome > 0.5, weight.to(outcome.device) > 0
        counts = (
            right.numel(),
            (logit > 0).sum(),
            right.sum(),
            (right & kept).sum(),
            (~right).sum(),
            (~right & kept).sum(),
        )
        self.rows.append(tuple(float(c) for c in counts))  # type: ignore[arg-type]
        if len(self.rows) == WINDOW:
            shares = self.shares()
            if min(shares["kept_right"], shares["kept_wrong"]) < FLOOR_SHARE:
                side, starved = ("positive", "wrong") if shares["kept_wrong"] < FLOOR_SHARE else ("negative", "right")
                raise RuntimeError(
                    f"the filter collapsed: over the last {WINDOW} updates {shares['positive']:.1%} of logits are positive and "
                    f"steps of {starved} attempts are kept {min(shares['kept_right'], shares['kept_wrong']):.2%} of the time, so "
                    f"that class gets no gradient and every logit stays {side}. Start from zero bias, warm up longer on the "
                    'plain loss (warmup_updates), or balance the classes (weighting="released")'
                )

    def shares(self) -> dict[str, float]:
        """Share of positive logits, and share kept among steps of right and of wrong attempts, over the window."""
        total = [sum(column) for column in zip(*self.rows, strict=True)] or [0.0] * 6
        pairs = {"positive": (1, 0), "kept_right": (3, 2), "kept_wrong": (5, 4)}
        return {name: total[a] / total[b] if total[b] else float("nan") for name, (a, b) in pairs.items()}

    def warnings(self) -> tuple[str, ...]:
        """Sentences for the report: the last window's shares, when there was a filter."""
        if not self.rows:
            return ()
        return (
            ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in self.shares().items())
            + " (filter, last window)",
        )
