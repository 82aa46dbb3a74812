"""Credit from shared prefixes."""

import numpy as np
import pytest

from stepcredit.core.tree import star
from stepcredit.core.types import Outcome, Problem, Step
from stepcredit.credit.prefix_chain import prefix_chain

RIGHT, WRONG = Outcome(1.0, correct=True), Outcome(0.0, correct=False)


def group(*attempts):
    steps = [[Step(text) for text in words.split()] for words, _ in attempts]
    return star(Problem("p", "?"), steps, [outcome for _, outcome in attempts])


def test_a_right_attempt_exonerates_the_beginning_it_shares():
    tree = group(("a b", RIGHT), ("a c", WRONG))
    credit = prefix_chain(tree, hazard=0.2, fp=0.0)
    # nodes: 1 a, 2 b, 3 a, 4 c. Without luck (fp = 0) the right attempt proves a and b; the wrong one must have broken at c.
    np.testing.assert_allclose(credit.values_N[1:], [1.0, 1.0, 1.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(credit.weight_N, [0, 1, 1, 1, 1], atol=1e-9)


def test_a_prefix_that_only_fails_takes_the_blame_of_what_follows():
    credit = prefix_chain(group(("a x", WRONG), ("a y", WRONG), ("a z", WRONG), ("b w", RIGHT)), hazard=0.2, fp=0.0)
    # P(a broke | three failures below) = .2 / (.2 + .8 * .2^3) = .969; x after an ok "a" broke for certain
    assert credit.values_N[1] == pytest.approx(1 - 0.2 / (0.2 + 0.8 * 0.2**3))
    assert credit.values_N[2] == pytest.approx(0.0, abs=1e-9)
    assert credit.values_N[7] == pytest.approx(1.0)


def test_attempts_that_share_no_step_blame_both_steps_alike():
    credit = prefix_chain(group(("a b", WRONG), ("c d", RIGHT)), hazard=0.2, fp=0.0)
    # one wrong attempt of two steps: P(first kept | wrong) = .8 * .2 / (1 - .64)
    assert credit.values_N[1] == pytest.approx(0.8 * 0.2 / 0.36)


def test_luck_softens_a_proof():
    sure = prefix_chain(group(("a b", RIGHT), ("a c", WRONG)), hazard=0.2, fp=0.0)
    lucky = prefix_chain(group(("a b", RIGHT), ("a c", WRONG)), hazard=0.2, fp=0.3)
    assert lucky.values_N[1] < sure.values_N[1]


def test_an_attempt_without_outcome_says_nothing_and_gets_nothing_of_its_own():
    credit = prefix_chain(group(("a b", RIGHT), ("a c", None), ("a d", WRONG)), hazard=0.2, fp=0.0)
    assert np.isnan(credit.values_N[4]) and credit.weight_N[4] == 0


def test_the_state_passes_through_what_the_policy_did_not_write():
    # what a tool answers cannot break an attempt: steps a, b share the blame as if nothing stood between them
    plain = group(("a b", WRONG), ("c d", RIGHT))
    shown = [[step for text in words for step in (Step(text), Step("42 rows", kind="tool_result", sampled=False))]
             for words in ("ab", "cd")]  # fmt: skip
    credit = prefix_chain(star(Problem("p", "?"), shown, [WRONG, RIGHT]), hazard=0.2, fp=0.1)
    bare = prefix_chain(plain, hazard=0.2, fp=0.1)
    np.testing.assert_allclose(credit.values_N[[1, 3, 5, 7]], bare.values_N[1:])
    np.testing.assert_allclose(credit.weight_N[[1, 3, 5, 7]], bare.weight_N[1:])


def test_a_hazard_left_open_is_that_of_highest_likelihood():
    # 20 problems of 10 one-step attempts, one wrong each: the share of wrong steps is .1, and .1 is on the grid
    trees = [group(*[(f"s{i}", WRONG if i == 0 else RIGHT) for i in range(10)]) for _ in range(20)]
    fitted, given = prefix_chain(trees, fp=0.1), prefix_chain(trees, hazard=0.1, fp=0.1)
    assert fitted[0].values_N[1:].tobytes() == given[0].values_N[1:].tobytes()


def test_no_trees_give_no_credit():
    assert prefix_chain([]) == []


@pytest.mark.parametrize("knobs", [{"hazard": 0.0}, {"hazard": 1.0}, {"recovery": 1.0}, {"fp": 0.7, "fn": 0.4}])
def test_impossible_rates_are_refused(knobs):
    with pytest.raises(ValueError, match=r"must lie|noise"):
        prefix_chain(group(("a", RIGHT), ("b", WRONG)), **knobs)
