"""The ways to learn an aggregation that are compared: what each sees of a pool, and what it may choose from.

    learned          answers or attempts: every judge's scores (of an answer: pooled), the number that state the answer,
                     length; a listwise choice, its menu chosen by held-out likelihood
    rank sum         attempts: a non-negative combination of each judge's ranks within the pool
    stacked rules    answers: which fixed rules pick them
    logistic         attempts one by one, pointwise
    boosted trees    answers one by one, pointwise

The first is what the study rests on; the others were tried beside it and are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.types import Floats, Ints
from stepcredit.recipes._aggregation_fit import Member, Scorer, Views, choose_member, teach
from stepcredit.recipes._aggregation_fixed import picks
from stepcredit.recipes._aggregation_rows import Pooled, Rows, drawn, logit, rows_of
from stepcredit.recipes._bon32 import AGGREGATIONS, Pools

SEEN = {"last": ("last",), "last and mean": ("last", "mean"), "all five": AGGREGATIONS}
VIEWED: tuple[tuple[str, str, tuple[Pooled, ...]], ...] = (
    ("answer", "odds of an answer", ("odds",)),
    ("answer", "mean and max of an answer", ("mean", "max")),
    ("attempt", "an attempt", ("mean",)),
)
BLOCKS: tuple[Pooled, ...] = ("mean", "odds", "max")

PER_ANSWER, PER_ATTEMPT = "answer", "attempt"


@dataclass(frozen=True, eq=False)
class Learner:
    """A name, the views it takes of drawn pools, and what teaches a scorer: (views, rng) -> scorer."""

    name: str
    views: Callable[[Ints], Views]
    taught: Callable[[Views, Rng], Scorer]


def main_menu(pools: Pools, penalties: Sequence[float]) -> list[Member]:
    """What the main learner chooses from: unit and pooling x aggregations x length seen or not x penalty."""
    num_judges, num_seen = len(pools.judges), len(AGGREGATIONS)
    column_BJA = np.arange(len(BLOCKS) * num_judges * num_seen).reshape(len(BLOCKS), num_judges, num_seen)
    menu = []
    for view, pooled, hows in VIEWED:
        blocks = len(BLOCKS) if view == PER_ANSWER else 1
        length, count = [blocks * column_BJA[0].size, blocks * column_BJA[0].size + 1], blocks * column_BJA[0].size + 2
        for seen, aggregations in SEEN.items():
            at_A = [AGGREGATIONS.index(one) for one in aggregations]
            scores = [c for how in hows for c in column_BJA[BLOCKS.index(how)][:, at_A].ravel()]
            for free in ([], length):
                for penalty in penalties:
                    name = f"{pooled}; {seen}; {'with' if free else 'no'} length; penalty {penalty:g}"
                    menu.append(Member(name, view, np.array([*scores, count, *free]), len(free), penalty))
    return menu


def main_columns(pools: Pools) -> dict[str, list[str]]:
    """What each column of the main learner's views is."""
    scores = [f"{judge} {one}" for judge in pools.judges for one in AGGREGATIONS]
    rest = ["log tokens", "log steps", "log attempts"]
    return {PER_ANSWER: [*(f"{one}, {how}" for how in BLOCKS for one in scores), *rest], PER_ATTEMPT: [*scores, *rest]}


def learners(pools: Pools, penalties: Sequence[float], num_inner: int) -> list[Learner]:
    """All of them, the main one first."""
    logit_PGF = logit(pools.score_PGJA).reshape(*pools.right_PG.shape, -1)
    num = logit_PGF.shape[-1]

    def both(draw_DPN: Ints) -> Views:
        value, length = drawn(logit_PGF, draw_DPN), drawn(pools.length_PGL, draw_DPN)
        pooled: list[tuple[Floats, Pooled]] = [(value, how) for how in BLOCKS]
        return {
            PER_ANSWER: rows_of(pools, draw_DPN, [*pooled, (length, "mean")]),
            PER_ATTEMPT: rows_of(pools, draw_DPN, [(value, "mean"), (length, "mean")], by_answer=False),
        }

    def ranks(draw_DPN: Ints) -> Views:
        value = drawn(logit_PGF, draw_DPN)
        rank = np.stack([np.sign(value[:, :, [i]] - value).mean(axis=2) for i in range(value.shape[2])], axis=2)
        return {PER_ATTEMPT: rows_of(pools, draw_DPN, [(rank, "mean")], by_answer=False)}

    def rules(draw_DPN: Ints) -> Views:
        return {PER_ANSWER: rows_of(pools, draw_DPN, [(np.stack([picks(pools, draw) for draw in draw_DPN]), "sum")])}

    def listwise(name: str, views: Callable[[Ints], Views], menu: Sequence[Member]) -> Learner:
        return Learner(name, views, lambda told, rng: teach(told, choose_member(told, menu, num_inner, rng)))

    def members(view: str, size: int) -> list[Member]:
        return [Member(f"penalty {p:g}", view, np.arange(size), 0, p) for p in penalties]

    return [
        listwise("learned", both, main_menu(pools, penalties)),
        listwise("rank sum", ranks, members(PER_ATTEMPT, num)),
        listwise("stacked rules", rules, members(PER_ANSWER, 2 * num + 2)),
        Learner("logistic", both, _logistic),
        Learner("boosted trees", both, _boosted),
    ]


def _relative(rows: Rows) -> Floats:
    """Features minus their mean over the rows of the pool: what is common to a pool decides nothing in it."""
    pool_R = rows.pool_R
    mean_BF = np.add.reduceat(rows.feature_RF, rows.start_B) / np.bincount(pool_R)[:, None]
    return np.asarray(rows.feature_RF - mean_BF[pool_R])


def _logistic(told: Views, rng: Rng) -> Scorer:
    """Chance that an attempt is right, by logistic regression with a fixed penalty."""
    from sklearn.linear_model import LogisticRegression

    return _pointwise(LogisticRegression(C=0.01, max_iter=500), told, PER_ATTEMPT)


def _boosted(told: Views, rng: Rng) -> Scorer:
    """Chance that an answer is right, by 100 boosted trees of depth 2 with fixed settings."""
    from sklearn.ensemble import GradientBoostingClassifier

    settings: dict[str, Any] = {"n_estimators": 100, "max_depth": 2, "subsample": 0.5, "max_features": "sqrt"}
    return _pointwise(GradientBoostingClassifier(**settings, random_state=int(rng.integers(2**31))), told, PER_ANSWER)


def _pointwise(model: Any, told: Views, view: str) -> Scorer:
    """A classifier of rows; it scores all alike where the rows taught on are all right or all wrong."""
    rows = told[view]
    if len(np.unique(rows.right_R > 0.5)) < 2:
        return lambda views: (views[view], np.zeros(len(views[view].right_R)))
    x_RF = _relative(rows)
    spread_F = np.maximum(x_RF.std(axis=0), 1e-9)
    model.fit(x_RF / spread_F, rows.right_R > 0.5)
    return lambda views: (views[view], np.asarray(model.decision_function(_relative(views[view]) / spread_F)))
