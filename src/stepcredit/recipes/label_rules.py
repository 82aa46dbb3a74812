"""Which rule turns Monte Carlo values into step labels best depends on whether wrong prefixes recover.

    attempts of 8 steps that slip with probability .08 a step -> M continuations a step -> labels by each rule -> truth

"Can it still succeed" (Abs-Q: value above 0) is exact where nothing recovers, and there only: once a wrong prefix succeeds
now and then, more continuations make a lucky success certain, and the label worse. Rules that compare with the value before
the step hold. Rules: StepWiser, arXiv:2508.19229, and GenPRM, arXiv:2504.00891 (`credit/relative_progress`).

The world is synthetic, two hidden states (`_label_rules`): truth is known and free, nothing is trained, and every cell has a
closed form that stands beside it. Each attempt is a tree with its continuations, read by `credit/monte_carlo` and labelled
by the credit method itself. Judged are steps up to and including the first slip. All rules see the same attempts.
"Wrong only at 0" reads Rel-Effective as printed and labels next to nothing wrong.
What it does not show: that a judge taught with the better labels is the better judge.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import stepcredit
from stepcredit.core.registry import register
from stepcredit.core.rng import rng
from stepcredit.core.stats import over_seeds, paired_difference
from stepcredit.core.types import Estimate
from stepcredit.credit.relative_progress import sound
from stepcredit.recipes._label_rules import Labels, World, by_rule, exact, only_at_zero, tallies

EXPECTATION = (
    "Balanced accuracy, from another program's table (40,000 attempts a cell), from the closed form, and from prototypes at "
    "seeds 0 and 100, stated before this run: the closed form lies in about nineteen of twenty intervals. Abs-Q: 1 without "
    "recovery; .703 at recovery .02 and .558 at .10 with M = 16; .668 at .10 with M = 4, so as M grows from 4 to 16 it falls "
    "by .11 at .10, falls at .02 too, and does not fall at 0. Rel-Ratio > .7 at M = 16: .976, .975, .911 at recovery 0, .02, "
    ".10, so it loses to Abs-Q at 0 alone; .816 at M = 4, .10. RPE .8 at M = 16: .955, .954, .910. Rel-Effective .8: 1, .985, "
    ".720. As printed, wrong only at 0: .50 to .56."
)
RULES: dict[str, dict[str, Any]] = {
    "Abs-Q > 0": {"rule": "absolute"},
    "Rel-Ratio > .7": {"rule": "ratio", "threshold": 0.7},
    "Rel-Ratio > .8": {"rule": "ratio", "threshold": 0.8},
    "RPE >= .8": {"rule": "progress", "threshold": 0.8, "after": "own"},
    "RPE >= 1": {"rule": "progress", "threshold": 1.0, "after": "own"},
    "RPE >= .8, 0 after a value of 0": {"rule": "progress", "threshold": 0.8},
    "Rel-Effective .4 > 0": {"rule": "effective", "alpha": 0.4},
    "Rel-Effective .8 > 0": {"rule": "effective", "alpha": 0.8},
    "difference >= -.3, 0 after a value of 0": {"rule": "difference", "threshold": -0.3},
}
PRINTED = "Rel-Effective .8, wrong only at 0"
ABSOLUTE, RATIO = "Abs-Q > 0", "Rel-Ratio > .7"
SIZES = {"quick": 15, "small": 1000, "full": 4000}  # attempts a seed and cell
MEASURES = {"balanced": "balanced accuracy", "sound": "accuracy on sound steps", "slip": "accuracy on first slips",
            "positive": "share labelled sound"}  # fmt: skip


@register("recipes", paper="arXiv:2508.19229")
def label_rules(
    *, size: Literal["quick", "small", "full"] = "small", seeds: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8),
    recoveries: Sequence[float] = (0.0, 0.02, 0.1), rollouts: Sequence[int] = (4, 16), num_steps: int = 8,
    slip: float = 0.08,
) -> dict[str, Any]:  # fmt: skip
    """Score the rules in every world, return the run (schema: `report.write_report`).

    Intervals are over seeds. Raises ValueError for fewer than two seeds, no world or number of rollouts, a number below 1,
    or chances outside [0, 1].
    """
    if size not in SIZES or len(seeds) < 2 or not recoveries or not rollouts or min(rollouts) < 1:
        raise ValueError(f"size {size!r}, {len(seeds)} seeds, recoveries {list(recoveries)}, rollouts {list(rollouts)}; "
                         f"allowed: {', '.join(SIZES)}; two seeds or more; one world or more; 1 or more")  # fmt: skip
    started = time.perf_counter()
    rules: dict[str, Labels] = {**{name: by_rule(**knobs) for name, knobs in RULES.items()}, PRINTED: only_at_zero(0.8)}
    cells = [(recovery, num) for num in rollouts for recovery in recoveries]
    found: dict[tuple[str, float, int, str], list[float]] = {}
    for recovery, num in cells:
        world = World(num_steps, slip, recovery)
        for seed in seeds:
            drawn = tallies(world, num, SIZES[size], rules, rng(seed, "label rules", str(recovery), num))
            for name, tally in drawn.items():
                for measure, value in tally.measures.items():
                    found.setdefault((name, recovery, num, measure), []).append(value)
    truth = {(name, recovery, num): _exact(name, World(num_steps, slip, recovery), num)
             for name in RULES for recovery, num in cells}  # fmt: skip
    title = {cell: f"recovery {cell[0]:g}, M = {cell[1]}" for cell in cells}
    rows: list[dict[str, Any]] = []
    for name in rules:
        of = {title[cell]: asdict(over_seeds(found[(name, *cell, "balanced")], "balanced accuracy")) for cell in cells}
        rows.append({"arm": name, "kind": "control" if name == PRINTED else "label-free", "cells": of})
        if name in RULES:
            known = {
                title[cell]: {"value": truth[(name, *cell)]["balanced"], "low": None, "high": None} for cell in cells
            }
            rows.append({"arm": f"{name}, closed form", "kind": "oracle", "cells": known})
    results: list[dict[str, Any]] = []
    for (name, recovery, num, measure), values in found.items():
        one = {"name": f"{title[recovery, num]}: {name}, {measure}", **asdict(over_seeds(values, MEASURES[measure]))}
        results.append({**one, "control": name == PRINTED})
        if name in RULES:
            results[-1]["exact"] = truth[name, recovery, num][measure]
    gaps = _gaps(found, recoveries, rollouts)
    results += [{"name": name, **asdict(gap), "control": rival} for (name, rival), gap in gaps.items()]
    return {
        "title": "Label rules, with and without recovery of wrong prefixes",
        "version": stepcredit.__version__,
        "seed": list(seeds),
        "config": {"size": size, "num_attempts": SIZES[size], "recoveries": list(recoveries), "rollouts": list(rollouts),
                   "num_steps": num_steps, "slip": slip, "rules": RULES},
        "expectation": EXPECTATION,
        "summary": [*(f"{name}: {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] over {gap.n} seeds."
                      for (name, _), gap in gaps.items()), _agreement(results)],
        "results": results,
        "table": {"columns": list(title.values()), "rows": rows},
        "cost": {"seconds": time.perf_counter() - started},
    }  # fmt: skip


def _exact(name: str, world: World, num_rollouts: int) -> dict[str, float]:
    knobs = {knob: value for knob, value in RULES[name].items() if knob != "after"}
    dead = knobs["rule"] in ("progress", "difference") and "after" not in RULES[name]
    return exact(world, num_rollouts, functools.partial(sound, **knobs), dead=dead)


def _gaps(found: dict[tuple[str, float, int, str], list[float]], recoveries: Sequence[float],
          rollouts: Sequence[int]) -> dict[tuple[str, str], Estimate]:  # fmt: skip
    """Paired by seed: Abs-Q with most against fewest rollouts, and Rel-Ratio against Abs-Q, in balanced accuracy."""
    gaps, unit = {}, "difference in balanced accuracy"
    few, many = min(rollouts), max(rollouts)
    for recovery in recoveries:
        absolute = found[ABSOLUTE, recovery, many, "balanced"]
        if few < many:
            fewer = found[ABSOLUTE, recovery, few, "balanced"]
            gaps[f"recovery {recovery:g}: {ABSOLUTE}, M = {many} minus M = {few}", f"M = {few}"] = paired_difference(absolute, fewer, unit)  # fmt: skip
        ratio = found[RATIO, recovery, many, "balanced"]
        gaps[f"recovery {recovery:g}, M = {many}: {RATIO} minus {ABSOLUTE}", ABSOLUTE] = paired_difference(ratio, absolute, unit)  # fmt: skip
    return gaps


def _agreement(results: Sequence[dict[str, Any]]) -> str:
    """How many intervals hold the closed form, among those that are not a point."""
    known = [one for one in results if "exact" in one and one["low"] < one["high"]]
    held = sum(one["low"] <= one["exact"] <= one["high"] for one in known)
    return f"The closed form lies in {held} of {len(known)} intervals; rules share attempts, so misses come together."
