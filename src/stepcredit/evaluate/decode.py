"""From a judgment to the first wrong step it points at, with no threshold, a declared one, or a chosen one.

A chain judge needs no threshold (`core.chain.decode_first_error`). Any other is cut at 1/2 unless told otherwise;
a threshold chosen on step truth is step supervision, and carries that with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stepcredit.core.chain import decode_first_error
from stepcredit.core.types import Floats, Judgment, Record
from stepcredit.evaluate._attempts import attempts, unbroken
from stepcredit.evaluate.f1 import processbench_f1


@dataclass(frozen=True)
class Threshold:
    """A threshold on step scores and where it comes from.

    `fixed`: declared before looking. `chosen`: it maximised F1 on the step truth of the problems in `split`, which is
    step supervision; those problems are then left out of every measurement.
    """

    value: float = 0.5
    source: Literal["fixed", "chosen"] = "fixed"
    split: frozenset[str] = frozenset()

    def describe(self) -> str:
        """One line for a table's caption."""
        if self.source == "fixed":
            return f"threshold {self.value:g}, fixed beforehand"
        return f"threshold {self.value:g}, chosen on the step truth of {len(self.split)} problems (step supervision)"


def predict_first_error(judgment: Judgment | None, threshold: float | None = None) -> int | None:
    """The first wrong step a judgment points at; -1 for none, None for a miss.

    Without a threshold a chain judge (channel `keep`) is decoded by `core.chain.decode_first_error`: is it likelier than
    not that some step broke a sound state, and if so which? A later repair does not undo an error. Any other judge is
    cut at the declared 0.5; with a threshold, it is the first step whose P(no error so far) is under it. A judge
    that stopped early has still answered if it flagged a step before it stopped; else, as with an abstention or a
    judge that scores no steps, the attempt is missed.

    >>> predict_first_error(Judgment(0.1, [0.9, 0.4, 0.1])), predict_first_error(None)
    (1, None)
    """
    if judgment is None or judgment.status != "scored" or judgment.step_scores_S.size == 0:
        return None
    keep_S = judgment.channels.get("keep")
    if threshold is None and keep_S is not None:
        return None if np.isnan(keep_S).any() else decode_first_error(keep_S)
    score_S = unbroken(judgment)
    stop_S = np.isnan(score_S) | (score_S < (0.5 if threshold is None else threshold))
    if not stop_S.any():
        return -1
    first = int(np.argmax(stop_S))
    return None if np.isnan(score_S[first]) else first


def choose_threshold(records: Sequence[Record], split: Collection[str]) -> Threshold:
    """The threshold with the best ProcessBench F1 on the step truth of the problems in `split`.

    This is step supervision, and the result says so. Candidates lie midway between neighbouring scores (at most 256
    of them, evenly spread over the observed scores); ties go to the lowest, the one with the fewest alarms.
    Raises ValueError where the split holds no judged attempt with a wrong step, or none without.
    """
    chosen = frozenset(split)
    known = [(a.unbroken_S, a.first_error) for a in attempts(records) if a.problem_id in chosen]
    pairs = [(score_S, t) for score_S, t in known if t is not None and score_S is not None]
    truth = [t for _, t in pairs]
    if -1 not in truth or max(truth) < 0:
        raise ValueError("a threshold is chosen on judged attempts with and without a wrong step; the split lacks them")
    score_AS = np.full((len(pairs), max(len(score_S) for score_S, _ in pairs)), np.inf)
    for row, (score_S, _) in zip(score_AS, pairs, strict=True):
        row[: len(score_S)] = score_S
    scores = np.unique(score_AS[np.isfinite(score_AS)])
    middle = np.concatenate([scores[:1], (scores[1:] + scores[:-1]) / 2, scores[-1:] + 1e-9])
    if len(middle) > 256:
        middle = middle[np.unique(np.linspace(0, len(middle) - 1, 256).astype(int))]
    f1_of = [processbench_f1(_first_under(score_AS, float(t)), truth) for t in middle]
    if np.isnan(f1_of).all():
        raise ValueError("no step of the split has a score")
    return Threshold(float(middle[int(np.nanargmax(f1_of))]), "chosen", chosen)


def _first_under(score_AS: Floats, threshold: float) -> list[int | None]:
    """`predict_first_error` with a threshold, for attempts padded with infinity."""
    stop_AS = np.isnan(score_AS) | (score_AS < threshold)
    found: list[int | None] = []
    for score_S, stop_S in zip(score_AS, stop_AS, strict=True):
        first = int(stop_S.argmax())
        found.append(-1 if not stop_S[first] else None if np.isnan(score_S[first]) else first)
    return found
