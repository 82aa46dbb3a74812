"""Outcomes and step truth put on attempts that others wrote."""

import numpy as np

from stepcredit.core.protocols import Task
from stepcredit.core.tree import star
from stepcredit.core.truth import verified, with_truth
from stepcredit.core.types import Credit, Outcome, Problem, Record, Step, Tree

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
