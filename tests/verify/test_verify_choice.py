import pytest

from stepcredit.core.types import Problem, Step
from stepcredit.verify.choice import choice

PROMPT = "Claire has the\nOptions:\n(A) yellow ball.\n(B) blue ball.\n(C) pink ball."


def verdicts(gold, answers):
    said = [[Step(f"At the end. So the answer is {answer}")] for answer in answers]
    return [o.correct for o in choice(Problem("p", PROMPT, gold), said)]


def test_the_gold_letter_is_accepted_in_each_stated_form():
    for gold in ("(B)", "B", "b"):
        assert (
            verdicts(gold, ["(B)", "(b)", "B", "B)", "B.", "(B).", "b", "(B) blue ball", "B. Blue ball."]) == [True] * 9
        )


def test_near_misses_and_embedded_gold_are_wrong():
    said = [
        "(A)",
        "(A) or (B)",
        "not (B)",
        "(B) or (C)",
        "AB",
        "(B) is wrong",
        "(B) pink ball",
        "blue ball",
        "((B))",
        "B C",
        "2",
    ]
    assert verdicts("(B)", said) == [False] * len(said)


def test_two_letters_are_no_choice_and_nothing_is_unparsed():
    said = [[Step("the answer is (A) or (B)")], [Step("the answer is")], [Step("(B)")]]
    found = choice(Problem("p", PROMPT, "(B)"), said)
    assert [(o.status, o.well_formed) for o in found] == [("scored", False), ("unparsed", False), ("unparsed", False)]


def test_a_gold_answer_that_is_no_letter_is_refused():
    with pytest.raises(ValueError, match=r"'p'.*'blue' is no option letter"):
        verdicts("blue", ["(B)"])


def test_a_letter_in_any_form_is_one_vote():
    said = [[Step(f"So the answer is {answer}")] for answer in ("(B)", "b.", "B) blue ball", "(A) or (B)")]
    assert [o.answer for o in choice(Problem("p", PROMPT, "B"), said)] == ["B", "B", "B", "(A) or (B)"]
