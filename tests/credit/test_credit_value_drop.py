"""value_drop: the first relative drop of a value, and what it cannot see."""

import numpy as np
import pytest

from stepcredit import Credit, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.value_drop import value_drop

PROBLEM = Problem("p", "?")
NAN = np.nan


def labels(*value_S, **knobs):
    """Labels of one attempt whose steps have these values."""
    tree = star(PROBLEM, [[Step("s")] * len(value_S)])
    return value_drop(tree, values=valued(NAN, *value_S), **knobs).values_N[1:].tolist()


def valued(*values):
    values = np.array(values, dtype=float)
    return Credit(values, "value", (~np.isnan(values)).astype(float), "judge")


def test_the_first_drop_by_more_than_half_and_all_after_it_are_wrong():
    """.8 -> .7: -.125; .7 -> .3: -.571; the recovery to .9 comes too late."""
    assert labels(0.8, 0.7, 0.3, 0.9) == [1, 1, 0, 0]
    credit = value_drop(star(PROBLEM, [[Step("a"), Step("b")]]), values=valued(NAN, 0.8, 0.3))
    assert credit.kind == "label" and credit.weight_N.tolist() == [0, 1, 1]


def test_a_drop_by_exactly_half_is_none():
    assert labels(0.5, 0.25) == [1, 1] and labels(0.5, 0.2499) == [1, 0]
    assert labels(0.5, 0.45, threshold=-0.05) == [1, 0]
    assert labels(0.5, 0.0, threshold=-1.0) == [1, 1]  # nothing falls by more than all of it


def test_the_test_is_relative():
    """.02 -> .009 is an error and .9 -> .46 is none, though it lost fifty times as much."""
    assert labels(0.02, 0.009) == [1, 0] and labels(0.9, 0.46) == [1, 1]


def test_a_decline_in_small_steps_is_never_an_error():
    """.9 -> .55 -> .3 -> .16: -.39, -.45, -.47, though .16 is left of .9."""
    assert labels(0.9, 0.55, 0.3, 0.16) == [1, 1, 1, 1]


def test_the_first_step_can_drop_only_from_a_given_start():
    assert labels(0.1, 0.09) == [1, 1]
    assert labels(0.1, 0.09, start=0.6) == [0, 0]
    assert labels(0.5, 0.45, start=0.6) == [1, 1]


def test_a_step_that_starts_at_nothing_is_an_error():
    """As in the released code: 0 -> .4 is no drop and cannot be divided by."""
    assert labels(0.0, 0.4) == [1, 0] and labels(2e-5, 1.9e-5) == [1, 1]
    assert labels(0.4, start=0.0) == [0]


def test_a_step_without_a_value_hands_on_the_last_one_known():
    found = labels(0.8, NAN, 0.3, NAN)
    assert np.array_equal(found, [1, NAN, 0, 0], equal_nan=True)
    assert np.array_equal(labels(0.8, NAN, 0.6), [1, NAN, 1], equal_nan=True)
    assert np.isnan(labels(NAN, NAN)).all()  # a judge that abstained


def test_tool_results_pass_the_value_through():
    attempt = [Step("a"), Step("r", kind="tool_result", sampled=False), Step("b")]
    credit = value_drop(star(PROBLEM, [attempt]), values=valued(NAN, 0.8, NAN, 0.1))
    assert np.array_equal(credit.values_N, [NAN, 1, NAN, 0], equal_nan=True)


def test_branches_are_told_apart():
    """Below 1 (.8): 2 (.7) is sound, 3 (.2) is not and takes 4 with it."""
    steps = (prompt_step(PROBLEM), *(Step(str(n)) for n in range(4)))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1, 3], (None,) * 5)
    assert value_drop(tree, values=valued(NAN, 0.8, 0.7, 0.2, 0.2)).values_N[1:].tolist() == [1, 1, 0, 0]


def test_values_of_a_known_process_find_its_first_error():
    """V is 1 - r after a sound step, q after a broken one: with q < (1 - r) / 2 the error is found at its very step."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        num, error = 6, int(rng.integers(1, 6))
        value_S = np.where(np.arange(num) < error, rng.uniform(0.8, 1.0, num), rng.uniform(0.1, 0.3, num))
        assert labels(*value_S) == [1] * error + [0] * (num - error)


def test_wrong_values_and_knobs_are_refused():
    tree = star(PROBLEM, [[Step("s")]])
    with pytest.raises(ValueError, match=r"expected a value \[2\], got a label \[2\]"):
        value_drop(tree, values=Credit([NAN, 1.0], "label", [0, 1], "truth"))
    with pytest.raises(ValueError, match=r"expected a value \[2\], got a value \[3\]"):
        value_drop(tree, values=valued(NAN, 0.5, 0.5))
    for threshold in (0.5, -1.5, NAN):
        with pytest.raises(ValueError, match=r"relative drop in \[-1, 0\]"):
            value_drop(tree, values=valued(NAN, 0.5), threshold=threshold)
    with pytest.raises(ValueError, match=r"start is a value in \[0, 1\]; got 2"):
        value_drop(tree, values=valued(NAN, 0.5), start=2)
