"""Learning to aggregate from outcomes: a listwise choice among the answers of a pool, and the menu it is chosen from.

    P(a) = softmax_a(w . x_a),    maximise  mean over draws sum over problems log sum_a P(a) right_a - penalty / 2 |w|^2

McFadden's conditional logit (1974), with the chance of *any* right row as likelihood; features are divided by their
spread within the pools taught on; weights of judges and of the count are not negative, those of length are free. Only
outcomes teach. Degenerate: without a pool that holds right and wrong rows all weights are 0, and every row is tied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.types import Bools, Floats, Ints
from stepcredit.recipes._aggregation_rows import Rows

Views = Mapping[str, Rows]  # the same drawn pools, seen by answer, by attempt, ...
Scorer = Callable[[Views], tuple[Rows, Floats]]  # the rows that are scored, and their scores


@dataclass(frozen=True, eq=False)
class Member:
    """One model of a menu: its view, which columns it sees, how many of the last are free in sign, and its penalty."""

    name: str
    view: str
    column_F: Ints
    num_free: int
    penalty: float


def fit(rows: Rows, num_free: int, penalty: float) -> Floats:
    """Weights [F] of the listwise choice; the objective is concave but for rows that are partly right."""
    from scipy.optimize import minimize

    told = rows.informative()
    num = rows.feature_RF.shape[1]
    if not len(told.start_B):
        return np.zeros(num)
    pool_R = told.pool_R
    size_B = np.bincount(pool_R)[:, None]
    centred = told.feature_RF - (np.add.reduceat(told.feature_RF, told.start_B) / size_B)[pool_R]
    spread_F = centred.std(axis=0)
    spread_F = np.where(spread_F > 1e-9, spread_F, 1.0)
    x_RF, share = centred / spread_F, 1 / rows.num_draws

    def loss(weight_F: Floats) -> tuple[float, Floats]:
        z = x_RF @ weight_F
        mass = np.exp(z - np.maximum.reduceat(z, told.start_B)[pool_R])
        right = mass * told.right_R
        all_B, right_B = np.add.reduceat(mass, told.start_B), np.add.reduceat(right, told.start_B)
        slope_F = (right / right_B[pool_R] - mass / all_B[pool_R]) @ x_RF
        value = -share * float(np.log(right_B / all_B).sum()) + penalty / 2 * float(weight_F @ weight_F)
        return value, -share * slope_F + penalty * weight_F

    bounds = [(0.0, None)] * (num - num_free) + [(None, None)] * num_free
    found = minimize(loss, np.full(num, 0.1), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-7})
    return np.asarray(found.x / spread_F)


def log_likelihood(rows: Rows, score_R: Floats) -> float:
    """Sum over pools of the log chance of a right row; a pool without any is left out."""
    mass = np.exp(score_R - np.maximum.reduceat(score_R, rows.start_B)[rows.pool_R])
    right_B = np.add.reduceat(mass * rows.right_R, rows.start_B)
    chance_B = right_B / np.add.reduceat(mass, rows.start_B)
    some_B = np.add.reduceat(rows.right_R, rows.start_B) > 0
    return float(np.log(np.maximum(chance_B[some_B], 1e-12)).sum())


def choose_member(told: Views, menu: Sequence[Member], num_folds: int, rng: Rng) -> Member:
    """The member with the best held-out likelihood over folds of the problems of `told`; ties go to the first."""
    problem_R = next(iter(told.values())).problem_R
    if len(menu) == 1 or not len(problem_R):
        return menu[0]
    order = rng.permutation(np.unique(problem_R))
    total_M = np.zeros(len(menu))
    for fold in range(num_folds):
        held_P = np.zeros(int(problem_R.max()) + 1, dtype=bool)
        held_P[order[fold::num_folds]] = True
        ours, theirs = of(told, ~held_P), of(told, held_P)
        for index, member in enumerate(menu):
            total_M[index] += log_likelihood(*teach(ours, member)(theirs))
    return menu[int(np.argmax(total_M))]


def of(views: Views, keep_P: Bools) -> Views:
    """Every view of some problems."""
    return {name: rows.of(keep_P) for name, rows in views.items()}


def weights(told: Views, member: Member) -> Floats:
    """Weights of a member's columns, taught on all the problems of `told`."""
    rows = told[member.view]
    seen = Rows(rows.feature_RF[:, member.column_F], rows.right_R, rows.problem_R, rows.start_B, rows.num_draws)
    return fit(seen, member.num_free, member.penalty)


def teach(told: Views, member: Member) -> Scorer:
    """A member taught on all the problems of `told`."""
    weight_F = weights(told, member)

    def score(views: Views) -> tuple[Rows, Floats]:
        rows = views[member.view]
        return rows, np.asarray(rows.feature_RF[:, member.column_F] @ weight_F)

    return score
