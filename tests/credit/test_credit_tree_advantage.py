"""tree_advantage: Tree-GRPO's two z-scores on worked-out trees, and groups that do not vary."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.group_mean import group_mean
from stepcredit.credit.tree_advantage import tree_advantage, without_variance

PROBLEM = Problem("p", "?")
NAN = np.nan


def forest(*trees, grouped=True):
    """Trees whose leaves share one first step; a reward a leaf, NaN cut off."""
    steps, parents, outcomes, groups = [prompt_step(PROBLEM)], [-1], [None], [0]
    for index, rewards in enumerate(trees):
        shared = len(steps)
        steps.append(Step(f"{index}"))
        parents.append(0)
        outcomes.append(None)
        groups.append(index)
        for place, reward in enumerate(rewards):
            steps.append(Step(f"{index}.{place}"))
            parents.append(shared)
            outcomes.append(Outcome(status="truncated") if np.isnan(reward) else Outcome(reward=reward))
            groups.append(index)
    return Tree(PROBLEM, tuple(steps), parents, tuple(outcomes), group_N=groups if grouped else None)


def test_the_two_scores_and_their_sum():
    """Trees (1, 0, 0) and (0, 0, 0). All six: mean 1/6, squares 5/6, deviation sqrt(1/6): 2.041 and -.408.
    The first tree: mean 1/3, deviation sqrt(1/3): 1.155 and -.577; the second has no variance: 0.
    Shared steps: the mean of their leaves.
    """
    tree = forest((1.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    high, low = np.sqrt(6) * 5 / 6, -np.sqrt(6) / 6
    more, less = np.sqrt(3) * 2 / 3, -np.sqrt(3) / 3
    inter = np.array([(high + 2 * low) / 3, high, low, low, low, low, low, low])
    intra = np.array([0, more, less, less, 0, 0, 0, 0])
    for over, expected in (("inter", inter), ("intra", intra), ("both", inter + intra)):
        assert np.allclose(tree_advantage(tree, over=over).values_N[1:], expected, atol=1e-12), over
    assert np.allclose(tree_advantage(tree).values_N[[2, 3, 6]], [3.196, -0.986, -0.408], atol=1e-3)


def test_the_second_tree_is_exactly_zero_within_and_is_counted():
    tree = forest((0.8, 0.2), (0.8, 0.8, 0.8), (0.1,))
    values_N = tree_advantage(tree, over="intra").values_N
    assert values_N[4:].tolist() == [0.0] * 6
    assert without_variance([tree]) == {"inter": (0, 1), "intra": (2, 3)}
    assert without_variance([forest((1.0, 1.0), (1.0,)), tree]) == {"inter": (1, 2), "intra": (4, 5)}
    assert without_variance([forest((NAN,))]) == {"inter": (0, 0), "intra": (0, 0)}


@pytest.mark.parametrize("reward", [0.2, 0.8, 0.1])
@pytest.mark.parametrize("num", [1, 4, 6])
def test_no_residue_is_blown_up_where_all_rewards_are_equal(reward, num):
    """Twelve times .8 in single precision, over 1e-6, was .1 in the released code."""
    for over in ("both", "inter", "intra"):
        assert not tree_advantage(forest([reward] * num, [reward] * num), over=over).values_N[1:].any()


def test_a_tree_of_one_leaf_does_not_let_its_reward_through():
    tree = forest((1.0,), (0.0, 1.0))
    assert tree_advantage(tree, over="intra").values_N[1:3].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("over", ["both", "inter"])
@pytest.mark.parametrize("normalize", ["std", "none"])
def test_on_a_star_it_is_group_mean(over, normalize):
    rewards = [1.0, 0.0, 0.25, 1.0]
    tree = star(
        PROBLEM, [[Step(f"{i}{j}") for j in range(1 + i)] for i in range(4)], [Outcome(reward=r) for r in rewards]
    )
    one, other = tree_advantage(tree, over=over, normalize=normalize), group_mean(tree, normalize=normalize)
    assert np.array_equal(one.values_N, other.values_N, equal_nan=True)
    assert np.array_equal(one.weight_N, other.weight_N)


def test_within_one_tree_both_are_the_same():
    tree = forest((1.0, 0.0, 0.0), grouped=False)
    both, inter = tree_advantage(tree), tree_advantage(tree, over="inter")
    assert np.array_equal(both.values_N, 2 * inter.values_N, equal_nan=True)


def test_shared_steps_weigh_as_many_leaves_as_pass_them_or_one():
    """A cut leaf is no sample: it takes no part in any mean, and its step is not trained."""
    tree = forest((1.0, 0.0, NAN), (0.0,))
    assert tree_advantage(tree).weight_N.tolist() == [0, 2, 1, 1, 0, 1, 1]
    assert tree_advantage(tree, shared="once").weight_N.tolist() == [0, 1, 1, 1, 0, 1, 1]
    without = tree_advantage(forest((1.0, 0.0), (0.0,)))
    assert np.array_equal(tree_advantage(tree).values_N[[1, 2, 3, 5, 6]], without.values_N[[1, 2, 3, 4, 5]])


def test_repeated_shared_steps_sum_to_what_the_released_code_trains():
    """A prefix token stands in each leaf's row: weight times value is the sum of the leaves' advantages."""
    tree = forest((1.0, 0.0, 0.0), (0.0, 1.0))
    credit = tree_advantage(tree)
    assert np.isclose(credit.weight_N[1] * credit.values_N[1], credit.values_N[2:5].sum())


def test_wrong_knobs_are_named():
    for knob, allowed in (("over", "both, inter, intra"), ("shared", "repeated, once"), ("normalize", "std, none")):
        with pytest.raises(ValueError, match=f"{knob} is 'x'; allowed: {allowed}"):
            tree_advantage(forest((1.0, 0.0)), **{knob: "x"})
