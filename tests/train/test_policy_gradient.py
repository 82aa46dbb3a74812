"""Credit and rows together: in a world that can be enumerated, the expected gradient is the policy gradient."""

import itertools

import numpy as np
import pytest
from token_world import (
    PROBLEM,
    REWARD,
    Characters,
    exact_gradient,
    gradient_of,
    groups,
    outcome_of,
    probability,
    steps_of,
)  # fmt: skip

from stepcredit import Credit, Step, Tree
from stepcredit.core.registry import bind
from stepcredit.core.tree import prompt_step, star
from stepcredit.train.policy_samples import Rules, policy_samples


def expected(method, num=2, **rules):
    """The expectation over groups of `num` attempts, an attempt."""
    total = 0.0
    for texts, chance in groups(num):
        tree = star(PROBLEM, [steps_of(text) for text in texts], [outcome_of(text) for text in texts])
        total += chance * gradient_of(policy_samples([tree], [method(tree)], Characters(), rules=Rules(**rules)))
    return total / num


def trees():
    """Every tree of two first steps with two continuations each (an "a" ends there), with its probability."""
    options = [("a", ())] + [(first, pair) for first in ("bc", "bd") for pair in itertools.product("ab", repeat=2)]
    for pair in itertools.product(options, repeat=2):
        steps, parents, outcomes, chance = [prompt_step(PROBLEM)], [-1], [None], 1.0
        for first, after in pair:
            steps.append(Step(first, token_ids=tuple(map(ord, first))))
            parents.append(0)
            outcomes.append(None if after else outcome_of(first))
            chance *= probability(first) * float(np.prod([probability(one, first) for one in after]))
            above = len(steps) - 1
            for one in after:
                steps.append(Step(one, token_ids=(ord(one),)))
                parents.append(above)
                outcomes.append(outcome_of(first + one))
        yield Tree(PROBLEM, tuple(steps), np.array(parents), tuple(outcomes)), chance


def test_the_world_is_a_world():
    assert sum(probability(text) for text in REWARD) == pytest.approx(1.0)
    assert sum(chance for _, chance in trees()) == pytest.approx(1.0)


@pytest.mark.parametrize("num", [2, 3])
def test_leave_one_out_is_the_policy_gradient_exactly(num):
    method = bind("credit", "group_mean", normalize="none", leave_one_out=True)
    assert np.allclose(expected(method, num), exact_gradient(), atol=1e-12)


def test_the_group_mean_is_the_policy_gradient_up_to_its_length():
    # With the attempt itself in the mean, A is smaller by (G - 1) / G: 1/2 for two, 2/3 for three.
    for num, factor in ((2, 1 / 2), (3, 2 / 3)):
        found = expected(bind("credit", "group_mean", normalize="none"), num)
        assert np.allclose(found, factor * exact_gradient(), atol=1e-12)


def test_siblings_in_a_tree_are_the_policy_gradient_where_branches_weigh_what_they_stand_for():
    """An "a" ends its branch, the others go on twice: leaves are not what a branch stands for."""
    method, total = bind("credit", "sibling", leave_one_out=True), {"branches": 0.0, "once": 0.0, "descendants": 0.0}
    for tree, chance in trees():
        for shared in total:
            samples = policy_samples([tree], [method(tree)], Characters(), rules=Rules(shared=shared))
            total[shared] += chance * gradient_of(samples) / (len(tree.leaves) if shared == "branches" else 1)
    exact = exact_gradient()
    assert np.allclose(total["branches"], exact, atol=1e-12)
    for shared in ("once", "descendants"):  # other directions
        along = total[shared] @ exact / np.linalg.norm(total[shared]) / np.linalg.norm(exact)
        assert along < 0.999, shared


def test_splitting_over_a_steps_tokens_is_another_gradient():
    method = bind("credit", "group_mean", normalize="none", leave_one_out=True)
    same, split = expected(method), expected(method, spread="split")
    # Logits of the two-token step ("" and "b", the first four) count half where they come with "bc" and "bd".
    assert np.allclose(same, exact_gradient()) and not np.allclose(split[:4], same[:4], atol=0.01)
    assert np.allclose(split[4:], same[4:], atol=1e-12)


def per_turn_index(tree):
    """What peers do: an attempt's reward less the mean over the attempts that have such a turn."""
    leaves = [(list(tree.path(leaf)), float(tree.reward_N[leaf])) for leaf in tree.leaves]
    value_N = np.full(tree.num_nodes, np.nan)
    for path, reward in leaves:
        for turn, node in enumerate(path):
            among = [other for nodes, other in leaves if len(nodes) > turn]
            value_N[node] = reward - np.mean(among)
    return Credit(value_N, "advantage", (~np.isnan(value_N)).astype(float), "per_turn_index")


def test_a_baseline_by_turn_index_is_biased():
    """The last attempt to go on has nobody beside it: its later turns are worth 0, however good they were."""
    found, exact = expected(per_turn_index), exact_gradient()
    ratio_first, ratio_later = found[:2] / exact[:2], found[4:] / exact[4:]
    assert np.allclose(ratio_first, 1 / 2)  # as the group mean of two
    assert np.all(ratio_later < 0.4)  # and less where an attempt may be the only one
    ours = expected(bind("credit", "group_mean", normalize="none")) / exact
    assert np.allclose(ours, 1 / 2)


def test_dividing_by_the_spread_of_a_group_turns_the_gradient():
    """GRPO's z-score is another objective: its gradient is not along the expected reward's."""
    found, exact = expected(bind("credit", "group_mean"), 3), exact_gradient()
    assert found @ exact / np.linalg.norm(found) / np.linalg.norm(exact) < 0.999
