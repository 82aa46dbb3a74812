"""SPRM's filter inside training: `credit/self_supervised` on the scores of one batch, where train may not import credit.

arXiv:2507.01951, section 3. The method sees a chain a row, of as many steps as the row's mask, without text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from stepcredit.core.types import Credit, Floats, Outcome, Problem, Step, Tree
from stepcredit.credit.self_supervised import self_supervised


def sprm_filter(weighting: Literal["paper", "released"]) -> Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]:
    """`credit/self_supervised` on one batch of scores, for the trainer's `relabel`."""

    def relabel(score_BS: Floats, outcome_B: Floats, step_BS: Floats) -> tuple[Floats, Floats]:
        rows = [np.flatnonzero(mask) for mask in step_BS]
        trees = [_bare_chain(len(row), outcome) for row, outcome in zip(rows, outcome_B, strict=True)]
        scores = [Credit(np.r_[np.nan, score_S[row]], "value", np.r_[0.0, np.ones(len(row))], "judge")
                  for row, score_S in zip(rows, score_BS, strict=True)]  # fmt: skip
        label_BS, weight_BS = np.full(score_BS.shape, np.nan), np.zeros(score_BS.shape)
        for index, credit in enumerate(self_supervised(trees, scores=scores, weighting=weighting)):
            label_BS[index, rows[index]], weight_BS[index, rows[index]] = credit.values_N[1:], credit.weight_N[1:]
        return label_BS, weight_BS

    return relabel


def _bare_chain(num_steps: int, reward: float) -> Tree:
    """A chain with an outcome and no text: all the filter looks at."""
    scored = Outcome(reward, correct=reward > 0.5) if np.isfinite(reward) else None
    steps = (Step("", kind="prompt", sampled=False), *[Step("")] * num_steps)
    return Tree(Problem("", ""), steps, np.arange(num_steps + 1) - 1, (*[None] * num_steps, scored))
