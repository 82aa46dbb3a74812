"""Cross-fitting over task halves, and intervals that cover the tasks and the split.

Each of S splits cuts the tasks in two halves; each half is scored by a judge taught on the other, so that a split scores
every attempt once. A statistic is taken within each half, averaged over halves and splits. The interval resamples tasks
(within every split at once) and splits, so that it covers who was drawn and how they were cut; it does not retrain, so
the luck of teaching shows only through the splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.rng import rng
from stepcredit.core.stats import ratio
from stepcredit.core.types import Bools, Estimate, Floats, Ints
from stepcredit.evaluate.auroc import auroc, auroc_of_counts

GROUPS = 200  # score groups of a resampled AUROC; the value itself is exact


@dataclass(frozen=True, eq=False)
class Measured:
    """A statistic: its value, one replicate per resample [R], the number of units, and the unit."""

    value: float
    replicate_R: Floats
    n: int
    unit: str

    def estimate(self) -> Estimate:
        """The value with the 2.5 and 97.5 % quantiles of its replicates; NaN where there is none."""
        known = self.replicate_R[np.isfinite(self.replicate_R)]
        low, high = np.quantile(known, [0.025, 0.975]) if known.size else (np.nan, np.nan)
        return Estimate(self.value, float(low), float(high), self.n, self.unit)

    def minus(self, other: Measured) -> Measured:
        """The paired difference: both were resampled together."""
        difference = f"difference in {self.unit}"
        return Measured(self.value - other.value, self.replicate_R - other.replicate_R, self.n, difference)


class Splits:
    """S task-disjoint halvings of C tasks, `second_SC` True where a task is in the second half, and R resamples."""

    def __init__(self, num_tasks: int, num_splits: int, seed: int, num_resamples: int) -> None:
        if num_tasks < 4 or num_splits < 1 or num_resamples < 1:
            raise ValueError(
                "cross-fitting needs at least 4 tasks, 1 split and 1 resample; "
                f"got {num_tasks}, {num_splits}, {num_resamples}"
            )
        second = [rng(seed, "split", split).permutation(num_tasks) >= num_tasks // 2 for split in range(num_splits)]
        self.second_SC: Bools = np.array(second)
        draw = rng(seed, "splits", "bootstrap")
        self.task_RC = draw.multinomial(num_tasks, np.full(num_tasks, 1 / num_tasks), num_resamples).astype(np.float64)
        self.split_RS = draw.multinomial(num_splits, np.full(num_splits, 1 / num_splits), num_resamples) / num_splits

    def auroc(self, score_SU: Floats, label_U: Floats, task_U: Ints) -> Measured:
        """AUROC of units' scores under each split, within each half; ties one half.

        Replicates rank scores in 200 groups, of equal mass over both classes alike, and are shifted to the exact value.
        """
        num_splits, num_tasks = self.second_SC.shape
        shape = (num_tasks, num_splits, 2, 2, GROUPS)
        cells_X = np.zeros(int(np.prod(shape)))
        exact_SH = np.empty((num_splits, 2))
        for split, score_U in enumerate(score_SU):
            for half in (False, True):
                of = np.flatnonzero(self.second_SC[split, task_U] == half)
                exact_SH[split, int(half)] = auroc(score_U[of], label_U[of])
                group = _groups(score_U[of], label_U[of])
                at = (task_U[of], np.int64(split), np.int64(half), label_U[of].astype(np.int64), group)
                np.add.at(cells_X, np.ravel_multi_index(np.broadcast_arrays(*at), shape), 1.0)

        def within(total: Floats) -> Floats:  # [..., S, 2 halves, 2 classes, groups] -> [..., S]
            return np.asarray(auroc_of_counts(total[..., 1, :], total[..., 0, :]).mean(axis=-1))

        return self._measured(cells_X.reshape(shape), within, float(exact_SH.mean()), len(label_U), "AUROC")

    def mean(self, worth_SC: Floats, unit: str) -> Measured:
        """Mean over tasks of a number each task has under each split."""
        cells = np.stack([worth_SC.T, np.ones_like(worth_SC.T)], axis=-1)
        value, num_tasks = float(worth_SC.mean()), worth_SC.shape[1]
        return self._measured(cells, lambda total: ratio(total[..., 0], total[..., 1]), value, num_tasks, unit)

    def _measured(
        self, cells_CSX: Floats, statistic: Callable[[Floats], Floats], value: float, n: int, unit: str
    ) -> Measured:
        """Replicates of the mean over splits of a statistic of sums over tasks, shifted so that they centre on `value`."""
        total = (self.task_RC @ cells_CSX.reshape(len(cells_CSX), -1)).reshape(-1, *cells_CSX.shape[1:])
        replicate_R = (statistic(total) * self.split_RS).sum(axis=-1)
        shift = value - float(statistic(cells_CSX.sum(axis=0)).mean())
        return Measured(value, replicate_R + shift, n, unit)


def _groups(score_U: Floats, label_U: Floats) -> Ints:
    """Rank groups in which both classes together have equal mass; equal scores share a group."""
    _, inverse = np.unique(score_U, return_inverse=True)
    num_right, num_wrong = max(label_U.sum(), 1.0), max((1 - label_U).sum(), 1.0)
    mass = np.bincount(inverse, label_U / num_right + (1 - label_U) / num_wrong) / 2
    behind = np.concatenate([[0.0], np.cumsum(mass)[:-1]])
    return np.asarray(np.minimum(behind * GROUPS, GROUPS - 1).astype(np.int64)[inverse])


def halves(splits: Splits, task_A: Sequence[int] | Ints) -> list[tuple[int, Ints, Ints]]:
    """(split, attempts to teach on, attempts to score) for both halves of each split."""
    task = np.asarray(task_A)
    found = []
    for split, second_C in enumerate(splits.second_SC):
        second_A = second_C[task]
        found += [(split, np.flatnonzero(second_A == half), np.flatnonzero(second_A != half)) for half in (False, True)]
    return found
