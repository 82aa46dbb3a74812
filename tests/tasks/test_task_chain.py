import math
from dataclasses import replace

import numpy as np
import pytest

from stepcredit.core.chain_world import SIGNS, compute, parse_line, world
from stepcredit.core.registry import get
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.types import Problem, Step
from stepcredit.tasks.chain import chain

PROBLEM = Problem("p", "3 +4 *0 -2", answer="3")


def steps(*texts: str) -> list[Step]:
    return [Step(text) for text in texts]


def test_it_is_registered_under_its_file_name():
    assert get("tasks", "chain").knobs["modulus"] == 5


def test_problems_are_distinct_solved_by_their_reference_and_repeatable():
    task = chain()
    problems = task.problems(200, rng(0, "problems"))
    assert len({p.prompt for p in problems}) == len({p.id for p in problems}) == 200
    assert {p.meta["num_ops"] for p in problems} == {3, 4, 5, 6, 7, 8}
    assert problems == task.problems(200, rng(0, "problems"))
    for problem in problems:
        gold = steps(*problem.reference)
        assert task.verify(problem, [gold])[0].reward == 1.0
        assert np.all(task.label_steps(problem, gold) == 1.0)


def test_half_of_the_multiplications_are_by_zero_and_signs_are_uniform():
    words = [word for p in chain().problems(2000, rng(1)) for word in p.prompt.split()[1:]]
    times = [word for word in words if word[0] == "*"]
    # About 11,000 words: three standard errors are .014 for a third and .025 for a half.
    assert abs(len(times) / len(words) - 1 / 3) < 0.014
    assert abs(times.count("*0") / len(times) - 1 / 2) < 0.025


def test_the_oracle_marks_the_slip_and_not_what_follows_from_it():
    # 3+4 is 2 modulo 5; from the wrong 1 on everything is consistent, and *0 absorbs it.
    attempt = steps("3+4=1", "1*0=0", "0-2=3")
    assert chain().label_steps(PROBLEM, attempt).tolist() == [0, 1, 1]
    assert chain().verify(PROBLEM, [attempt])[0].correct


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["3+4=2", "1*0=0", "0-2=3"], [1, 0, 1]),  # does not copy the result before it
        (["3+4=2", "2+4=1", "1-2=4"], [1, 0, 1]),  # not the problem's operation
        (["3+4=2", "2*0=0", "0-2=-2"], [1, 1, 0]),  # no residue, no line
        (["so 3+4=2", "2*0=0", "0-2=3"], [0, math.nan, 1]),  # nothing readable to copy from
        (["so 3+4=2", "2*0=1", "1-2=4"], [0, 0, 1]),  # wrong whatever stood before
        (["3+4=2", "2*0=0", "0-2=3", "3+1=4"], [1, 1, 1, 0]),  # beyond the last operation
    ],
)
def test_the_oracle_reads_each_kind_of_line(lines, expected):
    assert np.array_equal(chain().label_steps(PROBLEM, steps(*lines)), expected, equal_nan=True)


def test_steps_the_policy_did_not_write_are_not_labelled_or_counted():
    attempt = [Step("note", kind="tool_result", sampled=False), *steps("3+4=2", "2*0=0", "0-2=3")]
    assert chain().label_steps(PROBLEM, attempt).tolist() == [1, 1, 1]
    assert chain().verify(PROBLEM, [attempt])[0].correct


@pytest.mark.parametrize(
    ("lines", "status", "correct", "well_formed"),
    [
        ([], "unparsed", None, False),
        (["3+4=2", "2*0=0", "the answer is 3"], "unparsed", None, False),
        (["3+4=2", "2*0=0", "0-2=3 "], "unparsed", None, False),
        (["3+4=2", "2*0=0", "0-2=03"], "unparsed", None, False),
        (["3+4=2", "2*0=0", "0-2=4"], "scored", False, True),
        (["3+4=2", "0-2=3"], "scored", False, False),  # right answer, a line short
        (["3+4=2", "2*0=0", "0-2=3", "3+0=3"], "scored", False, False),
        (["well", "2*0=0", "0-2=3"], "scored", True, False),  # format and task are separate
    ],
)
def test_the_outcome_separates_unparsed_malformed_and_wrong(lines, status, correct, well_formed):
    outcome = chain().verify(PROBLEM, [steps(*lines)])[0]
    assert (outcome.status, outcome.correct, outcome.well_formed) == (status, correct, well_formed)
    assert math.isnan(outcome.reward) if status == "unparsed" else outcome.reward == float(correct)


def test_the_demonstrator_slips_at_the_rates_of_the_law():
    task, own = chain(), world(5, 0.06, 0.6, 10, 2)
    generator = rng(2)
    fact_slips = {True: [0, 0], False: [0, 0]}
    for problem in task.problems(1500, generator):
        for step in task.demonstrate(problem, generator):
            a, sign, b, result = parse_line(step.text)
            counts = fact_slips[(a, sign, b) in own.slips]
            counts[0] += result != compute(a, sign, b, 5)
            counts[1] += 1
    # Systematic facts: .06 + .94 * .6 = .624; the others: .06. Bounds are over three standard errors.
    assert abs(fact_slips[True][0] / fact_slips[True][1] - 0.624) < 0.05
    assert abs(fact_slips[False][0] / fact_slips[False][1] - 0.06) < 0.01


def test_systematic_slips_depend_on_their_seed_alone():
    own = world(5, 0.06, 0.6, 10, 2)
    assert own == world(5, 0.06, 0.6, 10, 2) != world(5, 0.06, 0.6, 10, 3)
    assert len(own.slips) == 10
    assert all(wrong != compute(*fact, 5) for fact, wrong in own.slips.items())
    for sign in SIGNS:
        assert own.law(1, sign, 2).sum() == pytest.approx(1.0)


def test_without_slips_the_demonstrator_is_right():
    task = chain(random_slip=0.0, num_slips=0)
    problem = task.problems(1, rng(3))[0]
    assert [s.text for s in task.demonstrate(problem, rng(4))] == list(problem.reference)


def test_a_wrong_answer_field_is_what_verify_trusts():
    attempt = steps("3+4=2", "2*0=0", "0-2=3")
    assert chain().verify(replace(PROBLEM, answer="4"), [attempt])[0].reward == 0.0


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"modulus": 1}, "modulus is 1"), ({"random_slip": 1.5}, "random_slip is 1.5"), ({"num_slips": 76}, "0 to 75"),
     ({"min_ops": 4, "max_ops": 3}, "4 to 3"), ({"zero_share": -1.0}, "zero_share")],
)  # fmt: skip
def test_impossible_knobs_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        chain(**knobs)


def test_more_problems_than_there_are_is_refused():
    # Modulus 2, one operation: 2 starts x ("+0" "+1" "-0" "-1" "*0" "*1") = 12 prompts.
    task = chain(modulus=2, min_ops=1, max_ops=1, num_slips=0)
    assert len(task.problems(12, rng(0))) == 12
    with pytest.raises(ValueError, match="13 distinct problems"):
        task.problems(13, rng(0))


def test_first_errors_fall_on_every_position():
    task, generator = chain(min_ops=4, max_ops=4), rng(5)
    errors = [first_error(task.label_steps(p, task.demonstrate(p, generator))) for p in task.problems(300, generator)]
    assert set(errors) == {-1, 0, 1, 2, 3}
