"""Whether scores mean what they say: Brier score and skill, expected calibration error, reliability diagram.

    Brier = mean (score - label)^2                     skill = 1 - Brier / (base (1 - base)),   base = mean label
    ECE = sum_b n_b / n |mean score_b - mean label_b|

Brier, Monthly Weather Review 1950; ECE: Guo et al., arXiv:1706.04599 (equal-width bins), arXiv:1909.10155 (equal-mass).
The base rate is that of the data measured, so the constant to beat is the best constant there is: skill 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.aggregate import Scoring, attempt_score
from stepcredit.core.protocols import Rng
from stepcredit.core.stats import cluster_sums, clustered_bootstrap, ratio
from stepcredit.core.tree import prefix_labels
from stepcredit.core.types import Estimate, Floats, Ints, Record
from stepcredit.evaluate._attempts import NothingToMeasure, attempts

Bins = Literal["width", "mass"]


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram: `num` units with scores in [low, high], their mean score and share right."""

    low: float
    high: float
    score: float
    right: float
    num: int


def _checked(score_U: ArrayLike, label_U: ArrayLike) -> tuple[Floats, Floats]:
    score, label = np.asarray(score_U, dtype=np.float64), np.asarray(label_U, dtype=np.float64)
    if score.ndim != 1 or score.shape != label.shape or score.size == 0:
        raise ValueError(f"scores and labels: expected one non-empty [U], got {score.shape}, {label.shape}")
    if not ((score >= 0) & (score <= 1) & (label >= 0) & (label <= 1)).all():
        raise NothingToMeasure("calibration needs scores and labels in [0, 1]: a score that is no probability has none")
    return score, label


def brier(score_U: ArrayLike, label_U: ArrayLike) -> float:
    """Mean squared distance of probability and label; 0 is perfect, a constant 1/2 gives 1/4.

    >>> brier([1.0, 0.5], [1, 0])
    0.125
    """
    score, label = _checked(score_U, label_U)
    return float(((score - label) ** 2).mean())


def brier_skill(score_U: ArrayLike, label_U: ArrayLike) -> float:
    """Share of the base rate's Brier score that the judge removes; under 0 is worse than a constant.

    Degenerate: labels of one class leave nothing to remove: NaN.

    >>> brier_skill([1.0, 0.5], [1, 0])  # base 1/2: 1 - 0.125 / 0.25
    0.5
    """
    score, label = _checked(score_U, label_U)
    return float(_skill(np.array([((score - label) ** 2).sum(), label.sum(), label.size])))


def _skill(total: Floats) -> Floats:
    """Skill from sums of squared error, labels and ones; labels are 0 or 1."""
    base = ratio(total[..., 1], total[..., 2])
    return 1 - ratio(ratio(total[..., 0], total[..., 2]), base * (1 - base))


def _bin_of(score_U: Floats, num_bins: int, bins: Bins) -> Ints:
    """Bin of each score: right-open intervals, the last closed. Equal scores share a bin, so mass bins may merge."""
    if bins not in get_args(Bins):
        raise ValueError(f"bins is {bins!r}; allowed: {', '.join(get_args(Bins))}")
    if num_bins < 1:
        raise ValueError(f"num_bins is {num_bins}; allowed: at least 1")
    grid = np.linspace(0, 1, num_bins + 1)[1:-1]
    edges = grid if bins == "width" else np.unique(np.quantile(score_U, grid))
    return np.searchsorted(edges, score_U, side="right").astype(np.int64)


def ece(score_U: ArrayLike, label_U: ArrayLike, *, num_bins: int = 10, bins: Bins = "width") -> float:
    """Expected calibration error over bins of equal width or equal mass; biased upwards in small samples.

    >>> ece([0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1])
    0.25
    """
    score, label = _checked(score_U, label_U)
    bin_U = _bin_of(score, num_bins, bins)
    return float(np.abs(np.bincount(bin_U, score - label)).sum() / score.size)


