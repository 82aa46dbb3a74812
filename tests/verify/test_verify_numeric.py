from fractions import Fraction

import pytest

from stepcredit.core.types import Problem, Step
from stepcredit.verify.numeric import number, numeric


def verdicts(gold, texts, **knobs):
    return [o.correct for o in numeric(Problem("p", "?", gold), [[Step(text)] for text in texts], **knobs)]


NUMBERS = [
    ("12", 12), ("+12", 12), ("-12", -12), ("\u221212", -12), ("1,234,567.5", Fraction(2469135, 2)), (".5", Fraction(1, 2)),
    ("5.", 5), ("1e3", 1000), ("2.5E-1", Fraction(1, 4)), ("3/4", Fraction(3, 4)), ("-3 / 4", Fraction(-3, 4)),
    ("$5", 5), ("-$5", -5), ("$12$", 12), ("\\$5", 5), ("50%", Fraction(1, 2)), ("50\\%", Fraction(1, 2)),
]  # fmt: skip
NO_NUMBERS = ["", ".", "-", "e5", "12 or 13", "not 12", "1 2", "1,23", "12,", "1/0", "1/2/3", "nan", "inf", "1e9999", "x=5", "5 cm", "0x10",
              "\u0661\u0662", "9" * 501]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_one_number_is_read_exactly(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_anything_beside_a_number_is_no_number(text):
    assert number(text) is None


def test_equal_numbers_in_another_form_are_right():
    assert verdicts(0.5, ["0.5", "1/2", ".50", "50%", "5e-1"]) == [True] * 5
    assert verdicts("1,234", ["1234", "1234.0"]) == [True] * 2


def test_near_misses_and_embedded_gold_are_wrong():
    texts = ["112", "121", "12.0001", "-12", "12%", "the answer is not 12", "12 or 13", "12 13"]
    assert verdicts(12, texts) == [False] * len(texts)
    assert verdicts(12, [r"\boxed{12} or \boxed{13}"], extract="boxed") == [False]


def test_a_stated_text_that_is_no_number_is_wrong_and_not_well_formed():
    hedge, empty = numeric(Problem("p", "?", 12), [[Step("12 or 13")], [Step(" ")]])
    assert (hedge.status, hedge.reward, hedge.well_formed) == ("scored", 0.0, False)
    assert (empty.status, empty.correct) == ("unparsed", None)


def test_tolerance_is_the_larger_of_the_two():
    # gold 200: relative 0.01 allows 2, absolute 1 allows 1
    assert verdicts(200, ["202", "202.01", "198"], absolute=1, relative=0.01) == [True, False, True]


def test_a_gold_answer_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"'p'.*'twelve' is not a number"):
        verdicts("twelve", ["12"])
    with pytest.raises(ValueError, match="absolute=-1"):
        verdicts("12", ["12"], absolute=-1)


def test_equal_numbers_are_one_vote():
    said = numeric(
        Problem("p", "?", 1234), [[Step(text)] for text in ("1,234", "1234.0", "$1234", "0.5", "50%", "5 or 6")]
    )
    assert [o.answer for o in said] == ["1234", "1234", "1234", "1/2", "1/2", "5 or 6"]
