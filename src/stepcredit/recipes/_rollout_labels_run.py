"""The rollout-label runs as a report shows them: labels of the same attempts, then judges at equal generated tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit import __version__
from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate
from stepcredit.recipes._arms import ArmResult, as_cell, combined
from stepcredit.recipes._rollout_labels_arms import ARMS
from stepcredit.recipes._rollout_labels_study import Size, Study

STYLE = {"label-free": "arm", "control": "control", "oracle": "oracle"}
TRIVIAL = ("first step", "last step")


def columns_of(plan: Size) -> list[str]:
    """Of the labels, then of the judge they teach."""
    top = max(plan.num_list)
    of_labels = ["restart_tokens_an_attempt", "tokens_an_attempt", "attempts", "label_error_accuracy", "label_f1"]
    return [*of_labels, "processbench_f1", "step_auroc", f"best_of_{top}", f"best_of_{top}_minus_majority"]


def studies_of(
    sizes: Mapping[str, Size], size: str, seeds: Sequence[int], arms: Sequence[str], budgets: Sequence[int], out: str,
    progress: bool,
) -> list[Study]:  # fmt: skip
    """One study a seed. Raises ValueError for no seeds, or a size, arm or budget there is not."""
    if len(set(seeds)) < len(seeds) or len(set(arms)) < len(arms):
        raise ValueError(f"seeds {list(seeds)}, arms {list(arms)}: one is named twice")
    if size not in sizes or not seeds:
        raise ValueError(f"size {size!r}, {len(seeds)} seeds; allowed: {', '.join(sizes)}; one seed or more")
    if unknown := sorted(set(arms) - set(ARMS)):
        raise ValueError(f"no arm {unknown[0]!r}; there are: {', '.join(ARMS)}")
    if wrong := sorted(set(budgets) - set(sizes[size].budgets)):
        raise ValueError(f"no budget {wrong[0]}; size {size} has: {', '.join(map(str, sizes[size].budgets))}")
    return [Study(sizes[size], seed, Path(out), progress) for seed in seeds]


@dataclass
class Found:
    """Results by what they are of, a seed each: arms at their budgets, labels of the same attempts, trivial judges, the world."""

    arms: dict[tuple[str, int], list[ArmResult]] = field(default_factory=dict)
    same: dict[str, list[ArmResult]] = field(default_factory=dict)
    nulls: dict[str, list[ArmResult]] = field(default_factory=dict)
    world: list[ArmResult] = field(default_factory=list)


def found_by(studies: Sequence[Study], arms: Sequence[str], budgets: Sequence[int]) -> Found:
    """Every cell that is not on disk is run, seed after seed: a killed run loses one."""
    found = Found()
    for study in studies:
        found.world.append(study.world())
        for results, of in ((study.same(), found.same), (study.nulls(), found.nulls)):
            for name, result in results.items():
                of.setdefault(name, []).append(result)
        for name in arms:
            for budget in budgets:
                found.arms.setdefault((name, budget), []).append(study.result(name, budget))
        study.forget()
    return found


def run_of(
    title: str, studies: Sequence[Study], arms: Sequence[str], budgets: Sequence[int], *, pairs: Sequence[tuple[str, str]],
    expectation: str, config: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Run what is not on disk yet; the run dict (schema: `report.write_report`). `pairs`: differences to be told."""
    if not arms:
        raise ValueError("arms is empty; give one or more")
    started = time.perf_counter()
    found = found_by(studies, arms, budgets)
    columns = columns_of(studies[0].plan)
    rows = [
        (f"{name}, {budget:,} tokens", ARMS[name].kind, of)
        for (name, budget), of in sorted(found.arms.items(), key=lambda one: -one[0][1])
    ]
    rows += [
        (f"same attempts: {name}", "null" if name in TRIVIAL else "label-free", of) for name, of in found.same.items()
    ]
    rows += [(f"null: {name}", "null", of) for name, of in found.nulls.items()]
    gaps = differences(found.arms, pairs, columns)
    return {
        "title": title, "version": __version__, "seeds": [study.seed for study in studies], "expectation": expectation,
        "config": {**config, "plan": asdict(studies[0].plan)},
        "summary": [_world_line(found.world), *(f"{name}: {_told(gap)}, {gap.n} seeds paired." for name, gap in gaps.items())],
        "table": {"columns": columns, "rows": [_row(*row, columns) for row in rows]},
        "results": [*(_result(f"{name}/{column}", cell, kind != "label-free") for name, kind, of in rows for column in columns
                      if (cell := combined(of, column)) is not None),
                    *(_result(name, gap, False) for name, gap in gaps.items())],
        "curves": {f"{metric} by tokens": _curve(found.arms, arms, budgets, metric) for metric in ("processbench_f1", "step_auroc")},
        "cost": {"seconds": time.perf_counter() - started},
    }  # fmt: skip


