"""sibling: choices against their siblings, group_mean on a star, and the exact advantage where values are known."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Record, Step, Tree
from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import prompt_step, star
from stepcredit.core.truth import verified
from stepcredit.credit.group_mean import group_mean
from stepcredit.credit.sibling import among_siblings, sibling, values
from stepcredit.rollout.chains import chains

PROBLEM = Problem("p", "?")
NAN = np.nan


def tree_of(parents, rewards, unsampled=()):
    """`rewards`: of some nodes; None is unscored."""
    steps = (prompt_step(PROBLEM), *(Step(str(n), sampled=n not in unsampled) for n in range(1, len(parents))))
    outcomes = [Outcome(reward=rewards[n]) if rewards.get(n) is not None else None for n in range(len(parents))]
    return Tree(PROBLEM, steps, parents, tuple(outcomes))


def branched():
    """Prompt: 1, 2. Under 1: 3 (then 5, right; 6, wrong) and 4 (right). Under 2: 7, then 8, wrong."""
    return tree_of([-1, 0, 0, 1, 1, 3, 3, 2, 7], {4: 1.0, 5: 1.0, 6: 0.0, 8: 0.0})


def test_values_are_means_over_children():
    """V_3 = (1 + 0)/2, V_1 = (1/2 + 1)/2 = 3/4 (over leaves it were 2/3), V_0 = (3/4 + 0)/2."""
    assert values(branched()).tolist() == [0.375, 0.75, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_choice_is_its_value_minus_the_mean_of_its_siblings_and_is_carried_on():
    """1 against 2: 3/4 - 3/8. 3 against 4: 1/2 - 3/4. 5 against 6: +-1/2. 7 and 8 had no siblings: what 2 was worth."""
    credit = sibling(branched())
    assert credit.values_N.tolist()[1:] == [0.375, -0.375, -0.25, 0.25, 0.5, -0.5, -0.375, -0.375]
    assert credit.kind == "advantage" and credit.weight_N.tolist() == [0, *[1] * 8]


def test_leaving_itself_out_and_dividing():
    """Two siblings: minus the other is twice minus the mean; over the deviation it is +-1/sqrt(2)."""
    alone, divided = sibling(branched(), leave_one_out=True), sibling(branched(), normalize="std")
    assert alone.values_N.tolist()[1:] == [0.75, -0.75, -0.5, 0.5, 1.0, -1.0, -0.75, -0.75]
    assert np.allclose(divided.values_N[1:], np.array([1, -1, -1, 1, 1, -1, -1, -1]) / np.sqrt(2))


@pytest.mark.parametrize("normalize", ["std", "none"])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_on_a_star_of_chains_it_is_group_mean(normalize, leave_one_out):
    generator = np.random.default_rng(0)
    for _ in range(20):
        num = int(generator.integers(1, 6))
        attempts = [[Step(f"{i}{j}") for j in range(generator.integers(1, 4))] for i in range(num)]
        rewards = generator.choice([0.0, 0.1, 0.7, 1.0, NAN], size=num)
        outcomes = [Outcome(status="timeout") if np.isnan(r) else Outcome(reward=r) for r in rewards]
        tree = star(PROBLEM, attempts, outcomes)
        knobs = {"normalize": normalize, "leave_one_out": leave_one_out}
        one, other = sibling(tree, **knobs), group_mean(tree, **knobs)
        assert np.array_equal(one.values_N, other.values_N, equal_nan=True)


def test_along_a_path_choices_sum_to_outcome_minus_the_tree_s_value():
    """A_1 + A_3 + A_5 = .375 - .25 + .5 = 1 - 3/8."""
    tree = branched()
    assert sum(sibling(tree).values_N[[1, 3, 5]]) == tree.reward_N[5] - values(tree)[0]


def test_unscored_siblings_are_not_compared_with():
    """3 and 4 are unscored: 1 is compared with 2 alone, and 4's sibling 5 carries what 2 was worth."""
    tree = tree_of([-1, 0, 0, 0, 2, 2], {1: 1.0, 5: 0.0})
    assert np.array_equal(sibling(tree).values_N, [NAN, 0.5, -0.5, NAN, NAN, -0.5], equal_nan=True)


