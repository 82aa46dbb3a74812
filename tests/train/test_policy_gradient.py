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


def clipped(samples, ratio, epsilon=0.2):
    """PPO's clipped objective of the first step's tokens, summed over rows, at the same ratio everywhere."""
    advantages = [
        sample.advantage_T[np.argmax(sample.loss_mask_T)] for sample in samples if ord("s") in trained_ids(sample)
    ]
    return sum(min(ratio * a, float(np.clip(ratio, 1 - epsilon, 1 + epsilon)) * a) for a in advantages)


def trained_ids(sample):
    return sample.token_ids_T[sample.loss_mask_T].tolist()


def test_a_shared_step_has_the_same_gradient_on_policy_and_is_clipped_as_one_off_it():
    """The price of training a shared step once, with its weighted mean, where a batch serves several updates.

    Two attempts through "s" with A = 1 and -1/2: in a row each, or once with mean 1/4 and weight 2, that is 1/2.
    The samples are ours; the clipped objective is written out here, not the trainer's.
    """
    steps = [Step(text, token_ids=(ord(text),)) for text in "sxy"]
    tree = Tree(
        PROBLEM, (prompt_step(PROBLEM), *steps), np.array([-1, 0, 1, 1]), (None, None, outcome_of("a"), outcome_of("a"))
    )
    once = policy_samples([tree], [Credit([np.nan, 0.25, 1, -0.5], "advantage", [0, 2, 1, 1], "made_up")], Characters())
    chains = star(PROBLEM, [[steps[0], steps[1]], [steps[0], steps[2]]])
    apart = policy_samples(
        [chains], [Credit([np.nan, 1, 1, -0.5, -0.5], "advantage", [0, 1, 1, 1, 1], "made_up")], Characters()
    )
    assert sum(ord("s") in trained_ids(sample) for sample in once) == 1 and len(apart) == 2
    # On policy and near it both are r / 2.
    assert [clipped(once, r) for r in (1.0, 1.1)] == pytest.approx([0.5, 0.55])
    assert [clipped(apart, r) for r in (1.0, 1.1)] == pytest.approx([0.5, 0.55])
    # At 1.5 the mean is clipped, 1.2 / 2, and has no slope; apart the bad attempt still pulls: 1.2 - 1.5 / 2.
    assert (clipped(once, 1.5), clipped(apart, 1.5)) == (pytest.approx(0.6), pytest.approx(0.45))
    assert clipped(once, 1.6) == pytest.approx(0.6) and clipped(apart, 1.6) == pytest.approx(0.4)
    # Where all agree in sign nothing differs: halves of 1/2 clipped at 1.2 are 0.6 as well.
    agree = Credit([np.nan, 0.25, 0.25, 0.25, 0.25], "advantage", [0, 1, 1, 1, 1], "made_up")
    assert clipped(policy_samples([chains], [agree], Characters()), 1.5) == pytest.approx(0.6)
