"""One arm of a comparison: teach a judge, score the test attempts, measure; and the table that puts arms side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core.filter_state import FilterCollapse
from stepcredit.core.layout import Layout
from stepcredit.core.protocols import Judge
from stepcredit.core.rng import rng
from stepcredit.core.stats import over_seeds
from stepcredit.core.tree import first_error
from stepcredit.core.types import Estimate, Record
from stepcredit.evaluate import evaluate, nulls, picked, predict_first_error
from stepcredit.evaluate.calibration import reliability, scored_pairs
from stepcredit.recipes._fit import Backbone, Budget, Teaching, fit_scorer
from stepcredit.recipes._probes import Probes
from stepcredit.report._attempt import attempt_entry

COLUMNS = ("processbench_f1", "step_auroc", "right_answer_f1")


@dataclass(frozen=True)
class Arm:
    """A way of teaching, under the name it has in the table; kind: label-free, control, or oracle."""

    name: str
    teaching: Teaching
    kind: str = "label-free"


@dataclass(frozen=True)
class ArmResult:
    """What one arm reached with one seed: all numbers, its curve of best-of-N and of learning, sentences, cost.

    `told`: what the judge says of each step of the probes' attempts; `picks`: shares of best-of-N by kind of first error;
    `curve`: rows along a training by reinforcement.
    """

    estimates: dict[str, Estimate]
    learning: list[tuple[int, float, float]] = field(default_factory=list)
    bins: list[dict[str, float]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""
    told: list[list[float]] = field(default_factory=list)
    picks: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)


def judged(records: Sequence[Record], judge: Judge) -> list[Record]:
    """The records with the judge's judgments, scored together so that lengths can be bucketed."""
    flat = [(r.tree.problem, r.tree.solution(leaf)) for r in records for leaf in r.tree.leaves]
    found = iter(judge(flat))
    return [replace(r, judgments=tuple(next(found) for _ in r.tree.leaves)) for r in records]


def run_arm(
    arm: Arm, train: Sequence[Record], test: Sequence[Record], *, backbone: Backbone, budget: Budget, seed: int,
    num_list: Sequence[int], layout: Layout | None = None, every: int = 0, curve_problems: int = 60, shown: int = 0,
    probes: Probes | None = None, progress: bool = False,
) -> ArmResult:  # fmt: skip
    """Teach and measure. A collapsed filter is a result: `failed` says why, and nothing else is filled."""
    learning: list[tuple[int, float, float]] = []

    def look(update: int, judge: Any) -> None:
        some = evaluate(judged(test[:curve_problems], judge), rng=rng(seed, "curve"), num_list=[max(num_list)],
                        with_nulls=False, num_resamples=2)  # fmt: skip
        f1, best = (some.get(name) for name in ("processbench_f1", f"best_of_{max(num_list)}"))
        nan = float("nan")
        learning.append((update, f1.value if f1 else nan, best.value if best else nan))

    try:
        done = fit_scorer(train, teaching=arm.teaching, backbone=backbone, budget=budget, layout=layout, seed=seed,
                          every=every, on_update=look if every else None, progress=progress)  # fmt: skip
    except FilterCollapse as collapse:
        return ArmResult({}, failed=str(collapse))
    from stepcredit.judge.head import ScorerJudge

    cost = {"forwarded_tokens": float(done.fit.cost.forwarded_tokens), "seconds": done.fit.cost.seconds}
    result = measured(
        arm.name, ScorerJudge(done.scorer), test, seed=seed, num_list=num_list, lines=done.lines, cost=cost,
        shown=shown, probes=probes,
    )  # fmt: skip
    return replace(result, learning=learning)


def measured(
    name: str, judge: Judge, test: Sequence[Record], *, seed: int, num_list: Sequence[int], lines: Sequence[str] = (),
    cost: Mapping[str, float] | None = None, shown: int = 0, probes: Probes | None = None, num_resamples: int = 1000,
) -> ArmResult:  # fmt: skip
    """What a taught judge reaches on the test attempts; with `probes`, also what it says of them, and what it picks."""
    records = judged(test, judge)
    summary = evaluate(
        records, rng=rng(seed, "evaluate"), num_list=num_list, with_nulls=False, num_resamples=num_resamples
    )
    score, label = scored_pairs(records)[:2]
    bins = [asdict(one) for one in reliability(score, label)]
    result = ArmResult(
        dict(summary.estimates), bins=bins, lines=list(lines), cost=dict(cost or {}),
        attempts=attempts_shown(records[:shown], name),
    )  # fmt: skip
    if probes is None:
        return result
    shares = picked(records, num=max(num_list), rng=rng(seed, "picked"), kinds=probes.kinds(records), num_resamples=1)
    return replace(
        result, lines=[*lines, *_located_last(records), *probes.contamination(judge)], told=probes.told(judge),
        picks={kind: share.value for kind, share in shares.items()},
    )  # fmt: skip


