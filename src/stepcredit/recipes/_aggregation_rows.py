"""A pool of attempts as rows, one an answer: what its attempts' scores say together, and what a score over rows is worth.

    mean    mean_i logit s_i                        over the attempts i that state the answer
    odds    log mean_i s_i / (1 - s_i)              near the best of them
    max     max_i logit s_i                         best-of-N
    sum     sum_i s_i                               a weighted vote
    and the logarithm of their number               1 x odds + 1 x count is a vote weighted by odds

Rows come from draws: N of a problem's G attempts, the same draws for every method compared. Ties share equally.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stepcredit.core.protocols import Rng
from stepcredit.core.types import Bools, Floats, Ints
from stepcredit.recipes._bon32 import Pools

Pooled = Literal["mean", "odds", "max", "sum"]
CLIP = 1e-4  # a score of exactly 1 (float16 judges) says no more than odds of 10,000 to 1


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of B pools: features, the share of right attempts behind a row, its problem; where each pool begins."""

    feature_RF: Floats
    right_R: Floats
    problem_R: Ints
    start_B: Ints
    num_draws: int

    @property
    def pool_R(self) -> Ints:
        """The pool of each row, 0 to B - 1."""
        return np.repeat(np.arange(len(self.start_B)), np.diff(np.append(self.start_B, len(self.right_R))))

    def of(self, keep_P: Bools) -> Rows:
        """The rows of some problems."""
        return self._where(keep_P[self.problem_R])

    def informative(self) -> Rows:
        """The pools in which some row is right and not all are: the others say nothing of a choice."""
        some_B = np.add.reduceat(self.right_R, self.start_B) > 0
        all_B = np.minimum.reduceat(self.right_R, self.start_B) == 1
        return self._where((some_B & ~all_B)[self.pool_R])

    def _where(self, keep_R: Bools) -> Rows:
        start_B = np.flatnonzero(np.diff(self.pool_R[keep_R], prepend=-1))
        return Rows(self.feature_RF[keep_R], self.right_R[keep_R], self.problem_R[keep_R], start_B, self.num_draws)


def logit(score: Floats) -> Floats:
    """Logarithm of the odds of a score, clipped to odds of 10,000 to 1 either way."""
    clipped = np.clip(score, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)))


def draws(pools: Pools, size: int, num: int, rng: Rng) -> Ints:
    """`num` random subsets of `size` attempts of each problem, [D, P, size]; all attempts once where size is all."""
    num_problems, num_attempts = pools.right_PG.shape
    if not 1 <= size <= num_attempts:
        raise ValueError(f"a draw has {size} attempts; allowed: 1 to the {num_attempts} of a pool")
    if size == num_attempts:
        return np.tile(np.arange(num_attempts), (1, num_problems, 1))
    return np.argsort(rng.random((num, num_problems, num_attempts)), axis=-1)[..., :size]


def drawn(value_PGX: NDArray[Any], draw_DPN: Ints) -> NDArray[Any]:
    """Values of the drawn attempts, [D, P, N, ...]."""
    return value_PGX[np.arange(len(value_PGX))[:, None], draw_DPN]


def rows_of(pools: Pools, draw_DPN: Ints, blocks: Sequence[tuple[Floats, Pooled]], *, by_answer: bool = True) -> Rows:
    """Rows of the drawn pools, features block after block, then the logarithm of an answer's number of attempts.

    A block is values [D, P, N, F] and how the attempts of a row are pooled. Not `by_answer`: every attempt is a row.
    """
    num_draws, num_problems, size = draw_DPN.shape
    answer_DPN = drawn(pools.answer_PG, draw_DPN)
    pool_DPN = np.broadcast_to(np.arange(num_draws * num_problems).reshape(num_draws, num_problems, 1), draw_DPN.shape)
    width = max(int(answer_DPN.max()) + 1, size)
    row_M = (pool_DPN * width + (answer_DPN if by_answer else np.arange(size))).ravel()
    order = np.argsort(row_M, kind="stable")
    start_R = np.flatnonzero(np.diff(row_M[order], prepend=-1))
    size_R = np.diff(np.append(start_R, len(order))).astype(np.float64)
    same_DPNN = answer_DPN[..., :, None] == answer_DPN[..., None, :]
    count_R = same_DPNN.sum(axis=-1).ravel()[order][start_R]
    columns = []
    for value_DPNF, how in blocks:
        value = value_DPNF.reshape(len(order), -1)[order]
        if how == "max":
            columns.append(np.maximum.reduceat(value, start_R))
        elif how == "odds":
            columns.append(np.log(np.add.reduceat(np.exp(value), start_R) / size_R[:, None]))
        else:
            total = np.add.reduceat(value, start_R)
            columns.append(total if how == "sum" else total / size_R[:, None])
    columns.append(np.log(count_R)[:, None])
    right_R = np.add.reduceat(drawn(pools.right_PG, draw_DPN).ravel()[order], start_R) / size_R
    pool_R = row_M[order][start_R] // width
    start_B = np.flatnonzero(np.diff(pool_R, prepend=-1))
    return Rows(np.concatenate(columns, axis=1), right_R, pool_R % num_problems, start_B, num_draws)


def worth(rows: Rows, score_R: Floats) -> Floats:
    """Chance that the row with the best score is right, by problem in order, mean over draws; ties share."""
    best_R = np.maximum.reduceat(score_R, rows.start_B)[rows.pool_R]
    top_R = (score_R >= best_R - 1e-9).astype(np.float64)
    worth_B = np.add.reduceat(top_R * rows.right_R, rows.start_B) / np.add.reduceat(top_R, rows.start_B)
    return np.asarray(worth_B.reshape(rows.num_draws, -1).mean(axis=0))
