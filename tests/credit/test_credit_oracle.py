"""oracle: recorded truth as labels, so far or step by step."""

import numpy as np
import pytest

from stepcredit import Credit, Problem, Step
from stepcredit.core.tree import first_error, prefix_labels, star
from stepcredit.credit.oracle import oracle

NAN = np.nan


def truth_of(*label_S):
    tree = star(Problem("p", "?"), [[Step("s")] * len(label_S)])
    values = np.array([NAN, *label_S])
    return tree, Credit(values, "label", (~np.isnan(values)).astype(float), "truth")


def test_labels_say_no_error_so_far():
    for label_S in ([1, 1, 1], [1, 0, 1], [1, NAN, 1], [1, NAN, 0, NAN], [0, NAN, NAN]):
        tree, truth = truth_of(*label_S)
        got = oracle(tree, truth=truth).values_N[1:]
        expected = prefix_labels(np.array(label_S, dtype=float))
        assert np.array_equal(got, expected, equal_nan=True)
        assert first_error(got) == first_error(expected)


def test_or_each_steps_own_label():
    tree, truth = truth_of(1, 0, 1, NAN)
    assert np.array_equal(oracle(tree, truth=truth, so_far=False).values_N, [NAN, 1, 0, 1, NAN], equal_nan=True)


def test_the_state_passes_through_tool_results():
    tree = star(Problem("p", "?"), [[Step("a"), Step("r", kind="tool_result", sampled=False), Step("b")]])
    truth = Credit([NAN, 1, NAN, 1], "label", [0, 1, 0, 1], "truth")
    assert np.array_equal(oracle(tree, truth=truth).values_N, [NAN, 1, NAN, 1], equal_nan=True)


def test_only_labels_are_truth():
    tree, _ = truth_of(1)
    with pytest.raises(ValueError, match="expected a label"):
        oracle(tree, truth=Credit([NAN, 1], "value", [0, 1], "judge"))
