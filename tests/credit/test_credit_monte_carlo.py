"""monte_carlo: success rates of the restarts a tree already holds."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.monte_carlo import counts, intervals, monte_carlo

PROBLEM = Problem("p", "?")
NAN = np.nan


def restarted():
    """The attempt 1-2-3 (wrong, group 0), with restarts from 1: 4-5 right, 6 wrong, 7 timed out; from 2: 8 wrong.

    From 4, itself in a restart (group 1), one restart, 9, right: it is evidence on 4, not on 1.
    """
    steps = (prompt_step(PROBLEM), *(Step(str(n)) for n in range(1, 10)))
    #                 0  1  2  3  4  5  6  7  8  9
    parent_N = [-1, 0, 1, 2, 1, 4, 1, 1, 2, 4]
    group_N = [0, 0, 0, 0, 1, 1, 2, 3, 4, 5]
    reward = {3: 0.0, 5: 1.0, 6: 0.0, 8: 0.0, 9: 1.0}
    outcomes = [Outcome(reward=reward[n]) if n in reward else None for n in range(10)]
    outcomes[7] = Outcome(status="timeout")
    return Tree(PROBLEM, steps, parent_N, tuple(outcomes), group_N=group_N)


def test_a_value_is_the_success_rate_of_the_restarts_that_start_there():
    """1: one right of two scored; 2: none of one; 3 finished; 4: its restart 9; 7 unscored, so unknown."""
    credit = monte_carlo(restarted())
    assert np.array_equal(credit.values_N, [NAN, 0.5, 0, 0, 1, 1, 0, NAN, 0, 1], equal_nan=True)
    assert credit.kind == "value"


def test_hard_estimation_asks_whether_any_restart_succeeds():
    credit = monte_carlo(restarted(), soft=False)
    assert np.array_equal(credit.values_N, [NAN, 1, 0, 0, 1, 1, 0, NAN, 0, 1], equal_nan=True)


def test_labels_keep_their_counts():
    num_success_N, num_rollout_N = counts(restarted())
    assert num_rollout_N.tolist() == [0, 2, 1, 1, 1, 1, 1, 0, 1, 1]
    assert num_success_N.tolist() == [0, 1, 0, 0, 1, 1, 0, 0, 0, 1]


def test_steps_without_restarts_are_unknown_and_finished_ones_keep_their_outcome():
    tree = star(PROBLEM, [[Step("a"), Step("b")], [Step("c")]], [Outcome(reward=1.0), Outcome(status="truncated")])
    assert np.array_equal(monte_carlo(tree).values_N, [NAN, NAN, 1, NAN], equal_nan=True)


def test_without_groups_every_child_is_a_restart():
    steps = (prompt_step(PROBLEM), Step("a"), Step("b"), Step("c"), Step("d"))
    outcomes = (None, None, Outcome(reward=1.0), Outcome(reward=0.0), Outcome(reward=0.0))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1, 1], outcomes)
    assert np.isclose(monte_carlo(tree).values_N[1], 1 / 3)


def test_it_converges_to_the_value_of_a_known_process():
    """A step after which a rollout succeeds with probability .7: 4,000 restarts, four standard errors are .03."""
    rng = np.random.default_rng(0)
    hits = rng.uniform(size=4000) < 0.7
    steps = (prompt_step(PROBLEM), Step("a"), *(Step("r") for _ in hits))
    outcomes = (None, None, *(Outcome(reward=float(hit)) for hit in hits))
    tree = Tree(PROBLEM, steps, [-1, 0] + [1] * 4000, outcomes, group_N=[0, 0, *range(1, 4001)])
    assert abs(monte_carlo(tree).values_N[1] - 0.7) < 0.03


def test_intervals_are_those_of_the_beta_posterior_by_hand():
    """No success of one: Beta(1, 2) with P(V < x) = 1 - (1 - x)^2; one of two: Beta(2, 2) with 3 x^2 - 2 x^3."""
    low_N, high_N = intervals(restarted(), level=0.5)
    assert 1 - (1 - low_N[2]) ** 2 == pytest.approx(0.25) and 1 - (1 - high_N[2]) ** 2 == pytest.approx(0.75)
    assert low_N[1] + high_N[1] == pytest.approx(1.0) and 3 * low_N[1] ** 2 - 2 * low_N[1] ** 3 == pytest.approx(0.25)
    # The prompt and the unscored are unknown; a finished node is its outcome.
    assert np.isnan(low_N[7]) and np.isnan(high_N[0]) and (low_N[3], high_N[3], low_N[5]) == (0, 0, 1)
    with pytest.raises(ValueError, match="level 1"):
        intervals(restarted(), level=1)


def trees_of(value, num_restarts, num, seed):
    """Trees of one step restarted `num_restarts` times, each right with probability `value`."""
    hits = np.random.default_rng(seed).uniform(size=(num, num_restarts)) < value
    steps = (prompt_step(PROBLEM), Step("a"), *(Step("r") for _ in range(num_restarts)))
    parents, groups = [-1, 0] + [1] * num_restarts, [0, 0, *range(1, num_restarts + 1)]
    return [
        Tree(PROBLEM, steps, parents, (None, None, *(Outcome(reward=float(h)) for h in row)), group_N=groups)
        for row in hits
    ]


@pytest.mark.parametrize(("value", "num_restarts"), [(0.3, 4), (0.05, 8)])
def test_bias_and_variance_of_both_estimates_are_the_closed_forms(value, num_restarts):
    """soft: mean V, variance V (1 - V) / K; hard: mean 1 - (1 - V)^K, bias upward by 1 - (1 - V)^K - V. Four standard errors."""
    num = 500
    trees = trees_of(value, num_restarts, num, 0)
    soft = np.array([monte_carlo(tree).values_N[1] for tree in trees])
    hard = np.array([monte_carlo(tree, soft=False).values_N[1] for tree in trees])
    variance, any_ = value * (1 - value) / num_restarts, 1 - (1 - value) ** num_restarts
    assert abs(soft.mean() - value) < 4 * np.sqrt(variance / num)
    # The variance of a sample variance: (mu4 - sigma^4) / n, mu4 of a mean of K coins by its formula.
    fourth = variance / num_restarts**2 * (1 - 6 * value * (1 - value)) + 3 * variance**2
    assert abs(soft.var() - variance) < 4 * np.sqrt((fourth - variance**2) / num)
    assert abs(hard.mean() - any_) < 4 * np.sqrt(any_ * (1 - any_) / num) < any_ - value


def test_intervals_hold_the_value_as_often_as_they_say_when_it_is_drawn_from_their_prior():
    """V uniform, then the coins: the Beta posterior's .8 interval holds V in .8 of cases, exactly. Four standard errors."""
    draw, held = np.random.default_rng(1), []
    for value in draw.uniform(size=300):
        (tree,) = trees_of(value, 5, 1, int(draw.integers(2**31)))
        low_N, high_N = intervals(tree, level=0.8)
        held.append(low_N[1] <= value <= high_N[1])
    assert abs(np.mean(held) - 0.8) < 4 * np.sqrt(0.8 * 0.2 / 300)
