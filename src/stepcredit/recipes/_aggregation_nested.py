"""Nested and problem-disjoint: every problem is scored by rules and models chosen on other problems only.

Each of S repeats cuts the problems in K folds. On the other folds the fixed rule with the best accuracy is chosen, and
a learner is taught (its menu by inner folds of those same problems); both pick on the fold held out, from the same
draws. A problem's worth is the mean over repeats, so that intervals over problems see each problem once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.rng import rng
from stepcredit.core.types import Bools, Floats, Ints
from stepcredit.recipes._aggregation_fit import Views, choose_member, of, teach
from stepcredit.recipes._aggregation_fixed import Rule, choose, rule_worth, rules_of
from stepcredit.recipes._aggregation_learners import Learner, learners, main_menu
from stepcredit.recipes._aggregation_rows import draws, worth
from stepcredit.recipes._bon32 import AGGREGATIONS, Pools

MAIN, FIXED, BY_DRAWS = "learned", "fixed choice", "fixed choice by draws"


@dataclass(frozen=True)
class Plan:
    """How much: repeats, folds, draws and their size for teaching, sizes and draws for measuring."""

    num_repeats: int = 8
    num_folds: int = 10
    num_inner: int = 5
    teach_size: int = 16
    num_teach_draws: int = 8
    sizes: tuple[int, ...] = (4, 8, 16, 32)
    num_draws: int = 32
    penalties: tuple[float, ...] = (1.0,)
    curve: tuple[int, ...] = (25, 50, 100)
    num_curve_repeats: int = 2
    seed: int = 0


@dataclass(eq=False)
class Study:
    """What was measured on one set: worth by (arm, N) as [S, P], learning curves, and what was chosen."""

    pools: Pools
    rules: list[Rule]
    rule_worth: dict[int, Floats]
    worth: dict[tuple[str, int], Floats]
    member_worth: dict[str, Floats]
    chosen_rules: Counter[str] = field(default_factory=Counter)
    chosen_members: Counter[str] = field(default_factory=Counter)
    curve: dict[tuple[str, int], list[float]] = field(default_factory=dict)


def groups_of(rules: Sequence[Rule]) -> dict[str, Ints]:
    """The fixed rules by what is chosen among them: all, one aggregation's best-of-N, weighted majority, majority."""
    named = {FIXED: list(range(len(rules)))}
    for aggregation in AGGREGATIONS:
        named[f"best of N by {aggregation}"] = [
            i for i, r in enumerate(rules) if r.how == "best of N" and r.aggregation == aggregation
        ]
    for how in ("weighted majority", "majority"):
        named[how] = [i for i, r in enumerate(rules) if r.how == how]
    return {name: np.array(index) for name, index in named.items()}


def folds(num_problems: int, num_folds: int, seed: int, repeat: int) -> Ints:
    """The fold of each problem, of equal size but for one. Raises ValueError for fewer problems than 3 a fold."""
    if not 2 <= num_folds <= num_problems // 3:
        raise ValueError(f"{num_folds} folds of {num_problems} problems; allowed: 2 to {num_problems // 3}, 3 each")
    return np.asarray(rng(seed, "folds", repeat).permutation(num_problems) % num_folds)


def teaching_draws(pools: Pools, plan: Plan, repeat: int) -> Ints:
    """The draws that teach, of 16 attempts whatever N is measured: a problem says more in several draws than in one."""
    size = min(plan.teach_size, pools.right_PG.shape[1])
    return draws(pools, size, plan.num_teach_draws, rng(plan.seed, pools.name, "teach", repeat))


def informative(views: Views) -> Views:
    """The pools that can teach a choice."""
    return {name: rows.informative() for name, rows in views.items()}


