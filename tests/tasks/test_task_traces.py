"""What every task in the form of BIG-Bench-Mistake must pass, whatever its domain."""

from collections import Counter

import numpy as np
import pytest
from trace_checks import lines

from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.types import Step
from stepcredit.tasks.arithmetic import arithmetic
from stepcredit.tasks.dyck import dyck
from stepcredit.tasks.shuffled_objects import shuffled_objects
from stepcredit.tasks.word_sorting import word_sorting

TASKS = (arithmetic(), dyck(), shuffled_objects(), word_sorting())
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@each_task
def test_problems_are_distinct_and_the_same_for_the_same_seed(task):
    problems = task.problems(60, rng(0, task.name))
    assert len({p.id for p in problems}) == len({p.prompt for p in problems}) == 60
    assert problems == task.problems(60, rng(0, task.name))
    assert problems != task.problems(60, rng(1, task.name))


@each_task
def test_gold_traces_are_sound_and_right(task):
    for problem in task.problems(60, rng(0, task.name)):
        steps = lines(*problem.reference)
        assert task.label_steps(problem, steps).tolist() == [1.0] * len(steps), problem.prompt
        [outcome] = task.verify(problem, [steps])
        assert (outcome.correct, outcome.answer) == (True, problem.answer)


@each_task
def test_a_slip_is_caught_at_its_step(task):
    """The first wrong step is the first that departs from the gold trace; right steps throughout give a right answer."""
    # in a later problem of arithmetic a slip is multiplied by 0: all expressions of its step have one value
    num = 30 if task.name == "arithmetic" else 60
    right_anyway, majority_right, accuracy = 0, [], []
    for problem in task.problems(num, rng(2, task.name)):
        tried = [task.demonstrate(problem, rng(3, problem.id, k)) for k in range(16)]
        assert tried == [task.demonstrate(problem, rng(3, problem.id, k)) for k in range(16)]
        outcomes = task.verify(problem, tried)
        for steps, outcome in zip(tried, outcomes, strict=True):
            found = first_error(task.label_steps(problem, steps))
            assert found == _first_departure([s.text for s in steps], list(problem.reference)), problem.prompt
            assert outcome.correct or found >= 0
            right_anyway += bool(outcome.correct) and found >= 0
        votes = Counter(o.answer for o in outcomes if o.answer is not None)
        majority_right.append(votes.most_common(1)[0][0] == problem.answer)
        accuracy.append(np.mean([bool(o.correct) for o in outcomes]))
    assert right_anyway > 0  # outcomes do not prove steps here
    assert 0.3 < np.mean(accuracy) < 0.95
    assert not all(majority_right)  # systematic slips: a majority repeats them


def _first_departure(written, gold):
    for at, (ours, theirs) in enumerate(zip(written, gold, strict=False)):
        if ours != theirs:
            return at
    return -1 if len(written) == len(gold) else min(len(written), len(gold))


@each_task
def test_the_answer_is_read_off_the_last_step(task):
    """Only the answer stated in the last sampled step counts; none stated is unparsed, never 0."""
    problem = task.problems(1, rng(0, task.name))[0]
    said = [
        f"So the answer is {problem.answer}",
        f"So the answer is {problem.answer}.",
        f"So the answer is not {problem.answer}",
        f"So the answer is {problem.answer} or x",
        f"{problem.answer}",
        "So the answer is",
    ]
    found = task.verify(problem, [lines("first", text) for text in said] + [[]])
    assert [o.correct for o in found] == [True, True, False, False, None, None, None]
    assert [o.status for o in found[4:]] == ["unparsed"] * 3 and all(np.isnan(o.reward) for o in found[4:])


@each_task
def test_odd_steps_do_not_break_the_oracle(task):
    """Nothing a model writes breaks the oracle: one label per sampled step, in {0, 1, NaN}."""
    random = rng(4, task.name)
    for problem in task.problems(10, rng(5, task.name)):
        steps = lines("", "Hello there.", "((((", '[ ] (1) : = " < , 5 5 = 007 x')
        for text in problem.reference:
            keep = random.random(len(text)) > 0.1
            steps.append(Step("".join(c for c, kept in zip(text, keep, strict=True) if kept)))
            steps.append(Step(text[: int(random.integers(len(text) + 1))]))
        steps.append(Step("seen", kind="tool_result", sampled=False))
        label_S = task.label_steps(problem, steps)
        assert label_S.shape == (len(steps) - 1,)
        assert set(np.unique(label_S[~np.isnan(label_S)])) <= {0.0, 1.0}
    assert np.isnan(label_S[1])
    assert task.label_steps(problem, []).shape == (0,)
