"""What `recipes/learned_aggregation` says of its numbers: sentences, curves, and what was chosen.

The smallest difference a comparison can show with 80 % power at the 5 % level is 2.8 standard errors of the paired
difference; it shrinks with the square root of the number of problems.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from stepcredit.core.types import Estimate, Floats
from stepcredit.recipes._aggregation_fit import Member, Views, weights
from stepcredit.recipes._aggregation_learners import main_columns
from stepcredit.recipes._aggregation_nested import FIXED, MAIN, Plan, Study

AFTER, CEILING, PASS = "best fixed rule, picked after the fact", "taught and measured on the same problems", "pass@N"
POWER = 2.8  # 1.96 + 0.84

Worth = Mapping[tuple[str, int], Floats]  # by arm and N: one number a problem


def sentences(title: str, of: Worth, gaps: Mapping[tuple[str, str], Estimate]) -> list[str]:
    """Learned against fixed on one set, the full pool first, and what this many problems could show."""
    sizes = sorted((n for arm, n in of if arm == MAIN), reverse=True)
    said = [_against(title, n, of, gaps[f"{title}, N = {n}", FIXED]) for n in sizes]
    full = sizes[0]
    gap_P = of[MAIN, full] - of[FIXED, full]
    num, seen = len(gap_P), abs(float(gap_P.mean()))
    least = POWER * float(gap_P.std(ddof=1)) / math.sqrt(num)
    room = float((of[PASS, full] - of[FIXED, full]).mean())
    needed = f"{math.ceil(num * (least / seen) ** 2):,} problems for the one found" if seen > 1e-3 else "none was found"
    said.insert(1, (
        f"{title}, best of {full}: in most repeats {int((gap_P > 0.5).sum())} of {num} problems are won and "
        f"{int((gap_P < -0.5).sum())} lost. The smallest difference that this can show (80 % power) is {least:.3f}; it would "
        f"take {needed}. The room up to pass@{full} is {room:.3f}, {room * num:.0f} problems."
    ))  # fmt: skip
    return said


def _against(title: str, n: int, of: Worth, gap: Estimate) -> str:
    verdict = "better" if gap.low > 0 else "worse" if gap.high < 0 else "not settled"
    return (
        f"{title}, best of {n}: {of[MAIN, n].mean():.4f} learned, {of[FIXED, n].mean():.4f} by the fixed choice made on the "
        f"same problems; difference {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]: {verdict}."
    )


def curves(
    title: str, found: Study, estimate_of: Mapping[tuple[str, str, int], Estimate], plan: Plan
) -> dict[str, dict[str, Any]]:
    """Accuracy against N; best of all attempts against the number of problems taught on (both sides see the same)."""
    sizes = sorted(found.rule_worth)
    styles = {MAIN: "arm", FIXED: "control", "majority": "null", "random": "null", AFTER: "oracle", PASS: "oracle"}
    points = {arm: [estimate_of[title, arm, n] for n in sizes] for arm in styles}
    series = [{"name": arm, "style": style, "y": [p.value for p in points[arm]], "low": [p.low for p in points[arm]],
               "high": [p.high for p in points[arm]]} for arm, style in styles.items()]  # fmt: skip
    shown: dict[str, dict[str, Any]] = {f"{title}: accuracy of the pick against N": {"x": sizes, "series": series}}
    taught = sorted({num for _, num in found.curve})
    if taught:
        most = len(found.pools.problem_ids) * (plan.num_folds - 1) // plan.num_folds
        lines = [{"name": arm, "style": styles[arm],
                  "y": [*(float(np.mean(found.curve[arm, num])) for num in taught), points[arm][-1].value]}
                 for arm in (MAIN, FIXED)]  # fmt: skip
        shown[f"{title}: best of {sizes[-1]} against problems taught on"] = {"x": [*taught, most], "series": lines}
    return shown


def lines(found: Study, told: Views, menu: Mapping[str, Member]) -> list[str]:
    """What was chosen, how every member of the menu did without a choice, and the rule taught on all problems."""
    name = found.chosen_members.most_common(1)[0][0]
    weight_F, columns = weights(told, menu[name]), main_columns(found.pools)[menu[name].view]
    shown = sorted(zip(menu[name].column_F.tolist(), weight_F.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    members = [f"{one} {value.mean():.3f}" for one, value in found.member_worth.items()]
    return [
        f"Fixed rules chosen: {_counted(found.chosen_rules)}.",
        f"Members chosen: {_counted(found.chosen_members)}.",
        f"Each member without a choice, best of all attempts: {'; '.join(members)}.",
        f"The member chosen most often ({name}), taught on all problems: "
        + ", ".join(f"{weight:+.3f} x {columns[c]}" for c, weight in shown if abs(weight) > 5e-4) + ".",
    ]  # fmt: skip


def _counted(counter: Mapping[str, int]) -> str:
    ranked = sorted(counter.items(), key=lambda item: -item[1])
    return "; ".join(f"{name} ({count})" for name, count in ranked)
