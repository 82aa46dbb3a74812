"""group_mean: GRPO, Dr.GRPO and RLOO on one tree, and its two rules for groups that do not vary."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.group_mean import advantages, group_mean

PROBLEM = Problem("p", "?")
NAN = np.nan


def group(*rewards, length=2):
    outcomes = [Outcome(status="truncated") if np.isnan(r) else Outcome(reward=r) for r in rewards]
    return star(PROBLEM, [[Step(f"{i}{j}") for j in range(length)] for i in range(len(rewards))], outcomes)


def test_grpo_divides_by_the_unbiased_deviation():
    """Rewards 1, 0, 0: mean 1/3, sum of squares 2/3, std sqrt(1/3); advantages 2/sqrt 3, -1/sqrt 3."""
    credit = group_mean(group(1.0, 0.0, 0.0, length=1))
    assert np.allclose(credit.values_N[1:], [2 / np.sqrt(3), -1 / np.sqrt(3), -1 / np.sqrt(3)])
    assert np.isclose(np.std([2 / np.sqrt(3), -1 / np.sqrt(3), -1 / np.sqrt(3)], ddof=1), 1.0)


def test_without_deviation_it_is_dr_grpo_and_leaving_one_out_rloo():
    """RLOO of 1, 0, 0: 1 - 0 = 1, and 0 - 1/2 twice."""
    assert np.allclose(advantages(np.array([1.0, 0, 0]), "none"), [2 / 3, -1 / 3, -1 / 3])
    assert np.allclose(advantages(np.array([1.0, 0, 0]), "none", True), [1, -0.5, -0.5])


def test_every_step_of_an_attempt_carries_the_same_advantage():
    credit = group_mean(group(1.0, 0.0, length=3), normalize="none")
    assert np.array_equal(credit.values_N, [NAN, 0.5, 0.5, 0.5, -0.5, -0.5, -0.5], equal_nan=True)


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1e-9, 1e9])
@pytest.mark.parametrize("num", [1, 2, 3, 7])
def test_equal_rewards_carry_exactly_no_advantage(num, reward):
    """The mean of three times 0.1 is not 0.1 in floating point; residue over 1e-6 would be a signal."""
    for normalize in ("std", "none"):
        assert np.all(group_mean(group(*[reward] * num), normalize=normalize).values_N[1:] == 0.0)


def test_barely_different_rewards_still_normalise():
    assert np.allclose(advantages(np.array([0.1, 0.1 + 1e-9])), [-1 / np.sqrt(2), 1 / np.sqrt(2)])


def test_unscored_attempts_take_no_part():
    with_one, without = group_mean(group(1.0, NAN, 0.0)), group_mean(group(1.0, 0.0))
    assert np.array_equal(with_one.values_N[[0, 1, 2, 5, 6]], without.values_N, equal_nan=True)
    assert np.all(np.isnan(with_one.values_N[3:5]))


def test_shared_steps_get_the_mean_advantage_below():
    """Leaves 1, 0 under node 1 and 0 alone: advantages 2/3, -1/3, -1/3 (no std); node 1 gets 1/6."""
    steps = (prompt_step(PROBLEM), Step("a"), Step("b"), Step("c"), Step("d"))
    outcomes = (None, None, Outcome(reward=1.0), Outcome(reward=0.0), Outcome(reward=0.0))
    credit = group_mean(Tree(PROBLEM, steps, [-1, 0, 1, 1, 0], outcomes), normalize="none")
    assert np.allclose(credit.values_N[1:], [1 / 6, 2 / 3, -1 / 3, -1 / 3])


def test_a_wrong_knob_is_named():
    with pytest.raises(ValueError, match="normalize is 'variance'; allowed: std, none"):
        group_mean(group(1.0, 0.0), normalize="variance")
