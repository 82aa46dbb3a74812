"""Transforms: Credit in, Credit out, unassigned stays unassigned."""

import numpy as np
import pytest

from stepcredit import Credit, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit import _transforms as transforms

PROBLEM = Problem("p", "?")
NAN = np.nan


def credit(values, kind):
    values = np.array(values, dtype=float)
    return Credit(values, kind, (~np.isnan(values)).astype(float), "given")


def test_mask_unassigns():
    got = transforms.mask(credit([NAN, 0.5, 0.2], "value"), np.array([True, True, False]))
    assert np.array_equal(got.values_N, [NAN, 0.5, NAN], equal_nan=True) and got.weight_N.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match=r"keep_N: expected \[1\], got \[2\]"):
        transforms.mask(credit([0.5], "value"), np.array([True, False]))


def test_threshold_labels_a_tie_wrong():
    got = transforms.threshold(credit([NAN, 0.5, 0.51], "value"))
    assert np.array_equal(got.values_N, [NAN, 0, 1], equal_nan=True) and got.kind == "label"
    with pytest.raises(ValueError, match="credit of given is a reward; this needs a value or a label"):
        transforms.threshold(credit([0.5], "reward"))


def test_normalise_is_weighted_and_knows_equality():
    """Weights 1, 3 on 4, 0: mean 1, variance (9 + 3) / 4 = 3."""
    given = Credit([NAN, 4.0, 0.0], "reward", [0, 1, 3], "given")
    got = transforms.normalise(given)
    assert np.allclose(got.values_N[1:], [3 / np.sqrt(3), -1 / np.sqrt(3)])
    assert np.array_equal(transforms.normalise(credit([NAN, 0.1, 0.1, 0.1], "reward")).values_N, [NAN, 0, 0, 0], True)


def test_advantages_of_values_telescope():
    attempt = [Step("a"), Step("r", kind="tool_result", sampled=False), Step("b"), Step("c")]
    tree = star(PROBLEM, [attempt])
    values = credit([NAN, 0.5, NAN, 0.8, 0.2], "value")
    got = transforms.value_to_advantage(tree, values, start=0.6)
    assert np.allclose(got.values_N, [NAN, -0.1, NAN, 0.3, -0.6], equal_nan=True) and got.kind == "advantage"
    assert np.isclose(np.nansum(got.values_N), 0.2 - 0.6)
    unknown = transforms.value_to_advantage(tree, values)
    assert np.allclose(unknown.values_N, [NAN, NAN, NAN, 0.3, -0.6], equal_nan=True)


def test_rewards_to_go_average_over_branches():
    """gamma 1/2: leaves 1 and 0; node 1 earns .2 + .5 * (1 + 0) / 2 = .45; node 4 is unknown."""
    steps = (prompt_step(PROBLEM), *(Step(str(n)) for n in range(4)))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1, 0], (None,) * 5)
    got = transforms.discount(tree, credit([NAN, 0.2, 1, 0, NAN], "reward"), 0.5)
    assert np.allclose(got.values_N, [NAN, 0.45, 1, 0, NAN], equal_nan=True)
    with pytest.raises(ValueError, match=r"gamma is 1\.5; allowed: 0 to 1"):
        transforms.discount(tree, credit([0.0] * 5, "reward"), 1.5)


def test_a_step_that_earns_nothing_still_leads_somewhere():
    tree = star(PROBLEM, [[Step("a"), Step("r", kind="tool_result", sampled=False), Step("b")]])
    got = transforms.discount(tree, credit([NAN, NAN, NAN, 1.0], "reward"), 0.5)
    assert np.allclose(got.values_N, [NAN, 0.5, NAN, 1], equal_nan=True)
