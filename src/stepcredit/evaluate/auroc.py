"""Area under the ROC curve of step scores, with an interval that resamples problems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.protocols import Rng
from stepcredit.core.stats import clustered_bootstrap, ratio
from stepcredit.core.types import Estimate, Floats

RANKS = 512  # groups of scores kept apart in resampled AUROCs


def auroc(score_U: ArrayLike, label_U: ArrayLike) -> float:
    """P(a right unit scores above a wrong one), ties one half. Degenerate: one class only is NaN.

    >>> auroc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])  # 3.5 of 4 pairs
    0.875
    """
    label = np.asarray(label_U, dtype=np.float64)
    group_U = np.unique(np.asarray(score_U, dtype=np.float64), return_inverse=True)[1]
    num = int(group_U.max()) + 1 if group_U.size else 1
    return float(_auroc_of(np.concatenate([np.bincount(group_U, label, num), np.bincount(group_U, 1 - label, num)])))


def _auroc_of(total: Floats) -> Floats:
    """AUROC from counts of right, then wrong, units per score group in rising order, [..., 2 G]."""
    return auroc_of_counts(*np.split(total, 2, axis=-1))


def auroc_of_counts(right: Floats, wrong: Floats) -> Floats:
    """AUROC from counts of right and of wrong units per score group in rising order, [..., G] each; one class is NaN."""
    below = np.cumsum(wrong, axis=-1) - wrong / 2
    return ratio((right * below).sum(axis=-1), right.sum(axis=-1) * wrong.sum(axis=-1))


def auroc_estimate(
    score_U: Floats, label_U: Floats, problem_U: Sequence[str], rng: Rng, num_resamples: int
) -> Estimate:
    """Exact AUROC; its interval ranks scores in 512 groups of about equal mass, which moves it by less than 0.001."""
    value = auroc(score_U, label_U)
    group_U = np.unique(score_U, return_inverse=True)[1]
    if group_U.max() >= RANKS:
        order = np.argsort(np.argsort(score_U, kind="stable"), kind="stable") * RANKS // len(score_U)
        # Equal scores stay together: a group takes the rank of its lowest member.
        lowest = np.full(group_U.max() + 1, RANKS)
        np.minimum.at(lowest, group_U, order)
        group_U = lowest[group_U]
    num = int(group_U.max()) + 1
    index_of = {problem: i for i, problem in enumerate(dict.fromkeys(problem_U))}
    cluster_U = np.array([index_of[problem] for problem in problem_U])
    cell_U = cluster_U * 2 * num + np.where(label_U == 1, 0, num) + group_U
    sums_CK = np.bincount(cell_U, minlength=len(index_of) * 2 * num).reshape(len(index_of), 2 * num)
    binned = clustered_bootstrap(
        _auroc_of, sums_CK, "AUROC", rng=rng, n=len(score_U), num_resamples=num_resamples
    )  # fmt: skip
    shift = value - binned.value
    return Estimate(value, binned.low + shift, binned.high + shift, binned.n, "AUROC")
