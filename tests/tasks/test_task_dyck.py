import numpy as np
import pytest
from trace_checks import agreement, labels

from stepcredit.core.types import Problem
from stepcredit.tasks.dyck import dyck

TASK = dyck()
PROBLEM = Problem("p", "( < [ ] (", ") > )")
HEAD = [
    "We should process each input one by one and keep track of the stack configuration.",
    "stack: empty",
    "( ; stack: (",
    "< ; stack: ( <",
]
BODY = [*HEAD, "[ ; stack: ( < [", "] ; stack: ( <", "( ; stack: ( < ("]
TAIL = [
    'Now, we have reached the end. The final stack is "( < (".',
    'We will need to pop out "(", "<", "(" one by one in that order.',
    'So, we need ")", ">", ")". So the answer is ) > )',
]


def test_the_trace_of_the_docstring_is_sound():
    assert labels(TASK, PROBLEM, *BODY, *TAIL) == [1.0] * 10


def test_after_a_skipped_symbol_reading_goes_on_behind_it():
    # "[" is skipped: its closing finds "<" on top of the written stack, so there is no sound way to go on from it
    assert labels(TASK, PROBLEM, *HEAD, "] ; stack: (", "( ; stack: ( (") == [1.0] * 4 + [0.0, 1.0]


def test_a_wrong_stack_is_one_error_and_is_carried_forward():
    assert labels(TASK, PROBLEM, *HEAD, "[ ; stack: < [", "] ; stack: <", "( ; stack: < (") == [1.0] * 4 + [
        0.0,
        1.0,
        1.0,
    ]


def test_each_step_of_the_end_is_judged():
    early = labels(TASK, PROBLEM, *BODY[:-1], 'Now, we have reached the end. The final stack is "( <".')
    assert early[-1] == 0.0
    assert labels(TASK, PROBLEM, *BODY, TAIL[0].replace("( < (", "( <"))[-1] == 0.0
    assert labels(TASK, PROBLEM, *BODY, TAIL[0], TAIL[1].replace('"<", ', ""))[-1] == 0.0
    assert labels(TASK, PROBLEM, *BODY, *TAIL[:2], TAIL[2].replace("is ) > )", "is ) )"))[-1] == 0.0
    assert labels(TASK, PROBLEM, *BODY, *TAIL[:2], "So the answer is )>)")[-1] == 1.0


def test_first_errors_agree_with_the_recorded_ones():
    same, read = agreement(TASK, "dyck_languages")
    assert same >= 0.97  # reached 0.983 of 471; the rest are marks on spacing, commas and the wording of the pops
    assert read >= 0.999


def test_bad_knobs_are_refused():
    with pytest.raises(ValueError, match="3 to 2 symbols"):
        dyck(max_symbols=2)
    with pytest.raises(ValueError, match="5 distinct problems asked"):
        dyck(min_symbols=1, max_symbols=1, max_open=1).problems(5, np.random.default_rng(0))
