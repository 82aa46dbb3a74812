"""Rewards become advantages without paying for length; anything but a reward or an advantage is refused."""

import numpy as np
import pytest

from stepcredit import Credit, Outcome, Problem, Step
from stepcredit.core.tree import star
from stepcredit.train.policy_samples import without_signal
from stepcredit.train.step_advantages import step_advantages

PROBLEM = Problem("p", "?")


def tree_of(*lengths):
    attempts = [[Step(f"{index}{place}") for place in range(num)] for index, num in enumerate(lengths)]
    return star(PROBLEM, attempts, [Outcome(reward=1.0)] * len(lengths))


def rewards(tree, *values):
    return Credit([np.nan, *values], "reward", [0.0, *([1.0] * len(values))], "made_up")


def test_rewards_to_go_are_means_less_the_mean_of_attempts():
    # Attempts (1, 0) and (1): R = (1/2, 0) and (1), baseline (1/2 + 1) / 2 = 3/4.
    tree = tree_of(2, 1)
    assert step_advantages(tree, rewards(tree, 1.0, 0.0, 1.0))[1:].tolist() == [-0.25, -0.75, 0.25]


def test_a_constant_positive_reward_is_no_length_bonus():
    tree = tree_of(1, 7)
    assert np.all(step_advantages(tree, rewards(tree, *[0.9] * 8))[1:] == 0.0)


def test_summed_rewards_are_one():
    """What peers do under GRPO: seven steps at .9 are worth 6.3, one is worth .9; the baseline is their mean, 3.6."""
    tree = tree_of(1, 7)
    advantage_N = step_advantages(tree, rewards(tree, *[0.9] * 8), returns="sum")
    assert advantage_N[1] == pytest.approx(-2.7) and advantage_N[2] == pytest.approx(2.7)


def test_groups_without_signal_are_counted_by_the_advantages_that_are_trained():
    tree = tree_of(1, 2)
    credit = rewards(tree, 0.5, 0.5, 0.5)
    assert without_signal([tree], [credit]) == (1, 1) and without_signal([tree], [credit], "sum") == (0, 1)


def test_one_attempt_carries_nothing():
    tree = tree_of(3)
    for returns in ("mean", "sum"):
        assert np.all(step_advantages(tree, rewards(tree, 1.0, 0.0, 0.3), returns=returns)[1:] == 0.0)


def test_an_attempt_without_rewards_takes_no_part():
    tree = tree_of(1, 1, 1)
    credit = Credit([np.nan, 1.0, np.nan, 0.0], "reward", [0, 1, 0, 1], "made_up")
    found = step_advantages(tree, credit)
    assert np.isnan(found[[0, 2]]).all() and found[[1, 3]].tolist() == [0.5, -0.5]


def test_advantages_are_taken_as_they_are():
    tree = tree_of(1, 1)
    credit = Credit([np.nan, 3.0, -1.0], "advantage", [0, 1, 1], "made_up")
    assert step_advantages(tree, credit)[1:].tolist() == [3.0, -1.0]


@pytest.mark.parametrize("kind", ["value", "label"])
def test_a_probability_is_no_advantage(kind):
    tree = tree_of(1)
    with pytest.raises(ValueError, match=f"is a {kind}; a policy is trained by"):
        step_advantages(tree, Credit([np.nan, 0.5], kind, [0, 1], "made_up"))


def test_wrong_shapes_and_knobs_are_refused():
    tree = tree_of(1)
    with pytest.raises(ValueError, match=r"expected \[2\], got \[1\]"):
        step_advantages(tree, Credit([0.5], "advantage", [1], "made_up"))
    with pytest.raises(ValueError, match="returns is 'max'; allowed: mean, sum"):
        step_advantages(tree, Credit([np.nan, 0.5], "advantage", [0, 1], "made_up"), returns="max")
