"""Whether the filter of self-supervised step labels (SPRM, arXiv:2507.01951) has collapsed onto one side.

The filter keeps a step's label where the judge already agrees with it. A judge that puts all steps on one side then
keeps no label of the other, receives no gradient to leave it, and looks as if training had converged. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepcredit.core.types import Floats

MIN_STEPS = 20  # a class with fewer scored steps than this says nothing about a collapse


class FilterCollapse(ValueError):
    """The self-supervised filter trains one side only: the run stops and says why."""


@dataclass(frozen=True)
class FilterState:
    """What the self-supervised filter keeps at this moment of training."""

    share_positive: float
    kept_share_right: float
    kept_share_wrong: float
    num_right: int
    num_wrong: int

    @property
    def collapsed(self) -> bool:
        """Whether one class, seen on at least 20 steps as the other is, keeps under 1 % of its steps."""
        enough = min(self.num_right, self.num_wrong) >= MIN_STEPS
        return enough and min(self.kept_share_right, self.kept_share_wrong) < 0.01

    def lines(self) -> list[str]:
        """The finding in sentences."""
        found = [
            f"{self.share_positive:.1%} of the scores are above one half; the filter keeps "
            f"{self.kept_share_right:.1%} of {self.num_right} steps of right attempts and "
            f"{self.kept_share_wrong:.1%} of {self.num_wrong} of wrong ones."
        ]
        if self.collapsed:
            lost = "right" if self.kept_share_right < self.kept_share_wrong else "wrong"
            found.append(
                f"COLLAPSED: steps of {lost} attempts no longer receive a gradient, so the head can only confirm "
                "itself. Start it at zero bias, warm up on the plain outcome loss, and balance the classes."
            )
        elif min(self.num_right, self.num_wrong) < MIN_STEPS:
            found.append(f"Undecided: a collapse shows only with at least {MIN_STEPS} steps of each class.")
        return found

    def check(self) -> None:
        """Raise FilterCollapse with the explanation where the filter has collapsed."""
        if self.collapsed:
            raise FilterCollapse(" ".join(self.lines()))


def filter_state(score_S: Floats, right_S: Floats) -> FilterState:
    """State of the filter over scored steps: `score_S` in [0, 1], `right_S` the outcome of each step's attempt.

    A score of exactly one half is on neither side. NaN, in either, is left out. Degenerate: the share of a class
    without steps is NaN.
    """
    score, right = np.asarray(score_S, dtype=np.float64), np.asarray(right_S, dtype=np.float64)
    if score.shape != right.shape:
        raise ValueError(f"scores and outcomes: expected one [S], got {score.shape} and {right.shape}")
    known = ~np.isnan(score) & ~np.isnan(right)
    score, is_right = score[known], right[known] > 0.5

    def share(of: Floats) -> float:
        return float(np.mean(of)) if of.size else float("nan")

    return FilterState(
        share((score > 0.5).astype(np.float64)),
        share((score[is_right] > 0.5).astype(np.float64)),
        share((score[~is_right] < 0.5).astype(np.float64)),
        int(is_right.sum()),
        int((~is_right).sum()),
    )
