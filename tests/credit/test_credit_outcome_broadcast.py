"""outcome_broadcast: the attempt's outcome on every sampled step."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.outcome_broadcast import outcome_broadcast

PROBLEM = Problem("p", "?")
NAN = np.nan


def test_every_step_gets_its_attempts_outcome():
    attempts = [[Step("a"), Step("b")], [Step("c")], [Step("d")]]
    outcomes = [Outcome(reward=1.0), Outcome(reward=0.25), Outcome(status="truncated")]
    credit = outcome_broadcast(star(PROBLEM, attempts, outcomes))
    assert np.array_equal(credit.values_N, [NAN, 1, 1, 0.25, NAN], equal_nan=True)
    assert credit.kind == "label" and credit.weight_N.tolist() == [0, 1, 1, 1, 0]


def test_shared_steps_get_the_mean_of_what_was_scored_below():
    """1 leads to outcomes 1, 0 and one unscored: 1/2."""
    steps = (prompt_step(PROBLEM), Step("a"), Step("b"), Step("c"), Step("d"))
    outcomes = (None, None, Outcome(reward=1.0), Outcome(reward=0.0), Outcome(status="timeout"))
    credit = outcome_broadcast(Tree(PROBLEM, steps, [-1, 0, 1, 1, 1], outcomes))
    assert np.array_equal(credit.values_N, [NAN, 0.5, 1, 0, NAN], equal_nan=True)


def test_tool_results_are_never_assigned():
    attempt = [Step("query", kind="tool_call"), Step("3 rows", kind="tool_result", sampled=False), Step("3")]
    credit = outcome_broadcast(star(PROBLEM, [attempt], [Outcome(reward=1.0)]))
    assert np.array_equal(credit.values_N, [NAN, 1, NAN, 1], equal_nan=True)


def test_a_reward_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], problem 'p' has -1.0 at node 1"):
        outcome_broadcast(star(PROBLEM, [[Step("a")]], [Outcome(reward=-1.0)]))
