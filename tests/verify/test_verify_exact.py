import math

import pytest

from stepcredit.core.types import Problem, Step
from stepcredit.verify.exact import exact


def verdicts(gold, texts, **knobs):
    return [o.correct for o in exact(Problem("p", "?", gold), [[Step(text)] for text in texts], **knobs)]


@pytest.mark.parametrize("gold", ["12", "(B)", "] ) >", "annie l's put", "x.", 12])
def test_the_gold_answer_is_accepted_under_every_rule(gold):
    stated = {
        "last_line": f"so\n{gold}",
        "after_answer_is": f"So the answer is {gold}",
        "hash": f"#### {gold}",
        "boxed": rf"\boxed{{{gold}}}",
        "last_equals": f"a = {gold}",
        "whole": f"{gold}\n",
    }
    for rule, text in stated.items():
        assert verdicts(gold, [text], extract=rule) == [True], rule


def test_near_misses_and_embedded_gold_are_wrong():
    texts = ["112", "121", "12.0", "-12", "not 12", "the answer is not 12", "12 or 13", "12 12", "1 2", "12!", "#12"]
    assert verdicts("12", texts) == [False] * len(texts)
    assert verdicts("12", [r"\boxed{12} or \boxed{13}"], extract="boxed") == [False]


def test_an_empty_text_is_unparsed_and_never_zero():
    for solution in ([], [Step("")], [Step("5", kind="tool_result", sampled=False)]):
        [outcome] = exact(Problem("p", "?", "5"), [solution])
        assert outcome.status == "unparsed" and math.isnan(outcome.reward) and outcome.correct is None


def test_case_counts_unless_told():
    assert verdicts("Paris", ["paris"]) == [False]
    assert verdicts("Paris", ["paris"], ignore_case=True) == [True]


def test_outcomes_keep_order_and_say_who_decided():
    found = exact(Problem("p", "?", "5"), [[Step("4")], [Step("5")]])
    assert [(o.reward, o.answer, o.verifier) for o in found] == [(0.0, "4", "exact"), (1.0, "5", "exact")]


def test_a_problem_without_answer_is_refused():
    with pytest.raises(ValueError, match="'p3'"):
        exact(Problem("p3", "?"), [[Step("5")]])
