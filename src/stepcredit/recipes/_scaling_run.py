"""The run of `recipes/scaling` as a report shows it: the table at the most attempts, curves against attempts and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np

from stepcredit import __version__
from stepcredit.core import diagnostics
from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate
from stepcredit.recipes._arms import ArmResult, as_cell
from stepcredit.recipes._arms import combined as _combined
from stepcredit.recipes._scaling_rivals import DECLARED, RIVALS

COLUMNS = (
    "processbench_f1",
    "step_auroc",
    "step_auroc_local",
    "right_answer_f1",
    "best_of_2",
    "best_of_8",
    "best_of_32",
)
STYLE = {"label-free": "arm", "control": "control", "oracle": "oracle"}
Grid = Mapping[str, Mapping[int, Sequence[ArmResult]]]


def combined(of: Sequence[ArmResult], column: str) -> Estimate | None:
    """Over seeds; of a single seed the value without an interval, since cells are measured without resampling."""
    found = _combined(of, column)
    return replace(found, low=float("nan"), high=float("nan")) if found is not None and len(of) == 1 else found


def run_of(
    found: Grid, swept: Mapping[str, Mapping[str, Sequence[ArmResult]]], nulls: Mapping[str, Sequence[ArmResult]], *,
    seeds: Sequence[int], judge: str, expectation: str, config: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The run dict (schema: `report.write_report`) from every rival's results by number of attempts."""
    sizes = list(next(iter(found.values())))
    rows = [
        _row(f"{name}, {num:,} attempts", RIVALS[name].kind, of[num])
        for num in reversed(sizes)
        for name, of in found.items()
    ]
    rows += [_row(f"null: {name}", "null", of) for name, of in nulls.items()]
    rows += [_row(f"{name} in {setting}", _kind(name), of) for setting, by in swept.items() for name, of in by.items()
             if name in (*RIVALS, "latent_chain told")]  # fmt: skip
    return {
        "title": f"Step scores against attempts and cost: the {judge} judge", "seeds": list(seeds), "config": dict(config),
        "version": __version__, "expectation": expectation, "summary": [*_needed(found), *_by_cost(found), *_agreement(found), *_worlds(swept)],
        "table": {"columns": list(COLUMNS), "rows": rows},
        "results": [result for row, of in _named(found, nulls, swept) for result in _results(row, of)],
        "curves": {f"{metric} by attempts": _curve(found, metric) for metric in ("processbench_f1", "step_auroc", "best_of_32")}
                  | _by_labels(found),
        "diagnostics": [
            {"arm": name, "lines": of[max(of)][0].lines, "warnings": sorted({one.failed for r in of.values() for one in r if one.failed})}
            for name, of in found.items()
        ],
    }  # fmt: skip


def _named(found: Grid, nulls: Any, swept: Any) -> list[tuple[str, Sequence[ArmResult]]]:
    rows = [(f"{name}/{num}", of[num]) for name, of in found.items() for num in of]
    rows += [(f"null: {name}", of) for name, of in nulls.items()]
    return rows + [(f"{setting}/{name}", of) for setting, by in swept.items() for name, of in by.items()]


def _results(row: str, of: Sequence[ArmResult]) -> list[dict[str, Any]]:
    columns = (*COLUMNS, "best_of_32_minus_majority", "right", "wrong", "recovered")
    cells = {column: combined(of, column) for column in columns}
    kinds = [_kind(part) for part in row.split("/") if part in RIVALS] or ["label-free"]
    control = row.startswith("null: ") or row.endswith("/world") or kinds[0] != "label-free"
    return [{"name": f"{row}/{column}", **asdict(cell), "control": control}
            for column, cell in cells.items() if cell is not None]  # fmt: skip


def _kind(name: str) -> str:
    return RIVALS[name].kind if name in RIVALS else "label-free"


def _row(name: str, kind: str, of: Sequence[ArmResult]) -> dict[str, Any]:
    cells = {column: cell for column in COLUMNS if (cell := as_cell(combined(of, column))) is not None}
    costs = [one.cost for one in of if one.cost]
    keys = dict.fromkeys(key for one in costs for key in one)
    cost = {key: float(np.mean([one[key] for one in costs if key in one])) for key in keys}
    if "first_forwarded_tokens" in cost and "forwarded_tokens" in cost:  # of two fits
        cost["forwarded_tokens"] += cost.pop("first_forwarded_tokens")
    fallen = [one.failed for one in of if one.failed]
    return {"arm": name, "kind": kind, "cells": cells, "cost": cost,
            "note": f"{len(fallen)} of {len(of)} seeds failed: {fallen[0]}" if fallen else ""}  # fmt: skip


def _curve(found: Grid, metric: str) -> dict[str, Any]:
    """Against the number of attempts; a rival that failed somewhere has no curve."""
    series = []
    for name, of in found.items():
        cells = [combined(results, metric) for results in of.values()]
        if all(cell is not None for cell in cells):
            series.append({"name": name, "style": STYLE[RIVALS[name].kind], "y": [c.value for c in cells if c],
                           "low": [c.low for c in cells if c], "high": [c.high for c in cells if c]})  # fmt: skip
    return {"x": list(next(iter(found.values()))), "x_label": "training attempts", "series": series}


