import math
from dataclasses import replace

import numpy as np
import pytest

from stepcredit.core.registry import get
from stepcredit.core.rng import rng
from stepcredit.core.types import Problem, Step
from stepcredit.tasks._lockbox import SOUNDS, chances, combination_of, is_action, reports
from stepcredit.tasks.lockbox import lockbox

BOX = Problem("b", "box 1: three dials, locked; open it and submit", answer="3-1-4")
LOUD = {"clarity": 60.0, "num_sounds": 1}  # laws so far apart that a sound tells all


def turns(*texts):
    return [Step(text, kind="tool_call") for text in texts]


def reward(task, *texts):
    return task.verify(BOX, [turns(*texts)])[0].reward


def attempts_of(task, num, seed=0):
    """One attempt at each of `num` boxes, and the texts of its turns."""
    problems = task.problems(num, rng(seed, "boxes"))
    stream = rng(seed, "attempts")
    return [(problem, task.demonstrate(problem, stream)) for problem in problems]


def test_it_is_registered_under_its_file_name():
    assert get("tasks", "lockbox").knobs["share"] == 0.2


def test_problems_are_distinct_opened_by_their_reference_and_repeatable():
    task = lockbox()
    problems = task.problems(200, rng(0, "problems"))
    assert len({p.id for p in problems}) == len({p.prompt for p in problems}) == 200
    assert problems == task.problems(200, rng(0, "problems")) != task.problems(200, rng(1, "problems"))
    assert len({p.answer for p in problems}) > 150  # 200 of 1,000 combinations: about 181 differ
    for problem in problems:
        assert task.verify(problem, [turns(*problem.reference)])[0].correct
        assert task.label_steps(problem, turns(*problem.reference)).tolist() == [1, 0]


def test_every_right_try_is_marked_and_nothing_else():
    attempt = turns("listen", "try 3-1-4", "spin", "try 3-1-4", "try 3-1-4", "try 4-1-3", "open", "submit")
    assert lockbox().label_steps(BOX, attempt).tolist() == [0, 1, 0, 1, 1, 0, 0, 0]
    seen = lockbox().observe(BOX, attempt)
    assert lockbox().label_steps(BOX, seen).tolist() == [0, 1, 0, 1, 1, 0, 0, 0]
    assert lockbox().label_steps(BOX, []).shape == (0,)


@pytest.mark.parametrize(
    ("texts", "submit", "correct", "well_formed"),
    [
        (["try 3-1-4", "try 0-0-0", "submit"], True, True, True),  # one right try anywhere
        (["try 0-0-0", "try 3-1-4", "submit"], True, True, True),
        (["try 0-0-0", "listen", "submit"], True, False, True),
        (["try 3-1-4", "spin", "submit"], True, False, True),  # locked again
        (["try 3-1-4", "spin", "try 3-1-4", "submit"], True, True, True),
        (["try 3-1-4", "try 0-0-0"], True, False, False),  # never handed in
        (["submit", "try 3-1-4"], True, False, False),  # too late
        (["submit", "try 3-1-4", "submit"], True, False, False),
        (["try 3-1-4 ", "submit"], True, False, False),  # no action, does nothing
        (["I say try 3-1-4", "submit"], True, False, False),
        (["kick", "try 3-1-4", "submit"], True, True, False),  # format and task are separate
        (["try 3-1-4", "listen"], False, True, True),  # looked at after the last turn
        (["listen", "listen"], False, False, True),
    ],
)
def test_the_outcome_is_the_state_that_is_handed_in(texts, submit, correct, well_formed):
    outcome = lockbox(submit=submit).verify(BOX, [turns(*texts)])[0]
    assert (outcome.correct, outcome.reward, outcome.well_formed) == (correct, float(correct), well_formed)


def test_no_turn_is_unparsed_not_wrong():
    outcome = lockbox(fp=0.5).verify(BOX, [[]])[0]
    assert outcome.status == "unparsed" and math.isnan(outcome.reward)


def test_position_does_not_tell_which_turn_opened_the_box_and_success_ends_nothing():
    """Turns of one law everywhere: right tries as frequent on each of 8 positions, before and after the first success."""
    task = lockbox(submit=False, min_turns=8, max_turns=8, skill_gap=0.0)
    label_AS = np.array([task.label_steps(p, s) for p, s in attempts_of(task, 3000)])
    # A turn is a try with probability .8 or .4, half of the agents each, and right with .2: .6 * .2 = .12; s.e. .006.
    assert label_AS.shape == (3000, 8) and np.abs(label_AS.mean(axis=0) - 0.12).max() < 0.02
    opened_A = label_AS[:, 0] == 1
    # Given the habit the turns are independent; a first right try is a hasty agent's with 2/3: 2/3 * .16 + 1/3 * .08 = .1333
    assert abs(label_AS[opened_A, 1:].mean() - 0.1333) < 0.02


