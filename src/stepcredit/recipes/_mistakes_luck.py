"""The luck fp of `recipes/first_mistakes` where no oracle counts it: chosen by the likelihood of held-out outcomes.

    fp* = argmax over FPS of  sum over held-out attempts of  r log(fp + (1 - fp) q) + (1 - r) log[(1 - fp)(1 - q)]

q is what a judge taught under the same fp, on the other attempts, makes of an attempt: the product of its steps' keeps.
Outcomes tell luck from harm badly: a slip that comes out one time in two is a broken step with fp 1/2, or a kept one in
two with fp 0, and the two differ only on attempts that slip twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.types import Cost, Judgment, Record
from stepcredit.recipes._mistakes_judge import fit_lines

FPS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
START = 2  # where on the grid the climb begins
MOST, NUM_ITERATIONS = 4500, 100  # attempts and steps of each trial fit


@dataclass(frozen=True)
class Luck:
    """The chosen fp, the mean held-out log-likelihood of every one tried, and what trying cost."""

    fp: float
    height_of: Mapping[float, float]
    cost: Cost


def chosen_luck(records: Sequence[Record], *, longest: int) -> Luck:
    """Climb the grid from its middle until both neighbours are lower; ties to the lower. Viewed records, scored ones used.

    Two thirds of at most `MOST` attempts teach, the rest decide. Raises ValueError for fewer than three scored attempts.
    """
    scored = [r for r in records if not np.isnan(r.tree.reward_N[r.tree.leaves[0]])][:MOST]
    if len(scored) < 3:
        raise ValueError(
            f"luck is chosen on outcomes: {len(scored)} of {len(records)} attempts have one; 3 or more are needed"
        )
    taught, held = scored[: 2 * len(scored) // 3], scored[2 * len(scored) // 3 :]
    height_of, cost, at = dict[float, float](), Cost(), START
    while True:
        near = [place for place in (at - 1, at, at + 1) if 0 <= place < len(FPS)]
        for fp in (FPS[place] for place in near if FPS[place] not in height_of):
            judge = fit_lines(taught, taught="outcomes", fp=fp, longest=longest, num_iterations=NUM_ITERATIONS)
            height_of[fp], cost = log_likelihood(held, judge(held), fp), cost + judge.cost
        best = max(near, key=lambda place: (height_of[FPS[place]], -place))
        if best == at:
            return Luck(FPS[at], height_of, cost)
        at = best


def log_likelihood(records: Sequence[Record], judgments: Sequence[Judgment], fp: float) -> float:
    """Mean log-likelihood of the outcomes, nats an attempt; q held within 1e-6 of its ends."""
    q_A = np.clip([j.step_scores_S[-1] for j in judgments], 1e-6, 1 - 1e-6)
    r_A = np.array([r.tree.reward_N[r.tree.leaves[0]] for r in records], dtype=np.float64)
    return float(np.mean(r_A * np.log(fp + (1 - fp) * q_A) + (1 - r_A) * np.log((1 - fp) * (1 - q_A))))
