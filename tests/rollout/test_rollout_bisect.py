"""bisect: finds first errors in log2 S states, searches every rollout at most once, and goes on where it was stopped."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rollout_worlds import Chances, tree_of, verify

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.types import Outcome
from stepcredit.credit.monte_carlo import counts, monte_carlo
from stepcredit.rollout.bisect import _next, _pool, _scores, _values, bisect


def first_error(tree, leaf):
    """The step behind the last whose restarts succeeded at all."""
    value_N = monte_carlo(tree, soft=False).values_N
    return max((place + 1 for place, node in enumerate(tree.path(leaf)[:-1]) if value_N[node] == 1), default=0)


def test_every_first_error_is_found_with_at_most_log2_of_the_steps_asked():
    for error in range(8):
        policy, tree = Chances(8), tree_of([error])
        (grown,) = bisect([tree], policy=policy, verify=verify, rng=rng(0), num=2)
        assert first_error(grown, 8) == error
        assert len(policy.asked) <= math.ceil(math.log2(8))
        # Two restarts a state, each as long as what is left; costs are measured, one a step.
        assert grown.cost.verifier_calls == 2 * len(policy.asked)
        assert grown.cost.generated_tokens == sum(2 * (8 - (prefix.count("\n") - 1)) for prefix in policy.asked)


def test_the_states_asked_for_are_the_middles_by_hand():
    # Steps 0..7, first error 5: states behind steps 0..6; the middle of seven is step 3 (sound), of 4..6 step 5 (broken),
    # of 4 step 4 (sound): the first error is step 5.
    policy = Chances(8)
    bisect([tree_of([5])], policy=policy, verify=verify, rng=rng(0), num=1, num_searches=1)
    assert [prefix.count("\n") - 2 for prefix in policy.asked] == [3, 5, 4]


def test_a_chance_of_failing_is_a_power_of_k():
    """A sound state looks broken when all k rollouts fail: (1 - V)^k, here .5^3 = 1/8 of 200 searches of one question."""
    trees = [tree_of([1], num_steps=2, name=str(n)) for n in range(200)]
    grown = bisect(trees, policy=Chances(2, sound=0.5), verify=verify, rng=rng(0), num=3, num_searches=1)
    missed = np.mean([first_error(tree, 2) == 0 for tree in grown])
    assert abs(missed - 1 / 8) < 4 * math.sqrt(1 / 8 * 7 / 8 / 200)


def test_a_selected_rollout_leaves_the_pool_for_good_and_the_search_ends():
    """A released implementation re-selects one rollout for ever: 10,000 searches must end by themselves."""
    policy = Chances(6, sound=0.6)
    (grown,) = bisect(
        [tree_of([2, 4], num_steps=6)], policy=policy, verify=verify, rng=rng(1), num=4, num_searches=10_000
    )
    reward_N = grown.reward_N
    num_wrong = sum(reward_N[leaf] == 0 for leaf in grown.leaves)
    assert grown.visits_N is not None and 2 < grown.visits_N.sum() <= num_wrong < 10_000
    # Nothing is left to ask of any rollout of the pool, and no state was asked for twice.
    values = _values(grown)
    assert all(_next(grown, values, one) is None for one in _pool(grown, values, [6, 12]))
    assert set(counts(grown)[1][1:6].tolist()) == {0, 4}


def test_visits_count_selections():
    (grown,) = bisect([tree_of([2, 4])], policy=Chances(8), verify=verify, rng=rng(0), num=1)
    # Sure chances leave no state between 0 and 1 but the prompt, and its two wrong attempts are searched.
    assert grown.visits_N is not None and grown.visits_N[0] == 2 and grown.visits_N.sum() == 2


def test_selection_takes_the_largest_q_plus_u_by_hand():
    tree = replace(tree_of([2, 4], num_steps=8, num_right=2), visits_N=np.eye(33, dtype=np.int64)[0] * 4)
    # MC(prompt) = 2/4: Q = .5^.5 * .9^(8/500); U = .125 * sqrt(4) / (1 + 4).
    expected = 0.5**0.5 * 0.9 ** (8 / 500) + 0.125 * 2 / 5
    values = _values(tree)
    assert _pool(tree, values, [8, 16]) == [(0, 8), (0, 16)]
    assert _scores(tree, values, [(0, 8), (0, 16)], (0.5, 0.9, 500.0, 0.125)) == pytest.approx([expected] * 2)
    # A shorter length scale does not part equal lengths; ties go to the earliest leaf.
    policy = Chances(8)
    bisect([tree_of([2, 4])], policy=policy, verify=verify, rng=rng(0), num=1, num_searches=1)
    assert policy.asked[0] == "q\nstep\nstep\nbad\nbad\n"  # of the attempt that breaks at step 2


def test_a_wrong_rollout_of_a_surer_state_and_a_shorter_one_come_first():
    (grown,) = bisect([tree_of([3], num_steps=6)], policy=Chances(6, sound=0.5), verify=verify, rng=rng(5), num=6,
                      num_searches=1)  # fmt: skip
    values = _values(grown)
    pool = _pool(grown, values, [6])
    scores = dict(zip(pool, _scores(grown, values, pool, (0.5, 0.9, 2.0, 0.0)), strict=True))
    value_N = monte_carlo(grown).values_N
    assert len({state for state, _ in pool}) > 1
    for (state, leaf), score in scores.items():
        value = 1 / 2 if state == 0 else value_N[state]
        length = len(grown.path(leaf)) - len(grown.path(state))
        assert score == pytest.approx(0.5 ** (1 - value) * 0.9 ** (length / 2))


def test_questions_that_nobody_or_everybody_answers_come_back_as_they_were():
    for tree in (tree_of([2], num_right=0), tree_of([], num_right=2)):
        policy = Chances(8)
        (grown,) = bisect([tree], policy=policy, verify=verify, rng=rng(0))
        assert policy.asked == [] and grown.num_nodes == tree.num_nodes


def test_a_state_whose_rollouts_are_unscored_ends_its_search():
    def unscored(problem, solutions):
        return [Outcome(status="timeout", verifier="test") for _ in solutions]

    policy = Chances(8)
    (grown,) = bisect([tree_of([2])], policy=policy, verify=unscored, rng=rng(0), num=2)
    assert len(policy.asked) == 1 and grown.cost.verifier_calls == 2


def test_a_tree_that_was_searched_before_is_searched_on_and_nothing_is_asked_twice():
    knobs = {"verify": verify, "num": 2}
    (whole,) = bisect([tree_of([2, 5])], policy=Chances(8), rng=rng(0), num_searches=2, **knobs)
    (once,) = bisect([tree_of([2, 5])], policy=Chances(8), rng=rng(0), num_searches=1, **knobs)
    first = Chances(8, fail_after=0)
    assert bisect([once], policy=first, rng=rng(0), num_searches=1, **knobs)[0].num_nodes == once.num_nodes
    # Sure chances: the second search asks what it would have asked at once, and visits are counted together.
    (grown,) = bisect([once], policy=Chances(8), rng=rng(0), num_searches=2, **knobs)
    assert grown.steps == whole.steps and np.array_equal(grown.visits_N, whole.visits_N)
    assert grown.visits_N.sum() == 2 and grown.cost.verifier_calls == whole.cost.verifier_calls


def test_an_undecided_search_is_not_gone_on_with():
    def unscored(problem, solutions):
        return [Outcome(status="timeout", verifier="test") for _ in solutions]

    (once,) = bisect([tree_of([2])], policy=Chances(8), verify=unscored, rng=rng(0), num=2)
    policy = Chances(8)
    (twice,) = bisect([once], policy=policy, verify=unscored, rng=rng(0), num=2)
    assert policy.asked == [] and twice.num_nodes == once.num_nodes


def test_rollouts_hang_where_monte_carlo_reads_them():
    tree = tree_of([5])
    (grown,) = bisect([tree], policy=Chances(8), verify=verify, rng=rng(0), num=3, num_searches=1)
    success_N, rollouts_N = counts(grown)
    assert rollouts_N[1:8].tolist() == [0, 0, 0, 3, 3, 3, 0] and success_N[1:8].tolist() == [0, 0, 0, 3, 3, 0, 0]
    assert np.array_equal(grown.parent_N[: tree.num_nodes], tree.parent_N)


def test_same_seed_same_tree_and_many_trees_share_a_call():
    grow = registry.get("rollout", "bisect").function
    trees = [tree_of([2], name="a"), tree_of([6], name="b")]
    policy = Chances(8, sound=0.7)
    knobs = {"verify": verify, "num": 2, "num_searches": 3}
    one = grow(trees, policy=policy, rng=rng(3), **knobs)
    two = grow(trees, policy=Chances(8, sound=0.7), rng=rng(3), **knobs)
    assert all(a.steps == b.steps and np.array_equal(a.parent_N, b.parent_N) for a, b in zip(one, two, strict=True))
    assert policy.num_calls < len(policy.asked)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="num 0"):
        bisect([tree_of([2])], policy=Chances(), verify=verify, rng=rng(0), num=0)
    with pytest.raises(ValueError, match="node 16 ends no wrong attempt; allowed: 8"):
        bisect([tree_of([2])], policy=Chances(), verify=verify, rng=rng(0), leaves=[[16]])
    with pytest.raises(ValueError, match="1 trees need as many lists of leaves, got 2"):
        bisect([tree_of([2])], policy=Chances(), verify=verify, rng=rng(0), leaves=[[8], [8]])
