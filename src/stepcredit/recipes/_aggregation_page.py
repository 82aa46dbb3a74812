"""The run of `recipes/learned_aggregation` as a report shows it: arms beside controls, and paired differences.

Every interval resamples problems, each with its mean over repeats; nothing is taught anew within it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from stepcredit.core.rng import rng
from stepcredit.core.stats import clustered_mean
from stepcredit.core.types import Estimate, Floats
from stepcredit.evaluate.curves import pass_at
from stepcredit.recipes._aggregation_fit import Views, teach
from stepcredit.recipes._aggregation_learners import learners, main_menu
from stepcredit.recipes._aggregation_nested import (
    BY_DRAWS,
    FIXED,
    MAIN,
    Plan,
    Study,
    groups_of,
    informative,
    teaching_draws,
)
from stepcredit.recipes._aggregation_rows import draws, worth
from stepcredit.recipes._aggregation_told import AFTER, CEILING, PASS, Worth, curves, lines, sentences

NOTES = {
    MAIN: "menu chosen and taught on other problems",
    FIXED: "judge, aggregation and pick chosen on the same other problems",
    BY_DRAWS: "chosen by best-of-16 over draws, a steadier criterion",
    AFTER: "sees the outcomes it is measured on",
    CEILING: "the best member of the menu on the outcomes it was taught: what the class could do",
    PASS: "a right attempt is among the N",
}


def results_of(studies: Mapping[str, Study], plan: Plan, num_resamples: int) -> dict[str, Any]:
    """Table, results, curves, diagnostics and summary of the sets, keyed by title."""

    def estimate(value_P: Floats, unit: str, *names: str | int) -> Estimate:
        return clustered_mean(value_P, unit, rng=rng(plan.seed, "boot", *names), num_resamples=num_resamples)

    told_of = {title: _told(found, plan) for title, found in studies.items()}
    worth_of = {title: _worth(found, told_of[title], plan) for title, found in studies.items()}
    kinds = _kinds(next(iter(studies.values())))
    estimate_of = {(title, arm, n): estimate(v, "accuracy", title, arm, n)
                   for title, of in worth_of.items() for (arm, n), v in of.items()}  # fmt: skip
    gaps = {(where, rival): estimate(gap_P, "difference in accuracy", where, rival)
            for (where, rival), gap_P in _gaps(worth_of).items()}  # fmt: skip
    columns = {(title, n): f"{title}, N = {n}" for title, of in worth_of.items() for n in sorted({n for _, n in of})}
    rows = [
        {"arm": arm, "kind": kind, "note": NOTES.get(arm, ""),
         "cells": {columns[t, n]: asdict(e) for (t, a, n), e in estimate_of.items() if a == arm}}
        for arm, kind in kinds.items()
    ]  # fmt: skip
    results = [{"name": f"{columns[t, n]}: {arm}", **asdict(e), "control": kinds[arm] != "label-free"}
               for (t, arm, n), e in estimate_of.items()]  # fmt: skip
    results += [
        {"name": f"{where}: {MAIN} minus {rival}", **asdict(e), "control": rival} for (where, rival), e in gaps.items()
    ]
    summary = [line for title, of in worth_of.items() for line in sentences(title, of, gaps)]
    summary += [f"{where}: difference {e.value:+.4f} [{e.low:+.4f}, {e.high:+.4f}] over {e.n} problems."
                for (where, _), e in gaps.items() if where.startswith("all sets")]  # fmt: skip
    return {
        "summary": [*summary, *(_tried(title, of, kinds) for title, of in worth_of.items())],
        "results": results,
        "table": {"columns": list(columns.values()), "rows": rows},
        "curves": {k: v for title, found in studies.items() for k, v in curves(title, found, estimate_of, plan).items()},
        "diagnostics": [{"arm": title, "lines": lines(found, told_of[title], _menu(found, plan))}
                        for title, found in studies.items()],
    }  # fmt: skip


def _menu(found: Study, plan: Plan) -> dict[str, Any]:
    return {member.name: member for member in main_menu(found.pools, plan.penalties)}


def _kinds(found: Study) -> dict[str, str]:
    """Every arm and its part in the table, in order."""
    groups = groups_of(found.rules)
    learned = dict.fromkeys(name for name, _ in found.worth if name not in groups and name not in (MAIN, BY_DRAWS))
    controls = [FIXED, BY_DRAWS, *(name for name in groups if name not in (FIXED, "majority"))]
    return {
        **dict.fromkeys([MAIN, *learned], "label-free"), **dict.fromkeys(controls, "control"),
        **dict.fromkeys(["random", "majority"], "null"), **dict.fromkeys([AFTER, CEILING, PASS], "oracle"),
    }  # fmt: skip


def _told(found: Study, plan: Plan) -> Views:
    """What the main learner is taught by, all problems together."""
    main = learners(found.pools, plan.penalties, plan.num_inner)[0]
    return informative(main.views(teaching_draws(found.pools, plan, 0)))


def _worth(found: Study, told: Views, plan: Plan) -> Worth:
    """Worth by problem of every arm and N, mean over repeats, with the nulls and what knows the outcomes."""
    of = {arm: value_SP.mean(axis=0) for arm, value_SP in found.worth.items()}
    right_PG = found.pools.right_PG
    for n, worth_RP in found.rule_worth.items():
        of["random", n] = right_PG.mean(axis=1)
        of[AFTER, n] = worth_RP[int(np.argmax(worth_RP.mean(axis=1)))]
        of[PASS, n] = np.array([pass_at(right_G, n) for right_G in right_PG])
    size = right_PG.shape[1]
    asked = learners(found.pools, plan.penalties, plan.num_inner)[0].views(draws(found.pools, size, 1, rng(plan.seed)))
    members = [worth(*teach(told, member)(asked)) for member in _menu(found, plan).values()]
    of[CEILING, size] = max(members, key=lambda worth_P: float(worth_P.mean()))
    return of


def _gaps(worth_of: Mapping[str, Worth]) -> dict[tuple[str, str], Floats]:
    """Learned minus its rivals by problem: against the fixed choice at every N, and over the sets together."""
    found = {}
    for title, of in worth_of.items():
        full = max(n for _, n in of)
        for rival, n in of:
            if rival not in (MAIN, PASS, CEILING) and (n == full or rival in (FIXED, AFTER)):
                found[f"{title}, N = {n}", rival] = of[MAIN, n] - of[rival, n]
    if len(worth_of) > 1:
        shared = set.intersection(*({n for _, n in of} for of in worth_of.values()))
        for n in sorted(shared, reverse=True):
            found[f"all sets, N = {n}", FIXED] = np.concatenate(
                [of[MAIN, n] - of[FIXED, n] for of in worth_of.values()]
            )
    return found


def _tried(title: str, of: Worth, kinds: Mapping[str, str]) -> str:
    """The ways to learn, at the full pool."""
    full = max(n for _, n in of)
    told = [f"{arm} {of[arm, full].mean():.4f}" for arm, kind in kinds.items() if kind == "label-free"]
    return f"{title}, every way to learn at N = {full}: {', '.join(told)}."
