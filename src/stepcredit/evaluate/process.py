"""How well step scores find the wrong step: ProcessBench F1, binary F1, first-error accuracy, step AUROC.

One decoding (`evaluate.decode`) serves every number but AUROC; misses are counted, never scored. Truth is
`credits["truth"]`; where it does not decide the first error of an attempt, the attempt is left out.
ProcessBench, arXiv:2412.06559; BIG-Bench-Mistake, arXiv:2311.08516 (first-error accuracy).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.protocols import Rng
from stepcredit.core.stats import cluster_sums, clustered_bootstrap, ratio
from stepcredit.core.types import Bools, Estimate, Floats, Record
from stepcredit.evaluate._attempts import Attempt, NothingToMeasure, attempts
from stepcredit.evaluate.auroc import auroc_estimate
from stepcredit.evaluate.decode import Threshold, predict_first_error
from stepcredit.evaluate.f1 import confusion, f1_of, harmonic_of


def measured(records: Sequence[Record], threshold: Threshold | None) -> list[Attempt]:
    """Attempts with known first error, those of the problems a threshold was chosen on left out.

    Raises ValueError where none is left: nothing can be measured without recorded truth.
    """
    split = frozenset() if threshold is None else threshold.split
    found = [a for a in attempts(records) if a.problem_id not in split and a.first_error is not None]
    if not found:
        raise NothingToMeasure("no attempt with recorded step truth"
                               + (" outside the problems the threshold was chosen on" if split else ""))  # fmt: skip
    return found


def process(
    records: Sequence[Record], *, rng: Rng, threshold: Threshold | None = None, num_resamples: int = 1000
) -> dict[str, Estimate]:
    """Every number of this module, each with an interval clustered by problem; n is attempts, steps for AUROC and binary F1.

    `error_accuracy`, `correct_accuracy`, `processbench_f1`, `first_error_accuracy` (exact index over all attempts);
    `right_answer_f1`, the same F1 among attempts whose answer is right, where a wrong step does not show in the
    outcome; `binary_f1_wrong`, `binary_f1_right` (prefix truth; a step from the predicted first error on is called
    wrong); `step_auroc` (P(no error so far) against "no error so far"); `step_auroc_local` (against each step's own label; a chain
    judge answers with `keep`); `invalid_rate` (missing or unreadable judgments, misses in every accuracy and F1; they
    have no rank, so AUROC is over the others). A threshold's own split is left out. What has no class to compare is
    absent from the result. Raises ValueError without any recorded truth.
    """
    given = measured(records, threshold)
    predicted = [predict_first_error(a.judgment, None if threshold is None else threshold.value) for a in given]
    problem_A = [a.problem_id for a in given]
    truth_A = np.array([a.first_error for a in given], dtype=np.int64)
    hit_A = np.array([p is not None and p == t for p, t in zip(predicted, truth_A, strict=True)])
    missed_A = np.array([p is None for p in predicted])
    err_A, right_A = truth_A >= 0, np.array([a.right is True for a in given])

    def estimate(statistic: Callable[[Floats], Floats], columns: Sequence[ArrayLike], unit: str, num: int) -> Estimate:
        sums_CK = cluster_sums(problem_A, np.stack(columns, axis=1))
        return clustered_bootstrap(statistic, sums_CK, unit, rng=rng, n=num, num_resamples=num_resamples)

    def both(of_A: Bools) -> list[ArrayLike]:
        return [hit_A & err_A & of_A, err_A & of_A, hit_A & ~err_A & of_A, ~err_A & of_A]

    everyone = np.ones_like(hit_A)
    found = {
        "first_error_accuracy": estimate(_share, [hit_A, everyone], "accuracy", len(given)),
        "invalid_rate": estimate(_share, [missed_A, everyone], "share of attempts", len(given)),
    }
    if err_A.any():
        found["error_accuracy"] = estimate(_share, [hit_A & err_A, err_A], "accuracy", int(err_A.sum()))
    if (~err_A).any():
        found["correct_accuracy"] = estimate(_share, [hit_A & ~err_A, ~err_A], "accuracy", int((~err_A).sum()))
    if err_A.any() and (~err_A).any():
        found["processbench_f1"] = estimate(_harmonic, both(everyone), "ProcessBench F1", len(given))
    if (err_A & right_A).any() and (~err_A & right_A).any():
        found["right_answer_f1"] = estimate(_harmonic, both(right_A), "ProcessBench F1", int(right_A.sum()))

    # The first error is known in every attempt here, so it gives the prefix truth of every step.
    prefix_U = np.concatenate([_prefix(int(t), len(a.steps)) for t, a in zip(truth_A, given, strict=True)])
    called_U = np.concatenate([_prefix(p, len(a.steps)) for p, a in zip(predicted, given, strict=True)])
    attempt_U = np.repeat(np.arange(len(given)), [len(a.steps) for a in given])
    problem_U = [problem_A[i] for i in attempt_U]
    for positive in ("wrong", "right"):
        sums_CK = cluster_sums(problem_U, confusion(called_U, prefix_U, positive))
        f1 = clustered_bootstrap(
            f1_of, sums_CK, f"step F1, positive = {positive}", rng=rng, n=len(prefix_U), num_resamples=num_resamples
        )
        if not np.isnan(f1.value):
            found[f"binary_f1_{positive}"] = f1
    score_U = np.concatenate([_or_unknown(a.unbroken_S, a) for a in given])
    keep_U = np.concatenate([_or_unknown(_keep(a), a) for a in given])
    for name, shown_U, label_U in (
        ("step_auroc", score_U, prefix_U),
        ("step_auroc_local", keep_U, np.concatenate([a.truth_S for a in given])),
    ):
        both_U = np.flatnonzero(~np.isnan(shown_U) & ~np.isnan(label_U))
        if len(np.unique(label_U[both_U])) == 2:
            problems = [problem_U[i] for i in both_U]
            found[name] = auroc_estimate(shown_U[both_U], label_U[both_U], problems, rng, num_resamples)
    return found


def _share(total: Floats) -> Floats:
    return ratio(total[..., 0], total[..., 1])


def _harmonic(total: Floats) -> Floats:
    return harmonic_of(total[..., 0], total[..., 1], total[..., 2], total[..., 3])


def _prefix(first: int | None, num_steps: int) -> Floats:
    """What a first error says of each step's prefix: 1 right, 0 wrong, NaN where it says nothing."""
    if first is None or first < 0:
        return np.full(num_steps, np.nan if first is None else 1.0)
    return (np.arange(num_steps) < first).astype(np.float64)


def _keep(attempt: Attempt) -> Floats | None:
    """What a judge says of each step by itself: `keep` of a chain judge, the step scores of any other."""
    if attempt.judgment is None or attempt.step_scores_S is None:
        return None
    return attempt.judgment.channels.get("keep", attempt.step_scores_S)


def _or_unknown(score_S: Floats | None, attempt: Attempt) -> Floats:
    return np.full(len(attempt.steps), np.nan) if score_S is None else score_S
