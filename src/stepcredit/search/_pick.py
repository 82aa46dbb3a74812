"""What the selection methods share: which attempts stand, and ties broken by `rng`, never by the outcome."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.aggregate import Scoring, attempt_score
from stepcredit.core.protocols import Rng
from stepcredit.core.types import Floats, Judgment, Tree


def standing(tree: Tree, num: int | None) -> tuple[int, ...]:
    """The first `num` leaves in node order, all by default. Raises ValueError for more than there are, or none."""
    leaves = tree.leaves
    if not leaves:
        raise ValueError(f"problem {tree.problem.id!r} has no attempt to choose from")
    if num is not None and not 1 <= num <= len(leaves):
        raise ValueError(f"problem {tree.problem.id!r}: num is {num}; allowed: 1 to its {len(leaves)} attempts")
    return leaves[:num]


def scores(tree: Tree, judgments: Sequence[Judgment], num: int | None, scoring: Scoring) -> Floats:
    """Scores of the standing attempts, NaN where the judge abstained. Judgments align with `tree.leaves`."""
    leaves = standing(tree, num)
    if len(judgments) != len(tree.leaves):
        raise ValueError(
            f"problem {tree.problem.id!r}: {len(tree.leaves)} attempts need as many judgments, got {len(judgments)}"
        )
    return np.array([attempt_score(judgment, scoring) for judgment in judgments[: len(leaves)]])


def one_of(candidates: Sequence[int], rng: Rng) -> int:
    """A uniform choice; one draw from `rng` however many candidates there are."""
    return int(candidates[min(int(rng.random() * len(candidates)), len(candidates) - 1)])


def winner(votes: Sequence[str | None], weight_G: Floats, rng: Rng) -> int:
    """Position of a voter for the answer with the most weight; tied answers, then its voters, are drawn uniformly.

    A NaN weight casts no vote. Where nobody votes, any position is drawn.
    """
    voters_of: dict[str, list[int]] = {}
    for index, answer in enumerate(votes):
        if answer is not None and not np.isnan(weight_G[index]):
            voters_of.setdefault(answer, []).append(index)
    if not voters_of:
        return one_of(range(len(votes)), rng)
    total_of = {answer: float(weight_G[voters].sum()) for answer, voters in voters_of.items()}
    best = max(total_of.values())
    # Sums of the same weights in another order may differ in the last bit: that is a tie.
    tied = [i for i, total in enumerate(total_of.values()) if total >= best - 1e-9 * abs(best)]
    return one_of(list(voters_of.values())[one_of(tied, rng)], rng)
