"""Which right attempts are kept for learning, and that the outcome, not the judge, decides who may be."""

import math
from collections import Counter

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.tree import star
from stepcredit.core.types import Judgment, Outcome, Problem, Step
from stepcredit.search.select_data import select_data

ABSTAINED = Judgment(math.nan, [math.nan], status="abstained")


def tree_of(*right):
    """One single-step attempt each: True, False, or None for unparsed. Leaves are nodes 1, 2, ..."""
    outcomes = [Outcome(status="unparsed") if r is None else Outcome(float(r), r) for r in right]
    return star(Problem("p", "?"), [[Step("s")] for _ in right], outcomes)


def pick(tree, judgments, **knobs):
    return select_data(tree, judgments, rng=np.random.default_rng(0), **knobs)


def test_the_right_attempt_with_the_best_mean_step_is_chosen():
    # Means: .5, .6, .9 (wrong), .55. By min the fourth would be first (.5 against .2), by the judge's score the first.
    tree = tree_of(True, True, False, True)
    judgments = [
        Judgment(0.9, [0.3, 0.7]),
        Judgment(0.1, [0.2, 1.0]),
        Judgment(1.0, [0.9, 0.9]),
        Judgment(0.2, [0.6, 0.5]),
    ]
    assert pick(tree, judgments) == [2]
    assert pick(tree, judgments, keep=2) == [2, 4]
    assert pick(tree, judgments, keep=9) == [2, 4, 1]
    assert pick(tree, judgments, aggregation="min") == [4] and pick(tree, judgments, aggregation="judge") == [1]


def test_no_judge_makes_a_wrong_or_unscored_attempt_right():
    judgments = [Judgment(1.0, [1.0])] * 3
    assert pick(tree_of(False, None, False), judgments) == []
    assert pick(star(Problem("p", "?"), []), []) == []
    graded = star(Problem("p", "?"), [[Step("s")]] * 2, [Outcome(0.4), Outcome(0.6)])
    assert pick(graded, judgments[:2], keep=2) == [2]


def test_ties_are_uniform_and_an_abstained_judgment_comes_last():
    draws = np.random.default_rng(0)
    tree = tree_of(True, True, True, False)
    tied = [Judgment(0.5, [0.5]), ABSTAINED, Judgment(0.5, [0.5]), Judgment(0.9, [0.9])]
    counts = Counter(select_data(tree, tied, rng=draws)[0] for _ in range(2000))
    assert set(counts) == {1, 3} and counts[1] / 2000 == pytest.approx(0.5, abs=0.05)
    assert select_data(tree, tied, rng=draws, keep=3)[-1] == 2
    # A judge that says nothing leaves plain rejection sampling: a right attempt, any.
    counts = Counter(select_data(tree, [ABSTAINED] * 4, rng=draws)[0] for _ in range(3000))
    assert set(counts) == {1, 2, 3} and min(counts.values()) > 850


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="keep is 0; allowed: 1 or more"):
        pick(tree_of(True), [Judgment(1.0, [1.0])], keep=0)
    with pytest.raises(ValueError, match="2 attempts need as many judgments, got 1"):
        pick(tree_of(True, True), [Judgment(1.0, [1.0])])
    assert registry.get("search", "select_data").knobs == {"keep": 1, "aggregation": "mean"}
