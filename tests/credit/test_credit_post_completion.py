"""Consistency rewards and their truth table; advantages that stay on their own side of the marker."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step
from stepcredit.core.tree import star
from stepcredit.credit.group_mean import group_mean
from stepcredit.credit.post_completion import consistency, post_completion


def attempt(*said):
    return [Step("2+3=5"), Step("<eoc>"), *(Step(line, kind="evaluation") for line in said)]


def group(*attempts):
    """(right, what is said behind) each; every attempt is well formed."""
    return star(Problem("p", "2+3"), [attempt(*said) for _, said in attempts],
                [Outcome(float(right), bool(right), True) for right, _ in attempts])  # fmt: skip


@pytest.mark.parametrize(
    ("said", "true", "released", "brier"),
    [
        # True of a wrong, well formed answer: 0 / 0 makes the released reward 0.
        ((0, 1), (0, 1), 0.0, 1.0),
        # The false claim of success: 1 - (1/1 + 0/1) / 2 in the release; 1 - (1 + 0) / 2 by Brier, half of the truth's.
        ((1, 1), (0, 1), 0.5, 0.5),
        ((1, 1), (1, 1), 1.0, 1.0),
        ((0, 1), (1, 1), 0.5, 0.5),
        ((0, 0), (0, 0), 0.0, 1.0),
        # Released: (1 - |0 - .5| / .5 + 1) / 2; Brier: 1 - .25 / 2.
        ((0.5, 1), (0, 1), 0.5, 0.875),
        ((0.5, 1), (1, 1), 0.75, 0.875),
    ],
)
def test_the_released_reward_pays_the_false_claim_and_not_the_truth(said, true, released, brier):
    assert consistency(said, true, "released") == pytest.approx(released)
    assert consistency(said, true, "brier") == pytest.approx(brier)


@pytest.mark.parametrize("reward", ["brier", "log"])
@pytest.mark.parametrize("chance", [0.1, 0.3, 0.5, 0.8])
def test_a_proper_reward_is_best_at_the_true_chance(reward, chance):
    grid = np.linspace(0, 1, 101)
    expected = [chance * consistency((p,), (1,), reward) + (1 - chance) * consistency((p,), (0,), reward) for p in grid]
    assert grid[int(np.argmax(expected))] == pytest.approx(chance)


@pytest.mark.parametrize("chance", [0.1, 0.3, 0.5, 0.8])
def test_the_released_reward_is_best_at_claiming_success(chance):
    grid = np.linspace(0, 1, 101)
    expected = [
        chance * consistency((p,), (1,), "released") + (1 - chance) * consistency((p,), (0,), "released") for p in grid
    ]
    assert grid[int(np.argmax(expected))] == 1.0


def test_every_reward_lies_between_0_and_1():
    for reward in ("brier", "log", "released"):
        found = [consistency((p,), (y,), reward) for p in (0, 0.001, 0.5, 1) for y in (0, 0.5, 1)]
        assert min(found) >= 0 and max(found) <= 1


def test_each_side_of_the_marker_carries_its_own_rewards():
    tree = group((1, ("1", "1 1")), (1, ("0", "0 1")), (0, ("1", "1 1")), (0, ("0", "0 1")))
    # Accuracy + format: 2, 2, 1, 1, mean 1.5. Consistency: 1, .5, .5, 1, mean .75.
    found = post_completion(tree, normalize="none").values_N[1:].reshape(4, 4)
    assert found[:, 0].tolist() == found[:, 1].tolist() == [0.5, 0.5, -0.5, -0.5]
    assert found[:, 2].tolist() == found[:, 3].tolist() == [0.25, -0.25, -0.25, 0.25]


def test_what_is_said_does_not_touch_reasoning_when_split():
    rights = (1, 0, 1, 0)
    one = group(*[(right, ("1", "1 1")) for right in rights])
    other = group(
        *[
            (right, said)
            for right, said in zip(rights, [("0", "0 1"), ("nonsense",), ("1", "1 1"), ("1", "0 0")], strict=True)
        ]
    )
    for knobs in ({}, {"normalize": "none"}, {"reward": "log"}, {"reward": "released"}):
        a, b = (post_completion(tree, **knobs) for tree in (one, other))
        reason = [
            [c.values_N[n] for n, s in enumerate(t.steps) if s.kind == "reason"] for c, t in ((a, one), (b, other))
        ]
        assert reason[0] == reason[1]


def test_all_tokens_share_the_sum_of_rewards_when_it_is_not_split():
    tree = group((1, ("1", "1 1")), (1, ("0", "0 1")), (0, ("1", "1 1")), (0, ("0", "0 1")))
    # Sums 3, 2.5, 1.5, 2, mean 2.25.
    found = post_completion(tree, split=False, normalize="none").values_N[1:].reshape(4, 4)
    assert np.array_equal(found, np.repeat([[0.75], [0.25], [-0.75], [-0.25]], 4, axis=1))
    without = post_completion(tree, split=False, consistency_weight=0.0, normalize="none").values_N[1:].reshape(4, 4)
    assert np.array_equal(without, np.repeat([[0.5], [0.5], [-0.5], [-0.5]], 4, axis=1))


def test_an_evaluation_that_cannot_be_read_is_the_worst_one():
    found = post_completion(group((1, ("what", "1 1")), (1, ("1", "0 1"))), normalize="none").values_N[1:].reshape(2, 4)
    assert found[:, 3].tolist() == [-0.25, 0.25]  # 0 and .5


def test_without_evaluations_it_is_the_group_mean_of_accuracy_and_format():
    steps = [[Step("a")], [Step("b"), Step("c")], [Step("d")]]
    tree = star(
        Problem("p", "?"), steps, [Outcome(1.0, True, True), Outcome(0.0, False, True), Outcome(1.0, True, False)]
    )
    same = star(Problem("p", "?"), steps, [Outcome(2.0), Outcome(1.0), Outcome(1.0)])
    for normalize in ("std", "none"):
        assert np.array_equal(post_completion(tree, normalize=normalize).values_N, group_mean(same, normalize=normalize).values_N,
                              equal_nan=True)  # fmt: skip
    plain = post_completion(tree, normalize="none", format_weight=0.0)
    assert np.array_equal(plain.values_N, group_mean(tree, normalize="none").values_N, equal_nan=True)


def test_attempts_without_an_evaluation_do_not_move_the_others_baseline():
    said = [attempt("1", "1 1"), attempt("0", "0 1")]
    outcomes = [Outcome(1.0, True, True)] * 2
    two = post_completion(star(Problem("p", "?"), said, outcomes), normalize="none").values_N
    three = post_completion(
        star(Problem("p", "?"), [*said, [Step("x")]], [*outcomes, Outcome(1.0, True, True)]), normalize="none"
    )
    assert np.array_equal(three.values_N[: len(two)], two, equal_nan=True)


def test_wrong_knobs_are_named():
    with pytest.raises(ValueError, match=r"reward is 'quadratic'.*brier, log, released"):
        post_completion(group((1, ("1", "1"))), reward="quadratic")
    with pytest.raises(ValueError, match="2 numbers for 1"):
        consistency((1, 1), (1,))
    with pytest.raises(ValueError, match="rewards must lie in"):
        post_completion(star(Problem("p", "?"), [[Step("a")]], [Outcome(2.0)]))
