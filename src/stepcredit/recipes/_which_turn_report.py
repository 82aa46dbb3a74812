"""The run of `recipes/which_turn` as a report shows it: a table of both endings, sweeps as curves, what was found true of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stepcredit import __version__
from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate, Judgment
from stepcredit.recipes._turn_arms import ARMS
from stepcredit.recipes._turn_report import shown_by_turn
from stepcredit.recipes._which_turn import BEST, KNOWN_LUCK, STEP, Bench, Found

KINDS = {"outcome_last": "control", "oracle": "oracle", **dict.fromkeys(("outcome_broadcast", "derivation", "retry"), "label-free"),
         KNOWN_LUCK: "label-free"}  # fmt: skip
UNITS = {STEP: "AUROC", BEST: "accuracy"}
PAIRS = [*(("retry", rival) for rival in ("outcome_last", "outcome_broadcast", "derivation", "oracle")),
         ("outcome_broadcast", "outcome_last")]  # fmt: skip
STYLES = {"label-free": "arm", "control": "control", "oracle": "oracle"}

Sweeps = Mapping[str, Mapping[float, Sequence[Found]]]


def run_of(main: Mapping[str, Sequence[Found]], swept: Sweeps, labels: Mapping[str, str]) -> dict[str, Any]:
    """The run dict but for its settings (schema: `report.write_report`): `main` by ending, `swept` by sweep and value."""
    arms = list(next(iter(main.values()))[0].worth)
    columns = {f"{ending}: {column}": (of, column) for ending, of in main.items() for column in UNITS}
    rows: list[dict[str, Any]] = [
        {"arm": arm, "kind": KINDS.get(arm, "null"),
         "cells": {name: asdict(over(of, arm, column)) for name, (of, column) in columns.items()},
         **({"cost": {"seconds": float(np.mean([found.seconds[arm] for of in main.values() for found in of]))}} if arm in KINDS else {})}
        for arm in arms
    ]  # fmt: skip
    results = [
        _row(f"{name}: {row['arm']}", row["cells"][name], row["kind"] != "label-free")
        for name in columns
        for row in rows
    ]
    results += [
        _row(f"{name}: {a} minus {b}", asdict(_difference(of, a, b, column)), b)
        for name, (of, column) in columns.items() for a, b in PAIRS
    ]  # fmt: skip
    for sweep, of_value in swept.items():
        for x, of in of_value.items():
            results += [
                _row(f"{sweep} {x:g}: {column}: {arm}", asdict(over(of, arm, column)), KINDS[arm] != "label-free")
                for arm in KINDS if arm in of[0].worth for column in UNITS
            ]  # fmt: skip
    return {
        "title": "Which turn did it: outcomes of a retry domain", "version": __version__,
        "summary": [*(_said(name, of) for name, of in main.items()),
                    *(_said(f"{labels[sweep]} {x:g}", of) for sweep, of_value in swept.items() for x, of in of_value.items())],
        "table": {"columns": list(columns), "rows": rows}, "results": results,
        "curves": {f"{column}: {labels[sweep]}": _curve(of_value, column) for sweep, of_value in swept.items() for column in UNITS},
    }  # fmt: skip


def over(of: Sequence[Found], arm: str, column: str) -> Estimate:
    """One number of one arm: mean over seeds, t-interval."""
    return over_seeds([found.worth[arm][column] for found in of], UNITS[column])


def _difference(of: Sequence[Found], a: str, b: str, column: str) -> Estimate:
    gaps = [found.worth[a][column] - found.worth[b][column] for found in of]
    return over_seeds(gaps, f"difference in {UNITS[column]}")


def _row(name: str, estimate: Mapping[str, Any], control: bool | str) -> dict[str, Any]:
    return {"name": name, **estimate, "control": control}


def _said(name: str, of: Sequence[Found]) -> str:
    """The world in a sentence, and what the comparison of links answers in it."""
    share = {what: float(np.mean([found.shares[what] for found in of])) for what in of[0].shares}
    answers = ", ".join(f"{answer} {num}" for answer, num in Counter(found.answer for found in of).most_common())
    lucky = (
        f" ({share['recorded right']:.1%} as recorded)" if share["recorded right"] != share["right episodes"] else ""
    )
    return (f"{name}: {share['right episodes']:.1%} of the episodes are right{lucky}, {share['right turns']:.1%} of the turns; "
            f"which link? {answers}, of {len(of)}.")  # fmt: skip


def _curve(of_value: Mapping[float, Sequence[Found]], column: str) -> dict[str, Any]:
    """An arm a line; where the verifier does not err, retry that knows its rates is retry."""
    series = []
    for arm in (*ARMS, *({KNOWN_LUCK} & {name for of in of_value.values() for name in of[0].worth})):
        y = [over(of, arm if arm in of[0].worth else "retry", column) for of in of_value.values()]
        line = {"name": arm, "style": STYLES[KINDS[arm]], "y": [one.value for one in y]}
        if np.all(np.isfinite([one.low for one in y])):
            line |= {"low": [one.low for one in y], "high": [one.high for one in y]}
        series.append(line)
    return {"x": list(of_value), "series": series}


def shown(bench: Bench, judged_A: Sequence[Judgment], num: int) -> list[dict[str, Any]]:
    """The first episodes of different boxes, whatever came of them, under `retry`'s chance that a turn opens the box."""
    found = []
    for box in range(min(num, int(bench.task_A[-1]) + 1)):
        at = int(np.flatnonzero(bench.task_A == box)[0])
        record = bench.test[at]
        right = np.flatnonzero(record.credits["truth"].values_N[record.tree.sampled_N] == 1) + 1
        told = f"turn {', '.join(map(str, right.tolist()))}" if right.size else "no turn"
        found.append(
            shown_by_turn(
                record, judged_A[at], f"a turn's number is the chance that it opens the box; hidden: {told} does"
            )
        )
    return found
