"""Two F1s that share a name elsewhere: ProcessBench's, over attempts, and the binary one, over steps.

    acc_err = mean(predicted == truth | truth != -1)        acc_cor = mean(predicted == -1 | truth == -1)
    ProcessBench F1 = 2 acc_err acc_cor / (acc_err + acc_cor)                     ProcessBench, arXiv:2412.06559
    binary F1 = 2 TP / (2 TP + FP + FN)                                           PRMBench, arXiv:2501.03124

Predictions are 0-based indices of the first wrong step, -1 for none, None for a miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.stats import ratio
from stepcredit.core.types import Floats


def harmonic_of(hit_err: Floats, num_err: Floats, hit_cor: Floats, num_cor: Floats) -> Floats:
    """ProcessBench F1 from hits and counts on wrong and right attempts: 0 where both accuracies are 0, else NaN of 0/0."""
    err, cor = ratio(hit_err, num_err), ratio(hit_cor, num_cor)
    return np.where((err == 0) & (cor == 0), 0.0, ratio(2 * err * cor, err + cor))


def processbench_f1(predicted: Sequence[int | None], truth: Sequence[int]) -> float:
    """Harmonic mean of the accuracies on wrong attempts (exact index) and on right ones (-1).

    None is a miss. Both accuracies 0 gives 0. Degenerate: without a wrong or without a right attempt one accuracy is
    undefined, and so is F1: NaN.

    >>> processbench_f1([1, -1, -1, -1], [1, 2, -1, -1])  # acc_err 1/2, acc_cor 1
    0.6666666666666666
    """
    if len(predicted) != len(truth):
        raise ValueError(f"{len(truth)} attempts need as many predictions, got {len(predicted)}")
    err = np.array([t != -1 for t in truth], dtype=np.bool_)
    hit = np.array([p is not None and p == t for p, t in zip(predicted, truth, strict=True)], dtype=np.bool_)
    counts = np.array([(hit & err).sum(), err.sum(), (hit & ~err).sum(), (~err).sum()], dtype=np.float64)
    return float(harmonic_of(*counts[:, None])[0])


def binary_f1(predicted_S: ArrayLike, truth_S: ArrayLike, *, positive: Literal["wrong", "right"] = "wrong") -> float:
    """F1 of precision and recall over steps: 2 TP / (2 TP + FP + FN). Labels are 1 right, 0 wrong.

    Positive is the wrong step unless said otherwise (PRMBench's F1 has the right step positive, its F1_neg the wrong
    one). A prediction of NaN claims nothing: a false negative where the step is positive, no false positive.
    Degenerate: no positive step, predicted or true, is NaN.

    >>> binary_f1([0, 0, 1], [0, 1, 1])  # TP 1, FP 1, FN 0
    0.6666666666666666
    """
    predicted, truth = np.asarray(predicted_S, dtype=np.float64), np.asarray(truth_S, dtype=np.float64)
    if predicted.shape != truth.shape:
        raise ValueError(f"{truth.shape} labels need as many predictions, got {predicted.shape}")
    if positive not in ("wrong", "right"):
        raise ValueError(f"positive is {positive!r}; allowed: wrong, right")
    return float(f1_of(confusion(predicted, truth, positive).sum(axis=0)))


def confusion(predicted_S: Floats, truth_S: Floats, positive: str) -> Floats:
    """TP, FP, FN of each step, [S, 3]; a step of unknown truth counts in none."""
    one = 0.0 if positive == "wrong" else 1.0
    is_one, says_one = truth_S == one, predicted_S == one
    known = ~np.isnan(truth_S)
    return np.stack([is_one & says_one, ~is_one & says_one & known, is_one & ~says_one], axis=-1).astype(np.float64)


def f1_of(total: Floats) -> Floats:
    """Binary F1 from TP, FP, FN, [..., 3]."""
    return ratio(2 * total[..., 0], 2 * total[..., 0] + total[..., 1] + total[..., 2])