def _located_last(records: Sequence[Record]) -> list[str]:
    """Whether errors are placed at the end more often than they are there: the mark of a judge that reads the verdict."""
    pairs = [(predict_first_error(judgment), _true_error(record, leaf), len(judgment.step_scores_S) - 1)
             for record in records for leaf, judgment in zip(record.tree.leaves, record.judgments, strict=True)]  # fmt: skip
    wrong = [(at == last, truth == last) for at, truth, last in pairs if truth >= 0 and at is not None and at >= 0]
    if not wrong:
        return []
    said, true = np.mean(wrong, axis=0)
    return [f"Of {len(wrong)} test attempts with an error that are called wrong, the error is placed on the last step in "
            f"{said:.2f}; it is there in {true:.2f}."]  # fmt: skip


def _true_error(record: Record, leaf: int) -> int:
    """The first wrong sampled step on the way to a leaf, by the recorded truth; -1 for none."""
    tree = record.tree
    return first_error(record.credits["truth"].values_N[[n for n in tree.path(leaf) if tree.steps[n].sampled]])


def null_results(test: Sequence[Record], *, seed: int, num_list: Sequence[int]) -> dict[str, ArmResult]:
    """The trivial judges on the same attempts."""
    made, _ = nulls(test, rng=rng(seed, "nulls"))
    return {
        name: ArmResult(dict(evaluate(found, rng=rng(seed, "nulls"), num_list=num_list, with_nulls=False).estimates))
        for name, found in made.items()
    }


def attempts_shown(records: Sequence[Record], arm: str) -> list[dict[str, Any]]:
    """Attempts for the report's heat map: the judge's pick of each problem, and its worst."""
    found = []
    for record in records:
        tree = record.tree
        scores = np.array([j.score for j in record.judgments])
        if np.isnan(scores).all():
            continue
        for index in dict.fromkeys([int(np.nanargmax(scores)), int(np.nanargmin(scores))]):
            judgment = record.judgments[index]
            predicted = predict_first_error(judgment)
            found.append(attempt_entry(record, tree.leaves[index], judgment, arm=arm, predicted=predicted))
    return found


def save_results(results: Mapping[str, ArmResult], path: Path) -> None:
    """Write results by name as one file, atomically, so that an interrupted study goes on from what is finished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({name: asdict(result) for name, result in results.items()}), encoding="utf-8")
    os.replace(partial, path)


def load_results(path: Path) -> dict[str, ArmResult] | None:
    """Finished results by name, or None."""
    if not path.is_file():
        return None
    return {name: _read_back(given) for name, given in json.loads(path.read_text(encoding="utf-8")).items()}


def _read_back(given: dict[str, Any]) -> ArmResult:
    given["estimates"] = {name: Estimate(**one) for name, one in given["estimates"].items()}
    given["learning"] = [tuple(point) for point in given["learning"]]
    return ArmResult(**given)


def combined(results: Sequence[ArmResult], name: str) -> Estimate | None:
    """One number over seeds: a t-interval over several, the interval over problems for one; None where absent.

    Also None where any seed collapsed: a mean over the survivors would look like a mean over all.
    """
    if any(r.failed for r in results):
        return None
    found = [r.estimates[name] for r in results if name in r.estimates]
    if not found:
        return None
    return found[0] if len(found) == 1 else over_seeds(found)


def as_cell(estimate: Estimate | None) -> dict[str, Any] | None:
    """An Estimate as the report takes it."""
    return (
        None
        if estimate is None
        else {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
    )


def table(
    results: Mapping[str, Sequence[ArmResult]], kinds: Mapping[str, str], columns: Sequence[str]
) -> dict[str, Any]:
    """The method table: one row an arm, in the order given."""
    rows = []
    for name, found in results.items():
        cells = {c: cell for c in columns if (cell := as_cell(combined(found, c))) is not None}
        costs = [r.cost for r in found if r.cost]
        cost = {key: float(np.mean([c[key] for c in costs])) for key in (costs[0] if costs else {})}
        fallen = [r.failed for r in found if r.failed]
        notes = f"{len(fallen)} of {len(found)} seeds collapsed: {fallen[0]}" if fallen else ""
        rows.append({"arm": name, "kind": kinds[name], "cells": cells, "cost": cost, "note": notes})
    return {"columns": list(columns), "rows": rows}


def curve(
    results: Mapping[str, Sequence[ArmResult]], kinds: Mapping[str, str], stem: str, num_list: Sequence[int]
) -> dict[str, Any]:
    """Best-of-N series for the report."""
    style = {"label-free": "arm", "control": "control", "null": "null", "oracle": "oracle"}
    series = []
    for name, found in results.items():
        cells = [combined(found, f"{stem}_{n}") for n in num_list]
        if all(cell is not None for cell in cells):
            series.append({"name": name, "style": style[kinds[name]], "y": [c.value for c in cells if c],
                           "low": [c.low for c in cells if c], "high": [c.high for c in cells if c]})  # fmt: skip
    return {"x": list(num_list), "series": series}


def result_rows(
    results: Mapping[str, Sequence[ArmResult]], kinds: Mapping[str, str], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """The flat `results` list of run.json."""
    rows = []
    for name, found in results.items():
        for column in columns:
            estimate = combined(found, column)
            if estimate is not None:
                rows.append(
                    {
                        "name": f"{name}/{column}",
                        **asdict(estimate),
                        "control": kinds[name] != "label-free",
                        "arm": name,
                    }
                )
    return rows
