"""Outcomes and step truth put on attempts that others wrote."""

from dataclasses import replace

import numpy as np
import pytest

from stepcredit.core.protocols import Task
from stepcredit.core.tree import star
from stepcredit.core.truth import as_written, judged_wrong, verified, with_truth
from stepcredit.core.types import Credit, Outcome, Problem, Record, Step, Tree
from stepcredit.tasks.chain import chain
from stepcredit.tasks.parities import parities

PROBLEM = Problem("p", "?", "b")
SEEN = Step("seen", kind="tool_result", sampled=False)


def verify(problem, solutions):
    return [Outcome(float(right), right) for right in (steps[-1].text == problem.answer for steps in solutions)]


def label_steps(problem, steps):
    """A step is sound iff it is one letter; "?" cannot be read."""
    texts = [step.text for step in steps if step.sampled]
    return np.array([np.nan if text == "?" else float(len(text) == 1) for text in texts])


TASK = Task("letters", lambda num, rng: [], lambda problem, rng: [], label_steps, verify)


def test_outcomes_are_the_verifiers_but_a_truncated_attempt_stays_truncated():
    attempts, cut = [[Step("a"), Step("b")], [Step("b")], [Step("c")]], Outcome(status="truncated")
    found = verified(Record(star(PROBLEM, attempts, [Outcome(0.0, False), cut, None])), verify)
    assert [o and (o.status, o.correct) for o in found.tree.outcomes] == [
        None, None, ("scored", True), ("truncated", None), ("scored", False),
    ]  # fmt: skip


def test_a_record_with_nothing_to_decide_asks_no_verifier():
    def never(problem, solutions):
        raise AssertionError("asked")

    record = Record(star(PROBLEM, [[Step("b")]], [Outcome(status="truncated")]))
    assert verified(record, never) is record


def test_truth_is_on_sampled_steps_beside_the_other_credits():
    tree = star(PROBLEM, [[Step("a"), SEEN, Step("xx")], [Step("?"), Step("b")]])
    other = Credit(np.full(6, 0.5), "value", np.ones(6), "other")
    given = Record(tree, {"other": other})
    found = with_truth(given, TASK)
    truth = found.credits["truth"]
    # nodes: prompt, a, seen, xx, ?, b
    assert np.array_equal(truth.values_N, [np.nan, 1, np.nan, 0, np.nan, 1], equal_nan=True)
    assert truth.weight_N.tolist() == [0, 1, 0, 1, 0, 1] and (truth.kind, truth.method) == ("label", "letters oracle")
    assert found.credits["other"] is other and "truth" not in given.credits and found.tree is tree


def test_a_shared_step_is_labelled_once_for_all_its_attempts():
    steps = (Step("?", kind="prompt", sampled=False), Step("a"), Step("b"), Step("yy"))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1], (None,) * 4)
    assert with_truth(Record(tree), TASK).credits["truth"].values_N[1:].tolist() == [1, 1, 0]


CHAIN = Problem("c", "3 +4 *0 -2", "3", meta={"modulus": 5})  # 3+4=2, 2*0=0, 0-2=3


def started(given, *written):
    return [*(Step(text, sampled=False) for text in given), *(Step(text) for text in written)]


def test_given_steps_shift_no_label_and_are_not_labelled():
    """`tasks/chain` numbers the lines it reads: shown the sampled ones alone, it would hold the second against the first."""
    attempts = [
        started(["3+4=2"], "2*0=0", "0-2=3"),
        started(["3+4=2", "2*0=0"], "0-2=4"),
        started([], "3+4=1", "1*0=0"),
    ]
    tree = star(CHAIN, attempts)
    truth = with_truth(Record(tree), chain()).credits["truth"]
    # 0-2 is 3 modulo 5, so 4 is wrong; 3+4=1 is wrong, and 1*0=0 goes on from it rightly.
    expected = [np.nan, np.nan, 1, 1, np.nan, np.nan, 0, 0, 1]
    assert np.array_equal(truth.values_N, expected, equal_nan=True)
    assert truth.weight_N.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 1]
    found = verified(Record(tree), chain().verify).tree
    assert [found.outcomes[leaf].reward for leaf in found.leaves] == [1, 0, 0]  # three lines, right; wrong; one too few


def test_a_task_that_reads_given_steps_by_itself_says_the_same():
    problem = parities().problems(1, np.random.default_rng(0))[0]
    first, *rest = (Step(text) for text in problem.reference)
    tree = star(problem, [[replace(first, sampled=False), *rest], [first, *rest]])
    labels = with_truth(Record(tree), parities()).credits["truth"].values_N
    assert np.array_equal(labels, [np.nan, np.nan, *[1] * len(rest), *[1] * (len(rest) + 1)], equal_nan=True)


def test_what_the_environment_said_before_the_first_step_stays_context():
    steps = [Step("hello", kind="prompt", sampled=False), SEEN, *started(["a"], "b"), SEEN]
    assert [step.sampled for step in as_written(steps)] == [False, False, True, True, False]
    assert as_written(steps[:2]) == tuple(steps[:2]) and as_written([]) == ()
    assert all(step.sampled for step in as_written(started(["a", "b"])))


def test_an_oracle_that_labels_another_number_of_steps_is_named():
    short = Task("short", lambda num, rng: [], lambda problem, rng: [], lambda problem, steps: np.ones(1), verify)
    with pytest.raises(
        ValueError, match=r"problem 'p': the oracle of short gave \[1\] labels; expected \[2\], one a sampled step"
    ):
        with_truth(Record(star(PROBLEM, [[Step("a"), Step("b")]])), short)


def test_what_is_called_wrong_is_scored_0_and_nothing_else_is():
    ends = [
        Outcome(1.0, True),
        Outcome(status="truncated"),
        Outcome(status="unparsed", well_formed=False),
        Outcome(status="timeout"),
    ]
    tree = star(PROBLEM, [[Step(text)] for text in "abcd"], ends)
    assert judged_wrong(tree, ["truncated", "unparsed"]).reward_N.tolist()[1:4] == [1, 0, 0]
    assert np.isnan(judged_wrong(tree, ["truncated", "unparsed"]).reward_N[4]) and judged_wrong(tree, []) is tree