def test_what_the_environment_answers_is_no_choice():
    """1 was answered by 3 or 4, in which it did well or badly: neither 5 nor 6 chose that. 1 against 2: 1/2 - 1/4."""
    tree = tree_of([-1, 0, 0, 1, 1, 3, 4], {2: 0.0, 5: 1.0, 6: 0.0}, unsampled=(3, 4))
    assert np.array_equal(sibling(tree).values_N, [NAN, 0.25, -0.25, NAN, NAN, 0.25, 0.25], equal_nan=True)


@pytest.mark.parametrize("normalize", ["std", "none"])
def test_equal_siblings_are_exactly_zero_whatever_their_descent(normalize):
    """.1, .2, .3 have the mean .2 but for a residue, which the deviation would blow up."""
    tree = tree_of([-1, 0, 0, 1, 1, 1], {2: 0.2, 3: 0.1, 4: 0.2, 5: 0.3})
    assert values(tree)[1] != 0.2  # the residue is there
    assert sibling(tree, normalize=normalize).values_N[1:3].tolist() == [0.0, 0.0]
    same = tree_of([-1, 0, 0, 1, 1, 1, 2, 2, 2], dict.fromkeys(range(3, 9), 0.1))
    assert not sibling(same, normalize=normalize).values_N[1:].any()


def test_a_finished_node_with_continuations_keeps_its_outcome_as_one_more():
    """1 ended wrong and was continued twice, right: (0 + 1 + 1)/3."""
    assert np.isclose(values(tree_of([-1, 0, 1, 1], {1: 0.0, 2: 1.0, 3: 1.0}))[1], 2 / 3)


def test_any_values_can_be_compared_and_a_wrong_knob_is_named():
    tree = tree_of([-1, 0, 0, 1], {})
    found = among_siblings(tree, np.array([NAN, 0.8, 0.2, 0.4]))
    assert np.allclose(found, [NAN, 0.3, -0.3, 0.3], equal_nan=True)
    with pytest.raises(ValueError, match="normalize is 'var'; allowed: std, none"):
        sibling(tree, normalize="var")


def test_without_itself_it_is_unbiased_for_the_exact_advantage_and_with_itself_a_third_smaller():
    """Three samples of the first line, many times: E[A | line] = Q(line) - V, or 2/3 of it; four standard errors."""
    task, policy = (
        registry.bind("tasks", "chain")(),
        registry.bind("policy", "tabular")(num_slips=75, systematic_slip=0.4),
    )

    def gains(problem):
        start, (sign, operand) = (
            int(problem.prompt.split()[0]),
            (problem.prompt.split()[1][0], problem.prompt.split()[1][1:]),
        )
        lines = [f"{start}{sign}{operand}={result}" for result in range(5)]
        value = policy.value([f"{problem.prompt}\n{line}\n" for line in lines]) - policy.value([problem.prompt + "\n"])
        return dict(zip(lines, value.tolist(), strict=True))

    # The problem of forty whose first line matters most: the demonstrator's fixed slips are on every fact.
    problem = max(task.problems(40, rng(3, "problem")), key=lambda one: max(gains(one).values()))
    exact = gains(problem)
    trees = chains([problem] * 700, policy=policy, rng=rng(3, "attempts"), num=3)
    trees = [verified(Record(tree), task.verify).tree for tree in trees]
    told_apart = False
    for leave_one_out, scale, other in ((True, 1.0, 2 / 3), (False, 2 / 3, 1.0)):
        by_line = {}
        for tree in trees:
            credit = sibling(tree, leave_one_out=leave_one_out)
            for node in np.flatnonzero(tree.parent_N == 0):
                by_line.setdefault(tree.steps[node].text, []).append(credit.values_N[node])
        often = {line: np.array(found) for line, found in by_line.items() if len(found) >= 60}
        assert len(often) >= 2
        for line, found in often.items():
            error = 4 * found.std() / np.sqrt(len(found))
            assert abs(found.mean() - scale * exact[line]) < error, line
            told_apart |= abs(found.mean() - other * exact[line]) > error
    assert told_apart