def reliability(score_U: ArrayLike, label_U: ArrayLike, *, num_bins: int = 10, bins: Bins = "width") -> list[Bin]:
    """The bars of a reliability diagram in rising order; empty bins are left out.

    >>> [(bar.num, bar.score, bar.right) for bar in reliability([0.25, 0.25, 0.75], [0, 1, 1])]
    [(2, 0.25, 0.5), (1, 0.75, 1.0)]
    """
    score, label = _checked(score_U, label_U)
    bin_U = _bin_of(score, num_bins, bins)
    found = []
    for b in np.unique(bin_U):
        inside = score[bin_U == b]
        low, high = (b / num_bins, (b + 1) / num_bins) if bins == "width" else (inside.min(), inside.max())
        found.append(Bin(float(low), float(high), float(inside.mean()), float(label[bin_U == b].mean()), inside.size))
    return found


def scored_pairs(
    records: Sequence[Record], of: Literal["step", "attempt"] = "step", scoring: Scoring = "judge"
) -> tuple[Floats, Floats, list[str]]:
    """Scores, 0/1 labels and problem ids: steps against "no error so far", or attempts against their outcome.

    Units without a score or of unknown truth are left out. Empty arrays where there are none.
    """
    if of not in ("step", "attempt"):
        raise ValueError(f"of is {of!r}; allowed: step, attempt")
    scores, labels, problems = [], [], []
    for attempt in attempts(records):
        if of == "attempt":
            score_S = np.array([attempt_score(attempt.judgment, scoring)])
            label_S = np.array([np.nan if attempt.right is None else float(attempt.right)])
        elif attempt.unbroken_S is None:
            continue
        else:
            score_S, label_S = attempt.unbroken_S, prefix_labels(attempt.truth_S)
        known = ~np.isnan(score_S) & ~np.isnan(label_S)
        scores.extend(score_S[known].tolist())
        labels.extend(label_S[known].tolist())
        problems.extend([attempt.problem_id] * int(known.sum()))
    return np.array(scores), np.array(labels), problems


def calibration(
    records: Sequence[Record],
    *,
    rng: Rng,
    of: Literal["step", "attempt"] = "step",
    scoring: Scoring = "judge",
    num_bins: int = 10,
    num_resamples: int = 1000,
) -> dict[str, Estimate]:
    """`brier`, `brier_skill`, `ece` (equal width), `ece_mass`, intervals clustered by problem; n is units.

    Bins are those of the whole sample in every resample. Raises ValueError where nothing has both a score and a
    label, or a score is no probability.
    """
    score_U, label_U, problem_U = scored_pairs(records, of, scoring)
    if score_U.size == 0:
        raise NothingToMeasure(f"no {of} has both a score and a known truth")
    score_U, label_U = _checked(score_U, label_U)
    one_U = np.ones_like(score_U)

    def sums(*columns: Floats) -> Floats:
        return cluster_sums(problem_U, np.stack(columns, axis=1))

    squared = sums((score_U - label_U) ** 2, label_U, one_U)
    unit_of = {"brier": "Brier score", "brier_skill": "Brier skill"}
    found = {}
    for name, statistic in (("brier", lambda t: ratio(t[..., 0], t[..., 2])), ("brier_skill", _skill)):
        found[name] = clustered_bootstrap(
            statistic, squared, unit_of[name], rng=rng, n=score_U.size, num_resamples=num_resamples
        )
    kinds: tuple[tuple[str, Bins], ...] = (("ece", "width"), ("ece_mass", "mass"))
    for name, bins in kinds:
        bin_U = _bin_of(score_U, num_bins, bins)
        gap = [np.where(bin_U == b, score_U - label_U, 0.0) for b in range(int(bin_U.max()) + 1)]
        found[name] = clustered_bootstrap(
            lambda t: ratio(np.abs(t[..., :-1]).sum(axis=-1), t[..., -1]),
            sums(*gap, one_U),
            "expected calibration error",
            rng=rng,
            n=score_U.size,
            num_resamples=num_resamples,
        )
    return found
