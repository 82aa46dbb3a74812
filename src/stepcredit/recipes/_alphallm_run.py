"""The run of `recipes/alphallm` as a report shows it: the ladder at each budget, rung against rung, and the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from stepcredit import __version__
from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate
from stepcredit.recipes._alphallm_cells import LUCKY
from stepcredit.recipes._alphallm_ladder import FINISHED, RUNGS, at
from stepcredit.recipes._arms import ArmResult, as_cell, combined, result_rows

Found = Mapping[str, Sequence[ArmResult]]
LADDER = ("greedy", "self-consistency", "ORM rerank", *RUNGS)
KINDS = {"greedy": "control", "one attempt": "null", "self-consistency": "control", "pass at budget": "oracle",
         "unfiltered data": "control", "rerank data": "control"}  # fmt: skip


def run_of(
    found: Found,
    budgets: Sequence[int],
    rounds: int,
    *,
    seeds: Sequence[int],
    expectation: str,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """The run dict (schema: `report.write_report`) from every rung's and arm's results, one a seed."""
    steps = [f"round {number}" for number in range(rounds + 1)]
    columns = ["accuracy", "minus the rung below", LUCKY, FINISHED, *steps]
    kinds = {name: KINDS.get(name.split(" at ")[0] if name not in KINDS else name, "label-free") for name in found}
    kinds |= {name: "oracle" for name in found if name.startswith("pass at budget")}
    climbs = {(name, budget): gap for budget in budgets for name, gap in climbs_of(found, budget).items()}
    rows = [_row(name, kinds[name], of, columns, climbs) for name, of in found.items()]
    return {
        "title": "AlphaLLM's ladder and its loop, within equal budgets of generated tokens", "seeds": list(seeds), "config": dict(config),
        "version": __version__, "expectation": expectation,
        "summary": [*(_ladder_line(found, budget) for budget in budgets), *_loop_lines(found, steps)],
        "table": {"columns": columns, "rows": rows},
        "results": [
            *result_rows(found, kinds, ["accuracy", LUCKY, FINISHED, *steps]),
            *({"name": f"{name} at {budget}/minus the rung below", **asdict(gap), "control": False}
              for (name, budget), gap in climbs.items()),
        ],
        "curves": {"greedy accuracy by round": _curve(found, kinds, steps)},
    }  # fmt: skip


def named(name: str, budget: int) -> str:
    """A rung's name in the results: greedy knows no budget."""
    return name if name == "greedy" else at(name, budget)


def climbs_of(found: Found, budget: int) -> dict[str, Estimate]:
    """Each rung's accuracy minus that of the rung below it, paired by seed, over seeds."""
    gaps = {}
    for below, name in pairwise(LADDER):
        sides = [found.get(named(one, budget)) for one in (name, below)]
        if sides[0] and sides[1]:
            gaps[name] = difference(sides[0], sides[1], "accuracy")
    return gaps


def difference(first: Sequence[ArmResult], second: Sequence[ArmResult], column: str) -> Estimate:
    """Paired by seed, with a t-interval over seeds."""
    gaps = [a.estimates[column].value - b.estimates[column].value for a, b in zip(first, second, strict=True)]
    return over_seeds(gaps, f"difference in {column}")


def told(gap: Estimate) -> str:
    """A difference in words and numbers: above, below, or not told apart."""
    if gap.low != gap.low:
        return f"{gap.value:+.3f} (one seed, no interval)"
    word = "above" if gap.low > 0 else "below" if gap.high < 0 else "not told apart"
    return f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] {word}"


def _row(name: str, kind: str, of: Sequence[ArmResult], columns: Sequence[str], climbs: Mapping[tuple[str, int], Estimate]) -> dict[str, Any]:  # fmt: skip
    cells = {column: cell for column in columns if (cell := as_cell(combined(of, column))) is not None}
    for (rung, budget), gap in climbs.items():
        if name == at(rung, budget):
            cells["minus the rung below"] = {"value": gap.value, "low": gap.low, "high": gap.high, "n": gap.n}
    keys = dict.fromkeys(key for one in of for key in one.cost)
    cost = {key: sum(one.cost.get(key, 0.0) for one in of) / len(of) for key in keys}
    return {"arm": name, "kind": kind, "cells": cells, "cost": cost, "note": ""}


def _ladder_line(found: Found, budget: int) -> str:
    steps = [f"{name} {told(gap)}" for name, gap in climbs_of(found, budget).items()]
    return f"At the tokens of {budget} attempts, each rung minus the one below: {'; '.join(steps)}."


def _loop_lines(found: Found, steps: Sequence[str]) -> list[str]:
    """What the rounds gain, and what the arm of the paper gains on its controls."""
    lines = []
    for name, of in found.items():
        if steps[-1] not in of[0].estimates:
            continue
        gains = [over_seeds([one.estimates[b].value - one.estimates[a].value for one in of], "accuracy")
                 for a, b in pairwise(steps)]  # fmt: skip
        kept = [combined(of, f"{what} in {step}") for step in steps[1:] for what in ("kept", "right")]
        data = ", ".join("-" if one is None else f"{one.value:.2f}" for one in kept)
        rounds = "; ".join(f"{step} {told(gain)}" for step, gain in zip(steps[1:], gains, strict=True))
        lines.append(f"{name}: {rounds}, each minus the round before. Kept, and right of these, by round: {data}.")
    arm = found.get("MCTS data")
    for other in ("rerank data", "unfiltered data"):
        if arm and other in found:
            lines.append(f"MCTS data minus {other} in {steps[-1]}: {told(difference(arm, found[other], steps[-1]))}.")
    return lines


def _curve(found: Found, kinds: Mapping[str, str], steps: Sequence[str]) -> dict[str, Any]:
    series = []
    for name, of in found.items():
        cells = [combined(of, step) for step in steps]
        if all(cell is not None for cell in cells):
            series.append({"name": name, "style": "control" if kinds[name] == "control" else "arm",
                           "y": [cell.value for cell in cells if cell], "low": [cell.low for cell in cells if cell],
                           "high": [cell.high for cell in cells if cell]})  # fmt: skip
    return {"x": list(range(len(steps))), "x_label": "round", "series": series}