def study(pools: Pools, plan: Plan) -> Study:
    """Run the nested comparison on one set."""
    num_problems, num_attempts = pools.right_PG.shape
    sizes = [n for n in plan.sizes if n < num_attempts] + [num_attempts]
    drawn_N = {n: draws(pools, n, plan.num_draws, rng(plan.seed, pools.name, "measure", n)) for n in sizes}
    rules, menu = rules_of(pools), main_menu(pools, plan.penalties)
    main, *others = learners(pools, plan.penalties, plan.num_inner)
    shape = (plan.num_repeats, num_problems)
    arms = [(name, n) for name in (*groups_of(rules), MAIN) for n in sizes]
    arms += [(name, num_attempts) for name in (BY_DRAWS, *(other.name for other in others))]
    found = Study(
        pools, rules, {n: rule_worth(pools, draw) for n, draw in drawn_N.items()},
        {arm: np.zeros(shape) for arm in arms}, {member.name: np.zeros(shape) for member in menu},
    )  # fmt: skip
    asked_N = {n: main.views(draw) for n, draw in drawn_N.items()}
    asked_of = {other.name: other.views(drawn_N[num_attempts]) for other in others}
    for repeat in range(plan.num_repeats):
        told_draws = teaching_draws(pools, plan, repeat)
        told = informative(main.views(told_draws))
        told_of = {other.name: informative(other.views(told_draws)) for other in others}
        fold_P = folds(num_problems, plan.num_folds, plan.seed, repeat)
        for fold in range(plan.num_folds):
            held_P, draw = fold_P == fold, rng(plan.seed, pools.name, "inner", repeat, fold)
            _fixed(found, held_P, repeat, num_attempts, plan.teach_size)
            ours, asked = of(told, ~held_P), {n: of(views, held_P) for n, views in asked_N.items()}
            chosen = choose_member(ours, menu, plan.num_inner, draw)
            found.chosen_members[chosen.name] += 1
            for member in menu:
                scorer = teach(ours, member)
                found.member_worth[member.name][repeat, held_P] = worth(*scorer(asked[num_attempts]))
                if member is chosen:
                    for n, views in asked.items():
                        found.worth[MAIN, n][repeat, held_P] = worth(*scorer(views))
            for other in others:
                scorer = other.taught(of(told_of[other.name], ~held_P), draw)
                found.worth[other.name, num_attempts][repeat, held_P] = worth(*scorer(of(asked_of[other.name], held_P)))
            if repeat < plan.num_curve_repeats:
                _curve(found, main, told, asked[num_attempts], held_P, plan, draw)
    return found


def _fixed(found: Study, held_P: Bools, repeat: int, num_attempts: int, teach_size: int) -> None:
    """Choose in every group of rules on the other problems, at the same N; and the choice made on draws instead."""
    for n, worth_RP in found.rule_worth.items():
        for name, index in groups_of(found.rules).items():
            share_R = choose(worth_RP[np.ix_(index, ~held_P)])
            found.worth[name, n][repeat, held_P] = share_R @ worth_RP[np.ix_(index, held_P)]
            if name == FIXED and n == num_attempts:
                found.chosen_rules[str(found.rules[int(np.argmax(share_R))])] += 1
    smooth = found.rule_worth.get(teach_size, found.rule_worth[num_attempts])
    share_R = choose(smooth[:, ~held_P])
    found.worth[BY_DRAWS, num_attempts][repeat, held_P] = share_R @ found.rule_worth[num_attempts][:, held_P]


def _curve(found: Study, main: Learner, told: Views, asked: Views, held_P: Bools, plan: Plan, draw: Rng) -> None:
    """One point of the learning curves for each number of problems: both sides see the same problems."""
    order, worth_RP = draw.permutation(np.flatnonzero(~held_P)), found.rule_worth[max(found.rule_worth)]
    for num in [n for n in plan.curve if n < len(order)]:
        few_P = np.zeros_like(held_P)
        few_P[order[:num]] = True
        found.curve.setdefault((MAIN, num), []).extend(worth(*main.taught(of(told, few_P), draw)(asked)))
        found.curve.setdefault((FIXED, num), []).extend(choose(worth_RP[:, few_P]) @ worth_RP[:, held_P])