def differences(
    found: Mapping[tuple[str, int], Sequence[ArmResult]], pairs: Sequence[tuple[str, str]], columns: Sequence[str]
) -> dict[str, Estimate]:  # fmt: skip
    """One arm minus another at the largest budget, paired by seed; left out where a seed of either failed."""
    most = max(budget for _, budget in found)
    told = {}
    for one, other in pairs:
        for column in ("processbench_f1", next(name for name in columns if name.startswith("best_of"))):
            both = list(zip(found[one, most], found[other, most], strict=True))
            if not any(a.failed or b.failed or column not in a.estimates or column not in b.estimates for a, b in both):
                gaps = [a.estimates[column].value - b.estimates[column].value for a, b in both]
                told[f"{one} minus {other}, {most:,} tokens, {column}"] = over_seeds(gaps, column)
    return told


def _told(one: Estimate) -> str:
    return f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def _world_line(of: Sequence[ArmResult]) -> str:
    share = {name: float(np.mean([one.estimates[name].value for one in of])) for name in of[0].estimates}
    text = {"right": "{:.2f} of the attempts end right", "slip": "a line slips in {:.3f}", "recovery": "a broken one recovers in {:.4f} a line",
            "kept": "{:.3f} of the attempts with a wrong step end right"}  # fmt: skip
    return "; ".join(text[name].format(value) for name, value in share.items()) + "."


def _row(name: str, kind: str, of: Sequence[ArmResult], columns: Sequence[str]) -> dict[str, Any]:
    cells = {column: cell for column in columns if (cell := as_cell(combined(of, column))) is not None}
    costs = [one.cost for one in of if one.cost]
    cost = {
        key: float(np.mean([one[key] for one in costs]))
        for key in (costs[0] if costs else {})
        if all(key in one for one in costs)
    }
    failed = [one.failed for one in of if one.failed]
    return {"arm": name, "kind": kind, "cells": cells, "cost": cost,
            "note": f"{len(failed)} of {len(of)} seeds taught nothing: {failed[0]}" if failed else ""}  # fmt: skip


def _result(name: str, one: Estimate, control: bool) -> dict[str, Any]:
    return {"name": name, **asdict(one), "control": control}


def _curve(
    found: Mapping[tuple[str, int], Sequence[ArmResult]], arms: Sequence[str], budgets: Sequence[int], metric: str
) -> dict[str, Any]:  # fmt: skip
    """By generated tokens; an arm that taught nothing at some budget has no line."""
    series = []
    for name in arms:
        cells = [combined(found[name, budget], metric) for budget in sorted(budgets)]
        if all(cell is not None for cell in cells):
            series.append({"name": name, "style": STYLE[ARMS[name].kind], "y": [c.value for c in cells if c],
                           "low": [c.low for c in cells if c], "high": [c.high for c in cells if c]})  # fmt: skip
    return {"x": sorted(budgets), "x_label": "generated tokens", "series": series}
