"""monte_carlo: success rates of the restarts a tree already holds."""

import numpy as np

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.monte_carlo import counts, monte_carlo

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
