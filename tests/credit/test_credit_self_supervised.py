"""self_supervised: the agreement filter, its two weightings, and what it does with truncation and ties."""

import numpy as np
import pytest

from stepcredit import Credit, Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.self_supervised import self_supervised

PROBLEM = Problem("p", "?")
NAN = np.nan


def batch(*attempts):
    """One tree per attempt: (outcome, scores of its steps)."""
    trees, scores = [], []
    for outcome, score_S in attempts:
        given = Outcome(status=outcome) if isinstance(outcome, str) else Outcome(reward=outcome)
        trees.append(star(PROBLEM, [[Step("s")] * len(score_S)], [given]))
        values = np.array([NAN, *score_S])
        scores.append(Credit(values, "value", (~np.isnan(values)).astype(float), "judge"))
    return trees, scores


def test_only_steps_on_the_outcomes_side_are_kept():
    trees, scores = batch((1.0, [0.9, 0.4]), (0.0, [0.9, 0.4]))
    right, wrong = self_supervised(trees, scores=scores)
    assert np.array_equal(right.values_N, [NAN, 1, NAN], equal_nan=True) and right.weight_N.tolist() == [0, 1, 0]
    assert np.array_equal(wrong.values_N, [NAN, NAN, 0], equal_nan=True) and wrong.weight_N.tolist() == [0, 0, 1]


def test_released_weights_balance_the_classes_over_the_batch():
    """Kept: three right, one wrong. P = 4, N = 2: right 1.5 * 2 / 6 = 1/2, wrong 4 / 6 = 2/3."""
    trees, scores = batch((1.0, [0.9, 0.8, 0.7]), (0.0, [0.9, 0.4]))
    right, wrong = self_supervised(trees, scores=scores, weighting="released")
    assert np.allclose(right.weight_N, [0, 0.5, 0.5, 0.5]) and np.allclose(wrong.weight_N, [0, 0, 2 / 3])
    alone = self_supervised(trees[:1], scores=scores[:1], weighting="released")[0]
    assert np.allclose(alone.weight_N[1:], 1.5 * 1 / 5)  # batch statistics: P = 4, N = 1


def test_truncated_attempts_are_left_out_by_their_status():
    trees, scores = batch(("truncated", [0.1]), (0.1, [0.1]))
    truncated, scored = self_supervised(trees, scores=scores)
    assert np.isnan(truncated.values_N[1])
    assert scored.values_N[1] == 0.0  # a reward of 0.1 is a scored, wrong outcome, not a mark


def test_exactly_one_half_follows_the_stated_rule():
    trees, scores = batch((1.0, [0.5]), (0.0, [0.5]))
    assert [np.isnan(c.values_N[1]) for c in self_supervised(trees, scores=scores)] == [True, False]
    released = self_supervised(trees, scores=scores, weighting="released")
    assert [np.isnan(c.values_N[1]) for c in released] == [True, True]


def test_steps_the_judge_did_not_score_are_not_kept():
    trees, scores = batch((0.0, [NAN, 0.2]))
    assert np.array_equal(self_supervised(trees, scores=scores)[0].values_N, [NAN, NAN, 0], equal_nan=True)


def test_shared_steps_weigh_the_share_of_outcomes_that_agree():
    """Node 1 leads to outcomes 1, 1, 0 and is scored .8: label 1 with weight 2/3."""
    steps = (prompt_step(PROBLEM), *(Step(str(n)) for n in range(4)))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1, 1], (None, None, *(Outcome(reward=r) for r in (1.0, 1.0, 0.0))))
    scores = Credit([NAN, 0.8, 0.8, 0.2, 0.2], "value", [0, 1, 1, 1, 1], "judge")
    credit = self_supervised([tree], scores=[scores])[0]
    assert np.array_equal(credit.values_N, [NAN, 1, 1, NAN, 0], equal_nan=True)
    assert np.allclose(credit.weight_N, [0, 2 / 3, 1, 0, 1])


def test_wrong_resources_are_refused_by_name():
    trees, scores = batch((1.0, [0.9]))
    with pytest.raises(ValueError, match="batch statistics"):
        self_supervised(trees, scores=[])
    with pytest.raises(ValueError, match="expected a value"):
        self_supervised(trees, scores=[Credit([NAN, 0.9], "reward", [0, 1], "judge")])
    with pytest.raises(ValueError, match="weighting is 'equal'; allowed: paper, released"):
        self_supervised(trees, scores=scores, weighting="equal")
