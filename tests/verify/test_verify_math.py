import threading

import pytest

from stepcredit.core.types import Problem, Step
from stepcredit.verify.math import math as math_verifier


def outcomes(gold, texts, **knobs):
    return math_verifier(Problem("p", "?", gold), [[Step(text)] for text in texts], **{"extract": "whole", **knobs})


GOLDS = ["12", "-3", "0.5", r"\frac{1}{2}", r"$\frac{3}{4}$", r"\sqrt{2}", r"2\pi", "(1, 2)", r"\{1, 2\}", "x^2 + 1", "1,234", r"10\,000",
         r"(-\infty, 3]", r"x = 5", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "A"]  # fmt: skip


@pytest.mark.parametrize("gold", GOLDS)
def test_the_gold_answer_is_accepted_bare_boxed_and_in_dollars(gold):
    assert [o.correct for o in outcomes(gold, [gold])] == [True]
    assert [o.correct for o in outcomes(gold, [rf"so \boxed{{{gold}}}."], extract="boxed")] == [True]


def test_equal_formulas_are_right():
    assert [o.correct for o in outcomes(r"\frac{1}{2}", ["0.5", "1/2", r"\frac12", r"\(\frac{2}{4}\)"])] == [True] * 4
    assert [o.correct for o in outcomes("2x+1", ["1+2x", "x+x+1", "2x-1"])] == [True, True, False]


def test_near_misses_and_embedded_gold_are_wrong():
    texts = ["112", "121", "-12", "12.01", "the answer is not 12", "not 12", "12 is wrong", "12 or 13", "12, 13", "$12$ or $13$",
             r"12 \quad 0", "12 0", r"\neq 12", "12!", r"\boxed{12} or \boxed{13}"]  # fmt: skip
    found = outcomes("12", texts)
    assert {t: o.correct for t, o in zip(texts, found, strict=True)} == dict.fromkeys(texts, False)
    assert [o.correct for o in outcomes("12", [r"\boxed{12} or \boxed{13}"], extract="boxed")] == [False]


def test_unreadable_is_wrong_and_empty_is_unparsed():
    unreadable, empty = outcomes("12", ["}{", ""])
    assert (unreadable.status, unreadable.reward, unreadable.well_formed) == ("scored", 0.0, False)
    assert (empty.status, empty.correct) == ("unparsed", None)


def test_a_formula_too_large_to_compare_times_out_without_reward():
    late, fine = outcomes("12", ["9^{9^{9^9}}", "12"], timeout=1)
    assert (late.status, late.correct) == ("timeout", None)
    assert fine.correct is True


def test_an_exception_inside_the_library_is_an_error_without_reward(monkeypatch):
    import math_verify

    real = math_verify.parse

    def parse(text, **options):
        if "13" in text:
            raise RuntimeError("planted")
        return real(text, **options)

    monkeypatch.setattr(math_verify, "parse", parse)
    broken, fine = outcomes("12", ["13", "12"])
    assert (broken.status, broken.correct, fine.correct) == ("error", None, True)


def test_it_works_outside_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.extend(outcomes("12", ["12", "13", "9^{9^{9^9}}"], timeout=1)))
    thread.start()
    thread.join()
    assert [(o.status, o.correct) for o in found] == [("scored", True), ("scored", False), ("timeout", None)]


def test_bad_gold_and_bad_timeout_are_refused():
    with pytest.raises(ValueError, match=r"'p'.*cannot read the answer '}\{'"):
        outcomes("}{", ["12"])
    with pytest.raises(ValueError, match="timeout is 0"):
        outcomes("12", ["12"], timeout=0)
