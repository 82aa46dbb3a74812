"""Chains of parities: the bits, the cliff, the oracle, and what is given counts as written."""

import numpy as np
import pytest

from stepcredit.core.rng import rng
from stepcredit.core.types import Problem, Step
from stepcredit.tasks.parities import parities

TASK = parities()
# Z_0 = 1; aA: 1 xor 0 xor 1 = 0, bb: 0 xor 0 xor 0 = 0, CC: 0 xor 1 xor 1 = 0, Dd: 0 xor 1 xor 0 = 1
PROBLEM = Problem("p", "1 aA bb CC Dd", "0001", meta={"carry": True})
RIGHT = ["aA0", "bb0", "CC0", "Dd1"]


def steps(*texts, given=0):
    return [Step(text, sampled=place >= given) for place, text in enumerate(texts)]


def outcome(*texts, given=0):
    return TASK.verify(PROBLEM, [steps(*texts, given=given)])[0]


def test_every_bit_is_the_parity_of_its_word_and_of_the_bit_before_it():
    assert outcome(*RIGHT).correct and TASK.label_steps(PROBLEM, steps(*RIGHT)).tolist() == [1.0] * 4


def test_one_slip_is_wrong_for_good_though_every_later_line_follows_from_it():
    carried = ["aA1", "bb1", "CC1", "Dd0"]
    assert outcome(*carried).reward == 0.0 and outcome(*carried).well_formed
    assert TASK.label_steps(PROBLEM, steps(*carried)).tolist() == [0.0, 1.0, 1.0, 1.0]
    # Put right two lines later, the last bit is the answer's last, and the attempt is wrong all the same.
    assert not outcome("aA1", "bb0", "CC0", "Dd1").correct


def test_a_line_that_is_none_leaves_the_next_unknown_and_a_wrong_word_is_wrong():
    found = TASK.label_steps(PROBLEM, steps("aA", "bb0", "cC0", "Dd0"))
    assert np.array_equal(found, [0.0, np.nan, 0.0, 0.0], equal_nan=True)  # Dd0: cC wrote 0, 0 xor 1 = 1
    assert outcome("aA0", "bb0", "CC0", "D1").status == "unparsed" and outcome().status == "unparsed"
    short, long = outcome(*RIGHT[:3]), outcome(*RIGHT, "Ee1")
    assert not short.correct and not short.well_formed and not long.correct and not long.well_formed


def test_what_is_given_counts_as_written_and_has_no_label_of_its_own():
    assert outcome(*RIGHT, given=3).correct and not outcome("aA1", "bb0", "CC0", "Dd1", given=3).correct
    assert TASK.label_steps(PROBLEM, steps(*RIGHT, given=2)).tolist() == [1.0, 1.0]
    # The first written line follows from the last given one.
    assert TASK.label_steps(PROBLEM, steps("aA0", "bb0", "CC1", given=2)).tolist() == [0.0]


def test_references_are_right_and_random_bits_are_right_two_to_the_minus_length():
    task = parities(min_length=4, max_length=4, slip=0.5)
    problems = task.problems(500, rng(0))
    assert len({problem.prompt for problem in problems}) == 500
    for problem in problems[:20]:
        assert task.verify(problem, [[Step(text) for text in problem.reference]])[0].correct
        assert "".join(text[-1] for text in problem.reference) == problem.answer
    draw = rng(1)
    right = [task.verify(p, [task.demonstrate(p, draw)])[0].correct for p in problems for _ in range(4)]
    assert abs(np.mean(right) - 1 / 16) < 0.02  # 2000 draws: standard deviation .0054
    exact = parities(slip=0.0)
    assert all(exact.verify(p, [exact.demonstrate(p, draw)])[0].correct for p in exact.problems(20, draw))


def test_without_carry_a_bit_is_its_words_alone():
    task = parities(min_length=3, max_length=3, carry=False)
    problem = task.problems(1, rng(0))[0]
    for text in problem.reference:
        assert int(text[-1]) == sum(letter.isupper() for letter in text[:2]) % 2
    wrong = [Step(problem.reference[0][:2] + str(1 - int(problem.reference[0][-1]))), *map(Step, problem.reference[1:])]
    assert task.label_steps(problem, wrong).tolist() == [0.0, 1.0, 1.0]
    assert task.label_steps(problem, [Step("?"), Step(problem.reference[1])]).tolist() == [0.0, 1.0]  # nothing to carry
    assert not task.verify(problem, [wrong])[0].correct


def test_bad_knobs_are_refused():
    with pytest.raises(ValueError, match="lengths 5 to 4"):
        parities(min_length=5, max_length=4)
    with pytest.raises(ValueError, match="slip is 2"):
        parities(slip=2)
    with pytest.raises(ValueError, match="9 distinct problems asked, 8 found"):
        parities(min_length=1, max_length=1).problems(9, rng(0))
