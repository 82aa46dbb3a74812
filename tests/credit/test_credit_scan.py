"""scan: the released labelling rules on trees of attempts and restarts."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step
from stepcredit.credit.monte_carlo import monte_carlo
from stepcredit.credit.scan import scan

NAN = np.nan


class Grown:
    """A tree grown by hand: attempts from the prompt, restarts from any node."""

    def __init__(self, name="p"):
        self.problem = Problem(name, "?")
        self.steps, self.parents, self.groups, self.outcomes = [prompt_step(self.problem)], [-1], [0], [None]

    def add(self, parent, num_steps, reward, kinds=None):
        """A rollout of `num_steps` steps in a group of its own; returns its nodes."""
        group, nodes = max(self.groups) + 1, []
        for j in range(num_steps):
            kind = kinds[j] if kinds else "reason"
            self.steps.append(Step(f"{len(self.steps)}", kind, kind != "tool_result"))
            self.parents.append(parent)
            self.groups.append(group)
            self.outcomes.append(None)
            parent = len(self.steps) - 1
            nodes.append(parent)
        self.outcomes[-1] = Outcome(status=reward) if isinstance(reward, str) else Outcome(reward=reward)
        return nodes

    def restarts(self, node, successes, total):
        for k in range(total):
            self.add(node, 1, float(k < successes))

    def tree(self):
        return Tree(self.problem, tuple(self.steps), self.parents, tuple(self.outcomes), group_N=self.groups)


def labelled():
    """Four right attempts, one wrong of five steps with restarts 8/8, 6/8, 3/8, 0/8: a = .8, first error the fourth."""
    grown = Grown()
    right = [grown.add(0, 2, 1.0) for _ in range(4)]
    wrong = grown.add(0, 5, 0.0)
    for node, successes in zip(wrong, (8, 6, 3, 0), strict=False):
        grown.restarts(node, successes, 8)
    return grown, right, wrong


def test_labels_before_at_and_after_the_first_step_without_success():
    """y: 1 | min(1, .75 / .8), .375 / .8 | 0 | cut. The monte_carlo labels of the same tree: 1, .75, .375, 0, 0."""
    grown, right, wrong = labelled()
    credit = scan([grown.tree()], balance=False)[0]
    assert np.allclose(credit.values_N[wrong], [1.0, 0.9375, 0.46875, 0.0, NAN], equal_nan=True)
    assert np.all(credit.values_N[np.concatenate(right)] == 1.0)
    assert np.allclose(monte_carlo(grown.tree()).values_N[wrong], [1, 0.75, 0.375, 0, 0])
    assert credit.kind == "label" and set(credit.weight_N) == {0.0, 1.0}


def test_a_rate_above_the_problems_own_is_full_evidence():
    """8/8 above .8 is 1, not 1.25."""
    grown, _, wrong = labelled()
    assert scan([grown.tree()], num_soft=3)[0].values_N[wrong[0]] == 1.0


def test_the_soft_labels_reach_as_far_as_they_are_told():
    grown, _, wrong = labelled()
    hard = scan([grown.tree()], num_soft=0)[0].values_N[wrong]
    assert np.array_equal(hard, [1, 1, 1, 0, NAN], equal_nan=True)
    one = scan([grown.tree()], num_soft=1)[0].values_N[wrong]
    assert np.allclose(one, [1, 1, 0.46875, 0, NAN], equal_nan=True)


def test_restarts_are_evidence_and_no_samples():
    grown, right, wrong = labelled()
    credit = scan([grown.tree()])[0]
    assert np.flatnonzero(credit.weight_N).tolist() == sorted([*np.concatenate(right), *wrong[:4]])


def test_problems_the_policy_cannot_solve_are_left_out():
    """.8 of the attempts are right: kept at .8, left out above it."""
    grown, _, _ = labelled()
    assert np.isnan(scan([grown.tree()], min_accuracy=0.81)[0].values_N).all()
    assert not np.isnan(scan([grown.tree()], min_accuracy=0.8)[0].values_N).all()


def test_both_classes_weigh_the_same_over_the_batch():
    """Four right attempts to one wrong: a right one weighs 1/4. With a second problem, 3 right, 1 wrong: 2/7."""
    grown, right, wrong = labelled()
    credit = scan([grown.tree()])[0]
    assert set(credit.weight_N[np.concatenate(right)]) == {0.25} and set(credit.weight_N[wrong[:4]]) == {1.0}
    other = Grown("q")
    for reward in (1.0, 1.0, 1.0, 0.0):
        other.add(0, 1, reward)
    both = scan([grown.tree(), other.tree()])
    assert np.allclose(both[0].weight_N[right[0]], 2 / 7) and np.allclose(both[1].weight_N[1:], [2 / 7] * 3 + [1])


def test_one_class_alone_keeps_its_weight():
    grown = Grown()
    grown.add(0, 2, 1.0)
    assert scan([grown.tree()])[0].weight_N.tolist() == [0, 1, 1]


def test_a_wrong_attempt_of_one_step_is_its_own_error():
    grown = Grown()
    nodes = [grown.add(0, 1, reward)[0] for reward in (1.0, 1.0, 1.0, 0.0)]
    assert scan([grown.tree()])[0].values_N[nodes].tolist() == [1, 1, 1, 0]


def test_where_every_step_can_still_succeed_the_last_is_the_error():
    """Restarts 8/8 and 4/8, then the finished, wrong last step: labels 1, .5 / .75, 0."""
    grown = Grown()
    for _ in range(3):
        grown.add(0, 1, 1.0)
    wrong = grown.add(0, 3, 0.0)
    grown.restarts(wrong[0], 8, 8)
    grown.restarts(wrong[1], 4, 8)
    assert np.allclose(scan([grown.tree()])[0].values_N[wrong], [1.0, 2 / 3, 0.0])


def test_a_wrong_attempt_that_was_not_measured_is_left_out():
    grown = Grown()
    for _ in range(3):
        grown.add(0, 1, 1.0)
    wrong = grown.add(0, 3, 0.0)
    grown.restarts(wrong[1], 0, 8)  # whether the first step had failed already is not known
    assert np.isnan(scan([grown.tree()])[0].values_N[wrong]).all()
    grown.restarts(wrong[0], 8, 8)
    assert np.array_equal(scan([grown.tree()])[0].values_N[wrong], [1, 0, NAN], equal_nan=True)


def test_unscored_attempts_take_no_part():
    """Without the timed-out attempt a is .75; counted as wrong it would be .6 and the problem left out."""
    grown = Grown()
    nodes = [grown.add(0, 1, reward)[0] for reward in (1.0, 1.0, 1.0, 0.0, "timeout")]
    assert np.array_equal(scan([grown.tree()])[0].values_N[nodes], [1, 1, 1, 0, NAN], equal_nan=True)


def test_an_attempt_that_ends_with_a_tool_result_failed_at_its_last_step():
    grown = Grown()
    for _ in range(3):
        grown.add(0, 1, 1.0)
    wrong = grown.add(0, 2, 0.0, kinds=["tool_call", "tool_result"])
    assert np.array_equal(scan([grown.tree()])[0].values_N[wrong], [0, NAN], equal_nan=True)


def test_shared_steps_average_their_attempts_by_weight():
    """1 leads to three right attempts and a wrong one: its label there is soft, m / a. No groups: all leaves are attempts,
    m of 1 is 3/4 and a = 3/4, so that it is 1 for all; the wrong leaf is the error."""
    problem = Problem("p", "?")
    steps = (prompt_step(problem), *(Step(str(n)) for n in range(5)))
    outcomes = (None, None, *(Outcome(reward=r) for r in (1.0, 1.0, 1.0, 0.0)))
    credit = scan([Tree(problem, steps, [-1, 0, 1, 1, 1, 1], outcomes)])[0]
    assert np.allclose(credit.values_N[1:], [1, 1, 1, 1, 0])
    assert np.allclose(credit.weight_N[1:], [(3 / 3 + 1) / 4, 1 / 3, 1 / 3, 1 / 3, 1])


def test_wrong_input_is_refused():
    grown, _, _ = labelled()
    with pytest.raises(ValueError, match="batch statistics"):
        scan(grown.tree())
    with pytest.raises(ValueError, match="min_accuracy 75, num_soft 2; allowed: in"):
        scan([grown.tree()], min_accuracy=75)
    with pytest.raises(ValueError, match="num_soft -1"):
        scan([grown.tree()], num_soft=-1)
