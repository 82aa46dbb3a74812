import numpy as np
import pytest
from trace_checks import agreement, labels

from stepcredit.core.types import Problem
from stepcredit.tasks.word_sorting import word_sorting

TASK = word_sorting()
PROBLEM = Problem("p", "plum pear fig", "fig pear plum")
TRACE = [
    'I should start by looking at the first letter of the words in the list. The first letter: "plum": "p" (16). "pear": "p" (16). "fig": "f" (6).',
    'We now have: (6) "fig" < (16) ["plum" ? "pear"].',
    'Now let\'s sort this subpart ["plum" ? "pear"] by looking at their second letters. The second letter: "plum": "l" (12). "pear": "e" (5).',
    'We now have: (5) "pear" < (12) "plum" for the subpart. Hence, we have "fig" < "pear" < "plum".',
    "I have now sorted all the words. The answer is fig pear plum",
]


def relabelled(at, old, new):
    assert old in TRACE[at]
    return labels(TASK, PROBLEM, *TRACE[:at], TRACE[at].replace(old, new), *TRACE[at + 1 :])


def test_the_trace_of_the_docstring_is_sound():
    assert labels(TASK, PROBLEM, *TRACE) == [1.0] * 5
    assert labels(TASK, PROBLEM, *TRACE[:4], TRACE[4].replace("fig pear", "fig, pear,")) == [1.0] * 5


@pytest.mark.parametrize(
    ("at", "old", "new"),
    [
        (0, ' "fig": "f" (6).', ""),  # a word left out
        (0, '"f" (6)', '"f" (7)'),  # a wrong number
        (1, '["plum" ? "pear"]', '"plum" < (16) "pear"'),  # told apart though they tie
        (1, '"fig" < (16) ["plum" ? "pear"]', '"fig"'),
        (2, "second letters", "third letters"),  # their second letters differ
        (2, '"e" (5)', '"e" (15)'),
        (3, '(5) "pear" < (12) "plum"', '(12) "plum" < (5) "pear"'),
        (3, 'we have "fig" < "pear"', 'we have "pear" < "fig"'),
        (4, "fig pear plum", "fig plum pear"),
        (4, "fig pear plum", "fig plum"),
    ],
)
def test_each_kind_of_slip_is_caught_at_its_step(at, old, new):
    labelled = relabelled(at, old, new)
    assert labelled[:at] == [1.0] * at and labelled[at] == 0.0


def test_a_wrong_order_is_one_error_and_is_carried_forward():
    wrong = TRACE[3].replace('"fig" < "pear" < "plum"', '"fig" < "plum" < "pear"')
    end = "I have now sorted all the words. The answer is fig plum pear"
    assert labels(TASK, PROBLEM, *TRACE[:3], wrong, end) == [1.0, 1.0, 1.0, 0.0, 1.0]


def test_stopping_before_all_words_are_told_apart_is_wrong():
    assert labels(TASK, PROBLEM, *TRACE[:2], TRACE[4]) == [1.0, 1.0, 0.0]


def test_the_whole_order_may_be_left_out():
    short = TRACE[3].split(" Hence")[0]
    assert labels(TASK, PROBLEM, *TRACE[:3], short, TRACE[4]) == [1.0] * 5


def test_first_errors_agree_with_the_recorded_ones():
    # reached 0.903 of 144, always earlier where not the same: mostly a word misspelt in the list of letters, which
    # people pass over and which is another word to us
    same, read = agreement(TASK, "word_sorting")
    assert same >= 0.88
    assert read == 1.0


def test_bad_knobs_and_words_are_refused():
    with pytest.raises(ValueError, match="1 to 10 words"):
        word_sorting(min_words=1)
    for prompt in ("sun sunny", "o's a", "sun sun"):
        with pytest.raises(ValueError, match="cannot write a trace"):
            TASK.demonstrate(Problem("p", prompt), np.random.default_rng(0))
