"""change_point: P(sound so far) from sparse restarts, by hand."""

import numpy as np
import pytest

from stepcredit import Judgment, Outcome, Problem, Step, Tree
from stepcredit.core.change_point import Beliefs, first_error_prior, posterior
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.change_point import change_point

PROBLEM = Problem("p", "?")


def restarted(rewards, places):
    """A wrong attempt of four steps, 1-2-3-4, a right one, 5, and one restart with each reward behind each place."""
    steps = [prompt_step(PROBLEM), *(Step(str(n)) for n in range(1, 6)), *(Step("r") for _ in rewards)]
    outcomes = [None] * 4 + [Outcome(reward=0.0), Outcome(reward=1.0), *(Outcome(reward=r) for r in rewards)]
    groups = [0, 0, 0, 0, 0, 1, *range(2, 2 + len(rewards))]
    return Tree(PROBLEM, tuple(steps), [-1, 0, 1, 2, 3, 0, *places], tuple(outcomes), group_N=groups)


def test_one_success_speaks_for_every_step_before_it():
    # A success behind step 2: only steps 3 and 4 are left to blame, and nothing is known between them.
    values = change_point(restarted([1.0], [2])).values_N
    assert values[1:6].tolist() == pytest.approx([1, 1, 0.5, 0, 1]) and np.isnan(values[[0, 6]]).all()


def test_values_are_the_tail_of_the_posterior():
    tree = restarted([1.0, 0.0, 0.0], [1, 3, 3])
    place_S = posterior([1, 0, 0, 0], [1, 0, 2, 0], Beliefs((0.25,) * 4, right=1, wrong=1))
    assert change_point(tree).values_N[1:5] == pytest.approx(1 - np.cumsum(place_S))


def test_with_recovery_a_success_is_no_proof():
    values = change_point(restarted([1.0], [2]), recovery=0.2).values_N
    assert 0.5 < values[2] < 1 and values[4] == 0


def test_without_restarts_or_outcome_nothing_is_said():
    assert np.isnan(change_point(restarted([], [])).values_N[1:5]).all()
    tree = star(PROBLEM, [[Step("a"), Step("b")], [Step("c")]], [Outcome(status="timeout"), Outcome(reward=0.0)])
    assert np.array_equal(change_point(tree).values_N, [np.nan, np.nan, np.nan, 0.0], equal_nan=True)


def says(*scores):
    return lambda pairs: [Judgment(scores[-1], scores) for _ in pairs]


def test_a_judge_decides_where_no_restart_does_and_doubt_is_what_it_does_not_get():
    # Falls of 0, .8, 0, 0: (1 - .2) at step 2, and .2 / 4 everywhere.
    credit = change_point(restarted([], []), judge=says(1.0, 0.2, 0.2, 0.2), doubt=0.2)
    assert credit.values_N[1:6] == pytest.approx([0.95, 0.1, 0.05, 0, 1]) and credit.cost.judge_calls == 1
    # One that says nothing of the steps leaves them open: no fall, a wrong number of scores.
    for silent in (says(1.0, 1.0, 1.0, 1.0), says(0.5)):
        assert np.isnan(change_point(restarted([], []), judge=silent).values_N[1:5]).all()


def test_a_judge_is_the_prior_of_what_restarts_tell():
    tree = restarted([0.0, 0.0], [2, 2])
    prior = first_error_prior(4, [0.9, 0.8, 0.2, 0.1], 0.3)
    place_S = posterior([0, 0, 0, 0], [0, 2, 0, 0], Beliefs(prior, right=1, wrong=1))
    found = change_point(tree, judge=says(0.9, 0.8, 0.2, 0.1), doubt=0.3).values_N[1:4]
    assert found == pytest.approx(1 - np.cumsum(place_S)[:3])
    with pytest.raises(ValueError, match="doubt is 0"):
        change_point(tree, doubt=0)