def _by_labels(found: Grid, metric: str = "processbench_f1") -> dict[str, Any]:
    """Against the steps that a person labelled: of one number of attempts, a line over shares; without a label, a level line."""
    lines: list[tuple[str, str, dict[float, Estimate]]] = []
    for num in next(iter(found.values()), {}):
        for source in ("oracle", "hybrid"):
            at = {}
            for name, of in found.items():
                cell = combined(of[num], metric)
                if RIVALS[name].source == source and cell is not None:
                    at[float(np.mean([one.cost["human_labels"] for one in of[num]]))] = cell
            lines.append((f"{source}, {num:,} attempts", "oracle" if source == "oracle" else "arm", at))
    x = sorted({labels for _, _, at in lines for labels in at})
    if len(x) < 2:
        return {}
    for num, results in found.get(DECLARED, {}).items():
        if (cell := combined(results, metric)) is not None:
            lines.append((f"{DECLARED}, {num:,} attempts, no label", "control", dict.fromkeys((x[0], x[-1]), cell)))
    series = [{"name": name, "style": style, **{
        key: [getattr(at[one], of) if one in at else None for one in x] for key, of in (("y", "value"), ("low", "low"), ("high", "high"))}}
        for name, style, at in lines if at]  # fmt: skip
    return {f"{metric} by labelled steps": {
        "x": x, "x_label": "steps that a person labelled", "log": True, "joined": True, "series": series}}  # fmt: skip


def needed(sizes: Sequence[int], values: Sequence[float], level: float) -> float:
    """The attempts at which a curve first reaches a level, between sizes by the logarithm; infinite where it never does."""
    for index, value in enumerate(values):
        if value >= level:
            if index == 0:
                return float(sizes[0])
            low, high = np.log(sizes[index - 1]), np.log(sizes[index])
            share = (level - values[index - 1]) / (value - values[index - 1])
            return float(np.exp(low + share * (high - low)))
    return float("inf")


def _needed(found: Grid, level: float = 0.9) -> list[str]:
    """What each rival takes, in attempts, to a first-error F1: the median over seeds."""
    told = []
    for name, of in found.items():
        sizes, seeds = list(of), len(next(iter(of.values())))
        each = []
        for seed in range(seeds):
            values = [
                one.estimates["processbench_f1"].value if not one.failed else float("nan")
                for one in (of[n][seed] for n in sizes)
            ]
            known = [(n, value) for n, value in zip(sizes, values, strict=True) if not np.isnan(value)]
            each.append(needed([n for n, _ in known], [value for _, value in known], level))
        middle = float(np.median(each))
        told.append(f"{name} {'never' if np.isinf(middle) else f'{middle:,.0f}'}")
    return [f"Attempts to a first-error F1 of {level} (median over seeds): {', '.join(told)}."] if told else []


def _by_cost(found: Grid) -> list[str]:
    """The first-error F1 of the largest study against what a person labelled for it."""
    told: dict[str, list[tuple[float, str]]] = {}
    for name, of in found.items():
        most = of[max(of)]
        cell, labels = (
            combined(most, "processbench_f1"),
            float(np.mean([one.cost.get("human_labels", 0.0) for one in most])),
        )
        if cell is not None and labels:
            told.setdefault(name.split()[0], []).append((labels, f"{labels:,.0f} labels {cell.value:.3f}"))
    return [f"First-error F1 by labelled steps, {kind}, most attempts: {', '.join(text for _, text in sorted(of))}."
            for kind, of in told.items()]  # fmt: skip


def _agreement(found: Grid) -> list[str]:
    """Whether judges of two seeds say the same of the steps of the same attempts."""
    told = []
    for name, of in found.items():
        of_seeds = [[np.array(one) for one in result.told] for result in of[max(of)] if result.told]
        pairs = [diagnostics.rank_agreement(a, b).spearman for a, b in combinations(of_seeds, 2)]
        if pairs:
            told.append(f"{name} {np.mean(pairs):.2f}")
    return [f"Agreement of seeds (within-attempt Spearman, most attempts): {', '.join(told)}."] if told else []


def _worlds(swept: Mapping[str, Mapping[str, Sequence[ArmResult]]]) -> list[str]:
    """What each setting's attempts are like, and which rival is best there, by its mean and by the paired differences."""
    lines = []
    for setting, by in swept.items():
        free = {
            name: of
            for name, of in by.items()
            if name in (*RIVALS, "latent_chain told") and _kind(name) == "label-free"
        }
        means = {name: cell.value for name, of in free.items() if (cell := combined(of, "processbench_f1")) is not None}
        if not means:
            continue
        shares = {
            name: float(np.mean([one.estimates[name].value for one in by["world"]])) for name in ("right", "recovered")
        }
        best = max(means, key=lambda name: means[name])
        level = [name for name in means if name != best and _level(free[best], free[name])]
        lines.append(
            f"{setting}: {shares['right']:.2f} of the attempts end right, {shares['recovered']:.2f} of those with a wrong step. Best first-error "
            f"F1: {best} {means[best]:.3f}" + (f"; not told apart from it: {', '.join(level)}" if level else "") + "."
        )
    return lines


def _level(best: Sequence[ArmResult], other: Sequence[ArmResult]) -> bool:
    """Whether zero lies in the t-interval of the difference, paired by seed."""
    if len(best) < 2:
        return True
    gap = over_seeds([a.estimates["processbench_f1"].value - b.estimates["processbench_f1"].value
                      for a, b in zip(best, other, strict=True)], "F1")  # fmt: skip
    return gap.low <= 0
