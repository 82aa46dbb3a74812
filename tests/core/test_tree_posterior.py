"""The chain on trees of shared prefixes, against enumeration of all joint states."""

from itertools import product

import numpy as np
import pytest

from stepcredit.core.chain import posterior, tree_posterior
from stepcredit.core.rng import rng


def enumerated(parent, right, wrong, keep, fix, start, fp, fn):
    """Sum over every assignment of ok (1) / broken (0) to every node."""
    num = len(parent)
    total, was_ok, kept, fixed = 0.0, np.zeros(num), np.zeros(num), np.zeros(num)
    for state in product((1, 0), repeat=num):
        p = 1.0
        for node in range(num):
            if parent[node] < 0:
                p *= start if state[node] else 1 - start
            else:
                ok = keep[node] if state[parent[node]] else fix[node]
                p *= ok if state[node] else 1 - ok
            p_right = 1 - fn if state[node] else fp
            p *= p_right ** right[node] * (1 - p_right) ** wrong[node]
        total += p
        for node in range(num):
            if parent[node] >= 0:
                was_ok[node] += p * state[parent[node]]
                kept[node] += p * state[parent[node]] * state[node]
                fixed[node] += p * (1 - state[parent[node]]) * state[node]
    return np.log(total), was_ok / total, kept / total, fixed / total


@pytest.mark.parametrize(("start", "fp", "fn"), [(1.0, 0.1, 0.05), (1.0, 0.3, 0.0), (0.4, 0.2, 0.1)])
def test_messages_on_a_tree_equal_enumeration_of_all_states(start, fp, fn):
    parent = np.array([-1, 0, 1, 1, 0, 4, 4, 5])
    right, wrong = np.array([0, 0, 1, 0, 0, 0, 2, 1]), np.array([0, 0, 0, 2, 0, 1, 0, 0])
    generator = rng(3, "tree")
    keep, fix = generator.uniform(0.3, 0.95, 8), generator.uniform(0.02, 0.3, 8)
    expected = enumerated(parent, right, wrong, keep, fix, start, fp, fn)
    found = tree_posterior(parent, right, wrong, keep, fix, start=start, fp=fp, fn=fn)
    assert found.log_likelihood == pytest.approx(expected[0], abs=1e-9)
    for name, values in (("was_ok_N", expected[1]), ("kept_N", expected[2]), ("fixed_N", expected[3])):
        np.testing.assert_allclose(getattr(found, name)[1:], values[1:], atol=1e-9)
        assert np.isnan(getattr(found, name)[0])


def test_one_attempt_alone_is_the_chain_posterior():
    keep, fix = np.array([0.9, 0.6, 0.8]), np.array([0.1, 0.2, 0.05])
    alone = posterior(keep, fix, False, fp=0.1, fn=0.02)
    found = tree_posterior(
        np.array([-1, 0, 1, 2]), np.zeros(4), np.array([0, 0, 0, 1]), np.r_[1, keep], np.r_[0, fix], fp=0.1, fn=0.02
    )
    np.testing.assert_allclose(found.kept_N[1:], alone.kept_S, atol=1e-9)
    np.testing.assert_allclose(found.was_ok_N[1:], alone.was_ok_S, atol=1e-9)


def test_two_trees_in_one_forest_do_not_touch():
    parent, right, wrong = np.array([-1, 0, -1, 2]), np.array([0, 1, 0, 0]), np.array([0, 0, 0, 1])
    keep, fix = np.full(4, 0.7), np.full(4, 0.1)
    both = tree_posterior(parent, right, wrong, keep, fix, fp=0.1)
    first = tree_posterior(parent[:2], right[:2], wrong[:2], keep[:2], fix[:2], fp=0.1)
    second = tree_posterior(np.array([-1, 0]), right[2:], wrong[2:], keep[2:], fix[2:], fp=0.1)
    np.testing.assert_allclose(both.kept_N[[1, 3]], [first.kept_N[1], second.kept_N[1]])
    assert both.log_likelihood == pytest.approx(first.log_likelihood + second.log_likelihood)


def test_many_attempts_below_one_prefix_stay_finite():
    num = 5000
    parent = np.r_[-1, 0, np.full(num, 1)]
    found = tree_posterior(
        parent, np.zeros(num + 2), np.r_[0, 0, np.ones(num)], np.full(num + 2, 0.9), np.zeros(num + 2)
    )
    assert found.kept_N[1] == pytest.approx(0.0, abs=1e-9)  # all 5000 continuations fail: the shared step is to blame
    assert np.isfinite(found.log_likelihood)
