import numpy as np
import pytest
from trace_checks import agreement, labels

from stepcredit.core.types import Problem
from stepcredit.tasks.shuffled_objects import shuffled_objects

TASK = shuffled_objects()
PROBLEM = Problem(
    "p",
    "Alice, Bob, and Claire are playing a game. At the start of the game, they are each holding a ball: "
    "Alice has a red ball, Bob has a blue ball, and Claire has a pink ball.\n"
    "As the game progresses, pairs of players trade balls. First, Alice and Bob swap balls. Then, Claire and Bob swap balls. "
    "Finally, Alice and Bob swap balls. At the end of the game, Bob has the\nOptions:\n(A) red ball.\n(B) blue ball.\n(C) pink ball.",
    "(B)",
)  # by hand: red blue pink -> blue red pink -> blue pink red -> pink blue red
START = "At the start: Alice: red, Bob: blue, Claire: pink."
END = "At the end of the game, Bob has the blue ball. So the answer is (B)"


def test_a_listing_is_judged_by_the_state_written_before_it():
    # step 1 leaves the swap out (wrong); step 2 is right given that: red blue pink -> red pink blue
    first = "Alice and Bob swap balls: Alice: red, Bob: blue, Claire: pink."
    second = "Claire and Bob swap balls: Alice: red, Bob: pink, Claire: blue."
    assert labels(TASK, PROBLEM, START, first, second) == [1.0, 0.0, 1.0]


def test_initials_unnamed_swaps_and_pairs_alone_are_read():
    said = [
        "A: Red, B: Blue, C: Pink",
        "A: blue, B: red, C: pink",
        "B and C swap: B: pink, C: red",
        "Alice and Bob: Alice: pink, Bob: blue.",
    ]
    assert labels(TASK, PROBLEM, *said, END) == [1.0] * 5


def test_a_skipped_swap_a_wrong_person_and_a_wrong_letter_are_wrong():
    skipped = "Claire and Bob swap balls: Alice: red, Bob: pink, Claire: blue."
    assert labels(TASK, PROBLEM, START, skipped, END) == [1.0, 0.0, 0.0]  # the end comes a swap early too
    done = [
        "Alice and Bob swap balls: Alice: blue, Bob: red.",
        "Claire and Bob swap balls: Claire: red, Bob: pink.",
        "Alice and Bob swap balls: Alice: pink, Bob: blue.",
    ]
    for end in (END.replace("(B)", "(A)"), END.replace("blue", "pink"), END.replace("Bob", "Alice")):
        assert labels(TASK, PROBLEM, START, *done, end) == [1.0, 1.0, 1.0, 1.0, 0.0]


def test_first_errors_agree_with_the_recorded_ones():
    same, read = agreement(TASK, "tracking_shuffled_objects")
    assert same >= 0.93  # reached 0.950 of 140; the rest are marks that pass over a wrong swap, or stand before it
    assert read == 1.0


def test_a_prompt_of_another_kind_and_bad_knobs_are_refused():
    with pytest.raises(ValueError, match="not a shuffled-objects problem: '2"):
        TASK.label_steps(Problem("p", "2+3=?"), [])
    with pytest.raises(ValueError, match="3 to 8 people; allowed: 3 to 7"):
        shuffled_objects(max_people=8)
    with pytest.raises(ValueError, match="random_slip is 2"):
        shuffled_objects(random_slip=2)


def test_without_slips_every_attempt_is_the_gold_one():
    task = shuffled_objects(random_slip=0, systematic_slip=0, min_people=7, max_people=7)
    [problem] = task.problems(1, np.random.default_rng(0))
    assert [s.text for s in task.demonstrate(problem, np.random.default_rng(1))] == list(problem.reference)