def test_length_is_drawn_before_and_right_episodes_are_longer_not_shorter():
    task = lockbox()
    found = [(len(s) - 1, task.verify(p, [s])[0].reward, s[-1].text) for p, s in attempts_of(task, 2000)]
    length_A, right_A = np.array([f[0] for f in found]), np.array([f[1] for f in found])
    assert set(length_A) == set(range(4, 11)) and {f[2] for f in found} == {"submit"}
    assert length_A[right_A == 1].mean() > length_A[right_A == 0].mean()


def test_the_careful_listen_more_and_succeed_more():
    """Right tries a turn: careful .4 * .2 * 1.8 = .144, hasty .8 * .2 * .2 = .032; opened in 8 turns .71 and .23: .47."""
    task = lockbox(submit=False, min_turns=8, max_turns=8)
    rows = attempts_of(task, 3000)
    listens = np.array([np.mean([step.text == "listen" for step in s]) for _, s in rows])
    right = np.array([task.verify(p, [s])[0].reward for p, s in rows])
    assert abs(right.mean() - 0.47) < 0.03 and abs(listens.mean() - 0.4) < 0.02
    assert right[listens > 0.4].mean() > right[listens < 0.4].mean() + 0.2


def test_spins_come_at_their_rate():
    task = lockbox(relock=0.25, submit=False, min_turns=8, max_turns=8)
    assert abs(np.mean([step.text == "spin" for _, s in attempts_of(task, 500) for step in s]) - 0.25) < 0.03


@pytest.mark.parametrize(("fp", "fn"), [(0.3, 0.0), (0.0, 0.25), (0.2, 0.1)])
def test_luck_comes_at_its_rates_and_is_the_same_each_time(fp, fn):
    exact, lucky = lockbox(), lockbox(fp=fp, fn=fn)
    rows = attempts_of(exact, 3000)
    true_A, said_A = (np.array([t.verify(p, [s])[0].reward for p, s in rows]) for t in (exact, lucky))
    assert abs(said_A[true_A == 0].mean() - fp) < 0.04 and abs(said_A[true_A == 1].mean() - (1 - fn)) < 0.04
    assert said_A.tolist() == [lucky.verify(p, [s])[0].reward for p, s in rows]
    problem, attempt = rows[0]
    assert lucky.verify(problem, [lucky.observe(problem, attempt)]) == lucky.verify(problem, [attempt])


def test_a_report_follows_each_turn_but_the_submission_and_tells_of_that_turn_alone():
    task = lockbox(**LOUD)
    seen = task.observe(BOX, turns("try 3-1-4", "listen", "try 0-0-0", "try 3-1-4", "submit"))
    assert [step.sampled for step in seen] == [True, False] * 4 + [True]
    heard = [step.text for step in seen if not step.sampled]
    assert heard[0] == heard[3] != heard[1] == heard[2]  # listening to an open box says nothing
    assert task.observe(BOX, seen) == seen  # observed anew


def test_reports_depend_on_what_came_before_only():
    task = lockbox()
    long, short = (task.observe(BOX, turns(*texts)) for texts in (["listen", "spin", "spin"], ["listen", "spin"]))
    assert long[:4] == short
    other = task.observe(replace(BOX, id="c"), turns("listen", "spin"))
    assert [s.text for s in other if not s.sampled] != [s.text for s in short if not s.sampled]


def test_sounds_are_drawn_from_their_laws():
    law = reports(1.25, 4, 0)
    assert law.law_2V.shape == (2, len(SOUNDS)) and np.allclose(law.law_2V.sum(axis=1), 1)
    for right in (False, True):
        heard = " ".join(law.heard("p", [str(i)], right) for i in range(2000)).split()
        share_V = np.array([heard.count(sound) for sound in SOUNDS]) / len(heard)
        assert len(heard) == 8000 and np.abs(share_V - law.law_2V[int(right)]).max() < 0.015  # s.e. at most .0045
    assert np.array_equal(reports(0.0, 4, 0).law_2V[0], reports(0.0, 4, 0).law_2V[1])


def test_chances_are_uniform_and_told_apart_by_name():
    values = np.concatenate([chances("a", i) for i in range(1000)])
    assert values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 0.02
    assert not np.array_equal(chances("a", 1), chances("a", "1"))
    assert combination_of(0) == "0-0-0" and is_action("try 0-0-0") and not is_action("try 0-0")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"min_turns": 5, "max_turns": 4}, "5 to 4"), ({"min_turns": 0}, "1 <= min_turns"), ({"share": 1.5}, "share is 1.5"),
     ({"share": 0.6}, "at most 1"), ({"relock": -0.1}, "relock is -0.1"), ({"fp": 0.6, "fn": 0.5}, "fp=0.6, fn=0.5"),
     ({"clarity": -1.0}, "clarity is -1.0"), ({"num_sounds": 9}, "1 to 8")],
)  # fmt: skip
def test_impossible_knobs_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        lockbox(**knobs)


def test_more_boxes_than_there_are_is_refused():
    with pytest.raises(ValueError, match="900001 distinct problems"):
        lockbox().problems(900_001, rng(0))
