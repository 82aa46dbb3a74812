"""Trees built from attempts, and read node by node."""

import numpy as np
import pytest

from stepcredit import Cost, Outcome, Problem, Step, Tree
from stepcredit.core import tree as trees

PROBLEM = Problem("p", "2+3=?")
RIGHT, WRONG = Outcome(reward=1.0, correct=True), Outcome(reward=0.0, correct=False)


def chain_of(*texts):
    return [Step(text) for text in texts]


def branching():
    """0 -> 1 -> {2, 3}, 0 -> 4; rewards 1 at 2, 0 at 3, unscored at 4."""
    steps = (trees.prompt_step(PROBLEM), *chain_of("a", "b", "c", "d"))
    return Tree(PROBLEM, steps, [-1, 0, 1, 1, 0], (None, None, RIGHT, WRONG, None))


def test_a_star_is_chains_that_share_the_prompt():
    tree = trees.star(PROBLEM, [chain_of("a", "b"), chain_of("c")], [RIGHT, None])
    assert tree.parent_N.tolist() == [-1, 0, 1, 0]
    assert tree.leaves == (2, 3) and tree.path(2) == (1, 2)
    assert tree.group_N.tolist() == [0, 0, 0, 1]
    assert tree.outcomes == (None, None, RIGHT, None)


def test_a_star_refuses_what_has_no_leaf():
    with pytest.raises(ValueError, match="attempt 1 has no step"):
        trees.star(PROBLEM, [chain_of("a"), []])
    with pytest.raises(ValueError, match="1 attempts need as many outcomes, got 2"):
        trees.star(PROBLEM, [chain_of("a")], [RIGHT, WRONG])


def test_merging_stars_is_the_star_of_all_attempts():
    first = trees.star(PROBLEM, [chain_of("a", "b"), chain_of("c")], [RIGHT, None], cost=Cost(generated_tokens=3))
    second = trees.star(PROBLEM, [chain_of("d", "e")], [WRONG], cost=Cost(generated_tokens=4))
    whole = trees.star(PROBLEM, [chain_of("a", "b"), chain_of("c"), chain_of("d", "e")], [RIGHT, None, WRONG])
    merged = trees.merge([first, second])
    assert merged.parent_N.tolist() == whole.parent_N.tolist() and merged.outcomes == whole.outcomes
    assert merged.group_N.tolist() == whole.group_N.tolist()
    assert [s.text for s in merged.steps] == [s.text for s in whole.steps]
    assert merged.cost.generated_tokens == 7 and merged.visits_N is None


def test_merging_keeps_visits_and_tells_groups_apart():
    tree = Tree(
        PROBLEM, (trees.prompt_step(PROBLEM), Step("a"), Step("b")), [-1, 0, 0], (None,) * 3, [5, 3, 2], [0, 0, 1]
    )
    merged = trees.merge([tree, tree])
    assert merged.visits_N.tolist() == [10, 3, 2, 3, 2]
    assert merged.group_N.tolist() == [0, 0, 1, 2, 3]


def test_only_trees_of_one_problem_merge():
    with pytest.raises(ValueError, match="same problem"):
        trees.merge([branching(), trees.star(Problem("q", "?"), [chain_of("a")])])


def test_children_and_depth():
    assert trees.children(branching()) == [[1, 4], [2, 3], [], [], []]
    assert trees.depth(branching()).tolist() == [0, 1, 2, 2, 1]


def test_scored_below_counts_only_what_was_scored():
    total_N, num_N = trees.scored_below(branching())
    assert total_N.tolist() == [1, 1, 1, 0, 0] and num_N.tolist() == [2, 2, 1, 1, 0]
    total_N, num_N = trees.scored_below(branching(), np.array([np.nan, np.nan, 0.5, np.nan, 2.0]))
    assert total_N.tolist() == [2.5, 0.5, 0.5, 0, 2] and num_N.tolist() == [2, 1, 1, 0, 1]


def test_outcomes_are_added_without_touching_the_tree():
    tree = branching()
    assert trees.with_outcomes(tree, {4: RIGHT}).reward_N[4] == 1.0
    assert np.isnan(tree.reward_N[4])


def test_a_prefix_is_sound_until_the_first_error():
    nan = np.nan
    assert trees.prefix_labels(np.array([1.0, 0, 1])).tolist() == [1, 0, 0]
    assert np.array_equal(trees.prefix_labels(np.array([1.0, nan, 1])), [1, nan, nan], equal_nan=True)
    assert np.array_equal(trees.prefix_labels(np.array([1.0, nan, 0, nan])), [1, nan, 0, 0], equal_nan=True)
    assert trees.first_error(np.array([1.0, nan, 0, 0])) == 2 and trees.first_error(np.array([1.0, nan])) == -1


def test_arrays_of_a_tree_are_private_and_read_only():
    parent_N = np.array([-1, 0])
    tree = Tree(PROBLEM, (trees.prompt_step(PROBLEM), Step("a")), parent_N, (None, None))
    parent_N[1] = 7
    assert tree.parent_N[1] == 0
    with pytest.raises(ValueError, match="read-only"):
        tree.parent_N[1] = 7


@pytest.mark.parametrize("parent_N", [[0, 0], [-1, 1], [-1, -1]])
def test_parents_come_before_children(parent_N):
    with pytest.raises(ValueError, match="parents come first"):
        Tree(PROBLEM, (trees.prompt_step(PROBLEM), Step("a")), parent_N, (None, None))
