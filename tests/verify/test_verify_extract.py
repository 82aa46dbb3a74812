import pytest

from stepcredit.core.types import Problem, Step
from stepcredit.verify._extract import extract, gold_answer, solution_text

STATED = [
    ("last_line", "2+3=5\n\n  5 \n\n", "5"),
    ("last_line", "  \n ", None),
    ("last_line", "", None),
    ("after_answer_is", "So the answer is (B).", "(B)"),
    ("after_answer_is", "The final answer is: 12", "12"),
    ("after_answer_is", "The answer is 12. No, the answer is 13\ngoodbye", "13"),
    ("after_answer_is", "the answer is not 12", "not 12"),
    ("after_answer_is", "The answer is 12\nSo the answer is", None),
    ("after_answer_is", "12", None),
    ("hash", "so\n#### 1,234 ", "1,234"),
    ("hash", "#### 12\n#### 13", "13"),
    ("hash", "12 ###", None),
    ("boxed", r"thus $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
    ("boxed", r"\boxed{1}" + "\n" + r"so \boxed {2}", "2"),
    ("boxed", r"\boxed{12} or \boxed{13}", r"\boxed{12} or \boxed{13}"),
    ("boxed", r"\boxed{12}, that is \boxed{12}", "12"),
    ("boxed", r"\boxed{\boxed{12}}", r"\boxed{12}"),
    ("boxed", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    ("boxed", r"\boxed{12", None),
    ("boxed", r"\boxed{}", None),
    ("last_equals", "2+3=5\n5*2=10.", "10"),
    ("last_equals", "x=5\nso x <= 7 and y == 2", "5"),
    ("last_equals", "x = 5 =", None),
    ("last_equals", "12", None),
    ("whole", " 1\n2 ", "1 2"),
    ("whole", "\n", None),
]


@pytest.mark.parametrize(("rule", "text", "answer"), STATED)
def test_each_rule_finds_the_stated_answer_or_none(rule, text, answer):
    assert extract(text, rule) == answer


def test_an_unknown_rule_names_the_rules_there_are():
    with pytest.raises(ValueError, match=r"first_line.*allowed: last_line, after_answer_is, hash"):
        extract("5", "first_line")


def test_only_sampled_steps_are_read():
    steps = [Step("a"), Step("tool says 5", kind="tool_result", sampled=False), Step("b")]
    assert solution_text(steps) == "a\nb"


@pytest.mark.parametrize("answer", [None, "", " . "])
def test_a_problem_without_answer_is_named(answer):
    with pytest.raises(ValueError, match="'q7' has no answer"):
        gold_answer(Problem("q7", "?", answer))
