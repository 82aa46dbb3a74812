"""outcome_last: the attempt's outcome on its last sampled step, 0 before it."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.outcome_broadcast import outcome_broadcast
from stepcredit.credit.outcome_last import outcome_last

PROBLEM = Problem("p", "?")
NAN = np.nan


def test_the_last_step_gets_the_outcome_and_the_steps_before_it_0():
    attempts = [[Step("a"), Step("b")], [Step("c"), Step("d")], [Step("e")]]
    outcomes = [Outcome(reward=1.0), Outcome(reward=0.25), Outcome(status="truncated")]
    credit = outcome_last(star(PROBLEM, attempts, outcomes))
    assert np.array_equal(credit.values_N, [NAN, 0, 1, 0, 0.25, NAN], equal_nan=True)
    assert credit.kind == "label" and credit.weight_N.tolist() == [0, 1, 1, 1, 1, 0]


def test_the_last_step_is_the_last_the_policy_wrote():
    attempt = [Step("query", kind="tool_call"), Step("3 rows", kind="tool_result", sampled=False)]
    credit = outcome_last(star(PROBLEM, [attempt * 2], [Outcome(reward=1.0)]))
    assert np.array_equal(credit.values_N, [NAN, 0, NAN, 1, NAN], equal_nan=True)


def test_shared_steps_get_the_mean_over_the_scored_attempts_through_them():
    """Node 1 is shared and never last: 0. Its tool result ends a second attempt with 1, so that 1 is last there: 1/2."""
    result = Step("ok", kind="tool_result", sampled=False)
    steps = (prompt_step(PROBLEM), Step("a"), Step("b"), result)
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1], (None, None, Outcome(reward=1.0), Outcome(reward=1.0)))
    assert np.array_equal(outcome_last(tree).values_N, [NAN, 0.5, 1, NAN], equal_nan=True)


def test_attempts_of_one_step_reduce_to_broadcast():
    tree = star(PROBLEM, [[Step("a")], [Step("b")]], [Outcome(reward=1.0), Outcome(reward=0.0)])
    assert np.array_equal(outcome_last(tree).values_N, outcome_broadcast(tree).values_N, equal_nan=True)


def test_a_reward_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], problem 'p' has -1.0 at node 1"):
        outcome_last(star(PROBLEM, [[Step("a")]], [Outcome(reward=-1.0)]))
