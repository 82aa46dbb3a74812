"""From a Summary of an evaluation to the run that `stepcredit.report` shows: table, curves, reliability, heat map."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from stepcredit import __version__
from stepcredit.core.aggregate import Scoring
from stepcredit.core.types import Cost, Estimate, Record
from stepcredit.evaluate import Summary, Threshold, predict_first_error
from stepcredit.evaluate._attempts import Attempt, attempts
from stepcredit.evaluate.calibration import reliability, scored_pairs
from stepcredit.report._attempt import attempt_entry

JUDGE = "judge"
KEY = ("processbench_f1", "right_answer_f1", "first_error_accuracy", "step_auroc")
MAX_SHOWN, MAX_WRONG = 12, 8


def run_of(
    summary: Summary, records: Sequence[Record], *, title: str, kind: str, threshold: Threshold | None, scoring: Scoring,
    num_list: Sequence[int], seed: int, config: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The content of run.json."""
    sizes = [num for num in num_list if f"best_of_{num}" in summary]
    chosen_on = threshold.split if threshold else frozenset()
    shown = [record for record in records if record.tree.problem.id not in chosen_on]
    skipped = [f"Not measured: {name} ({reason})." for name, reason in summary.skipped.items()]
    return {
        "title": title,
        "version": __version__,
        "seed": seed,
        "config": dict(config),
        "summary": [f"First errors: {summary.decoding}.", *skipped],
        "results": list(_results(summary)),
        "table": _table(summary, records, kind, max(sizes, default=0)),
        "curves": {"best_of_n": _curve(summary, sizes)} if sizes else {},
        "reliability": _reliability(shown, scoring),
        "attempts": [_attempt(attempt, shown[attempt.record], threshold) for attempt in _chosen(attempts(shown))],
    }


def _cell(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else dataclasses.asdict(estimate)


def _results(summary: Summary) -> Iterator[dict[str, Any]]:
    for name, estimate in summary.estimates.items():
        yield {"name": name, **dataclasses.asdict(estimate), "control": None}
    for null, found in summary.nulls.items():
        for name, estimate in found.items():
            yield {"name": name, **dataclasses.asdict(estimate), "control": f"null: {null}"}


def _table(summary: Summary, records: Sequence[Record], kind: str, largest: int) -> dict[str, Any]:
    best = f"best_of_{largest}"
    columns = [name for name in (*KEY, best) if name in summary]
    cost = sum((judgment.cost for record in records for judgment in record.judgments), Cost())
    rows = [_row(JUDGE, kind, {name: summary[name] for name in columns}) | {"cost": dataclasses.asdict(cost)}]
    for name, label in (("majority", "majority vote"), ("weighted_majority", "majority vote, weighted by the judge")):
        if (voted := summary.get(f"{name}_of_{largest}")) is not None:
            rows.append(_row(label, "control", {best: voted}))
    for null, found in summary.nulls.items():
        rows.append(_row(null, "null", {name: found[name] for name in columns if name in found}))
    return {"columns": columns, "rows": rows}


def _row(arm: str, kind: str, found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {"arm": arm, "kind": kind, "cells": {name: _cell(estimate) for name, estimate in found.items()}}


def _curve(summary: Summary, sizes: Sequence[int]) -> dict[str, Any]:
    lines = (("best of N by the judge", "best_of", "arm"), ("majority vote", "majority_of", "control"),
             ("weighted majority", "weighted_majority_of", "control"), ("random pick", "random_of", "null"),
             ("any of N right", "pass_at", "oracle"))  # fmt: skip
    series = []
    for label, name, style in lines:
        found = [summary.get(f"{name}_{num}") for num in sizes]
        if any(each is not None for each in found):
            values = {key: [None if e is None else getattr(e, field) for e in found]
                      for key, field in (("y", "value"), ("low", "low"), ("high", "high"))}  # fmt: skip
            series.append({"name": label, "style": style, **values})
    return {"x": list(sizes), "series": series}


def _reliability(records: Sequence[Record], scoring: Scoring) -> list[dict[str, Any]]:
    found = []
    kinds: tuple[Literal["step", "attempt"], ...] = ("step", "attempt")
    for name in kinds:
        score_U, label_U, _ = scored_pairs(records, name, scoring)
        if score_U.size and ((score_U >= 0) & (score_U <= 1)).all():
            bars = [{"low": b.low, "high": b.high, "mean_score": b.score, "rate": b.right, "n": b.num}
                    for b in reliability(score_U, label_U)]  # fmt: skip
            found.append({"name": f"{name} scores", "bins": bars})
    return found


def _chosen(given: Sequence[Attempt]) -> list[Attempt]:
    """At most twelve judged attempts for the heat map, two in three with a wrong step, evenly spread over the file."""
    judged = [
        a for a in given if a.step_scores_S is not None and not ((a.step_scores_S < 0) | (a.step_scores_S > 1)).any()
    ]
    wrong = [
        a
        for a in judged
        if (a.first_error is not None and a.first_error >= 0) or (a.first_error is None and a.right is False)
    ]
    of_wrong = {id(a) for a in wrong}
    other = [a for a in judged if id(a) not in of_wrong]
    num_wrong = min(len(wrong), max(MAX_WRONG, MAX_SHOWN - len(other)))
    return [*_spread(wrong, num_wrong), *_spread(other, MAX_SHOWN - num_wrong)]


def _spread(given: Sequence[Attempt], num: int) -> list[Attempt]:
    return (
        [given[i] for i in np.unique(np.linspace(0, len(given) - 1, min(num, len(given))).astype(int))] if given else []
    )


def _attempt(attempt: Attempt, record: Record, threshold: Threshold | None) -> dict[str, Any]:
    assert attempt.judgment is not None
    predicted = predict_first_error(attempt.judgment, threshold.value if threshold else None)
    return attempt_entry(
        record, attempt.leaf, attempt.judgment, arm=JUDGE, predicted=predicted, first_error=attempt.first_error
    )
