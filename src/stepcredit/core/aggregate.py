"""From step scores to one score of an attempt, and from an answer to the vote it casts.

The aggregations are those everyone names: min, last, product, mean, geometric mean (PEERS: PRM read-outs;
geometric mean is SPRM's trace score). A score of exactly 0 is a score, not a gap: it is never dropped.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.types import NO_ANSWER, Judgment, Outcome

Aggregation = Literal["min", "last", "product", "mean", "geometric_mean"]
Scoring = Literal["judge", "min", "last", "product", "mean", "geometric_mean"]


def aggregate(step_scores_S: ArrayLike, how: Aggregation = "min") -> float:
    """One number for an attempt from its step scores [S].

    Degenerate: no step, or any NaN step score, gives NaN: an attempt that was not scored throughout has no score.
    The product of thousands of steps may underflow to 0 where the geometric mean does not. Raises ValueError for an
    unknown `how`, an array that is not [S], or a negative score under `product` or `geometric_mean`.

    >>> aggregate([0.9, 0.0, 0.6], "min"), aggregate([0.25, 1.0], "geometric_mean"), aggregate([])
    (0.0, 0.5, nan)
    """
    if how not in get_args(Aggregation):
        raise ValueError(f"aggregation is {how!r}; allowed: {', '.join(get_args(Aggregation))}")
    score_S = np.asarray(step_scores_S, dtype=np.float64)
    if score_S.ndim != 1:
        raise ValueError(f"step scores: expected [S], got {list(score_S.shape)}")
    if score_S.size == 0 or np.isnan(score_S).any():
        return float("nan")
    if how == "min":
        return float(score_S.min())
    if how == "last":
        return float(score_S[-1])
    if how == "mean":
        return float(score_S.mean())
    if (score_S < 0).any():
        raise ValueError(f"{how} needs step scores that are not negative; got {score_S.min()}")
    if how == "product":
        return float(score_S.prod())
    return 0.0 if (score_S == 0).any() else float(np.exp(np.log(score_S).mean()))


def attempt_score(judgment: Judgment | None, scoring: Scoring = "judge") -> float:
    """The number that ranks an attempt: the judge's own score, or an aggregation of its step scores.

    Degenerate: no judgment, or one that is not `scored`, gives NaN, which ranks after every number.

    >>> attempt_score(Judgment(0.9, [0.9, 0.4])), attempt_score(Judgment(0.9, [0.9, 0.4]), "min"), attempt_score(None)
    (0.9, 0.4, nan)
    """
    if scoring not in get_args(Scoring):
        raise ValueError(f"scoring is {scoring!r}; allowed: {', '.join(get_args(Scoring))}")
    if judgment is None or judgment.status != "scored":
        return float("nan")
    return float(judgment.score) if scoring == "judge" else aggregate(judgment.step_scores_S, scoring)


def vote(outcome: Outcome | None) -> str | None:
    """The answer an attempt votes for: white space collapsed, case folded; None casts no vote.

    Reads the answer's text only, never whether it is right. An unparsed or truncated attempt, or one whose answer was
    not recorded or is blank, does not vote.

    >>> vote(Outcome(1.0, True, answer=" x  = 4")), vote(Outcome(status="unparsed", answer="4"))
    ('x = 4', None)
    """
    if outcome is None or outcome.answer is None or outcome.status in NO_ANSWER:
        return None
    return " ".join(str(outcome.answer).split()).casefold() or None
