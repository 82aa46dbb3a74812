import math
import time

import numpy as np
import pytest
from scipy import stats as reference

from stepcredit.core.stats import (
    cluster_sums,
    clustered_bootstrap,
    clustered_rate,
    mean,
    over_seeds,
    paired_difference,
    rate,
    ratio,
    t_quantile,
)
from stepcredit.core.types import Estimate


def share(total):
    return ratio(total[..., 0], total[..., 1])


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_t_quantiles_agree_with_scipy(level):
    for dof in [*range(1, 31), 100, 199, 200, 201, 1000]:
        exact = reference.t.ppf((1 + level) / 2, dof)
        assert t_quantile(level, dof) == pytest.approx(exact, rel=1e-9 if dof <= 200 else 1e-4)


def test_a_mean_has_its_t_interval():
    # mean 2, s = 1, t(0.95, 2) = 4.3027: 2 +- 4.3027 / sqrt(3) = 2 +- 2.4842
    found = mean([1.0, 2.0, 3.0], "points")
    assert (found.value, found.n, found.unit) == (2.0, 3, "points")
    assert (found.low, found.high) == (pytest.approx(2 - 2.4842, abs=1e-4), pytest.approx(2 + 2.4842, abs=1e-4))


def test_one_value_has_no_interval_and_none_is_refused():
    found = mean([0.7], "accuracy")
    assert found.value == 0.7 and math.isnan(found.low) and math.isnan(found.high)
    with pytest.raises(ValueError, match="non-empty"):
        mean([], "accuracy")
    with pytest.raises(ValueError, match="non-empty"):
        over_seeds([])


def test_an_undefined_value_makes_the_mean_undefined_and_not_smaller():
    assert math.isnan(over_seeds([0.5, math.nan, 0.7]).value)


def test_over_seeds_averages_the_values_of_estimates():
    arms = [Estimate(v, 0, 1, 100, "F1") for v in (0.4, 0.5, 0.6)]
    assert over_seeds(arms) == mean([0.4, 0.5, 0.6], "F1")
    with pytest.raises(ValueError, match="different units: AUROC, F1"):
        over_seeds([arms[0], Estimate(0.5, 0, 1, 9, "AUROC")])


def test_wilson_agrees_with_scipy_and_is_exact_at_the_ends():
    for successes, n in [(0, 10), (3, 10), (10, 10), (57, 100)]:
        found = rate(successes, n, "share")
        exact = reference.binomtest(successes, n).proportion_ci(method="wilson")
        assert (found.low, found.high) == (pytest.approx(exact.low, abs=1e-12), pytest.approx(exact.high, abs=1e-12))
    assert rate(0, 3, "share").low == 0.0 and rate(3, 3, "share").high == 1.0
    with pytest.raises(ValueError, match="got 0 of 0"):
        rate(0, 0, "share")


def test_paired_differences_ignore_what_pairs_share():
    # Differences are 0.1 everywhere: the interval has no width, however much a and b vary.
    found = paired_difference([0.5, 0.7, 0.9], [0.4, 0.6, 0.8], "accuracy")
    assert found.value == pytest.approx(0.1) and found.high - found.low < 1e-9


def test_paired_differences_over_clusters_resample_whole_clusters():
    a, b = np.array([1, 1, 1, 0, 0, 0.0]), np.zeros(6)
    found = paired_difference(a, b, "accuracy", list("pppqqq"), rng=np.random.default_rng(0))
    # Two clusters with means 1 and 0: a resample is pp, pq, qp or qq, so the 95 % interval is all of [0, 1].
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.0, 1.0, 6)
    with pytest.raises(ValueError, match="needs rng"):
        paired_difference(a, b, "accuracy", list("pppqqq"))
    with pytest.raises(ValueError, match="equal lengths"):
        paired_difference(a, b[:2], "accuracy")


def test_cluster_sums_keep_the_order_of_first_appearance():
    assert cluster_sums(["b", "a", "b"], [[1, 1], [2, 1], [3, 1]]).tolist() == [[4, 2], [2, 1]]
    with pytest.raises(ValueError, match=r"expected \[2, K\]"):
        cluster_sums(["a", "b"], [[1.0]])


def test_the_bootstrap_of_a_mean_has_the_width_theory_gives():
    rng = np.random.default_rng(3)
    values = rng.normal(size=400)
    found = clustered_bootstrap(share, np.stack([values, np.ones(400)], 1), "points", rng=rng, num_resamples=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)


def test_attempts_at_the_same_problem_do_not_count_as_independent():
    # 20 copies of each of 30 problems: clustering keeps the interval of 30 units, not of 600.
    rng = np.random.default_rng(5)
    base = rng.random(30) < 0.5
    rows = np.stack([np.repeat(base, 20), np.ones(600)], 1)
    clustered = clustered_bootstrap(share, cluster_sums(np.repeat(np.arange(30), 20).tolist(), rows), "share", rng=rng)
    naive = clustered_bootstrap(share, rows, "share", rng=rng)
    assert (clustered.high - clustered.low) > 3 * (naive.high - naive.low)  # sqrt(20) = 4.5 in theory


def test_degenerate_bootstraps():
    rng = np.random.default_rng(0)
    one = clustered_bootstrap(share, [[1, 2]], "share", rng=rng)
    assert one.value == 0.5 and math.isnan(one.low)
    undefined = clustered_bootstrap(share, [[0, 0], [0, 0]], "share", rng=rng)
    assert math.isnan(undefined.value) and math.isnan(undefined.high)
    with pytest.raises(ValueError, match="at least one cluster"):
        clustered_bootstrap(share, np.empty((0, 2)), "share", rng=rng)
    with pytest.raises(ValueError, match="finite"):
        clustered_bootstrap(share, [[math.nan, 1], [1, 1]], "share", rng=rng)


def test_a_rate_over_clusters_is_a_share_of_trials_and_never_without_width_for_want_of_variation():
    rng = np.random.default_rng(0)
    mixed = clustered_rate([True, True, True, False], ["p", "p", "p", "q"], "share", rng=rng)
    # resamples are p twice (1), q twice (0) or both (3 / 4): the quantiles are the ends
    assert (mixed.value, mixed.n, mixed.low, mixed.high) == (0.75, 4, 0.0, 1.0)
    for hit in (True, False):
        alike = clustered_rate([hit] * 40, ["p", "q"] * 20, "share", rng=rng)
        two = rate(2 * hit, 2, "share")  # not 40 trials, which would have an interval of .09
        assert (alike.value, alike.n, alike.low, alike.high) == (float(hit), 40, two.low, two.high)
    single = clustered_rate([True, False], ["p", "p"], "share", rng=rng)
    assert single.value == 0.5 and math.isnan(single.low) and math.isnan(single.high)
    with pytest.raises(ValueError, match="non-empty"):
        clustered_rate([], [], "share", rng=rng)


def test_undefined_replicates_are_left_out():
    # Only one of three clusters has a denominator: a resample without it is undefined, with it always 1/2.
    found = clustered_bootstrap(share, [[1, 2], [0, 0], [0, 0]], "share", rng=np.random.default_rng(0))
    assert (found.low, found.high) == (0.5, 0.5)


def test_same_seed_same_bytes_and_chunks_do_not_show():
    sums = np.random.default_rng(1).random((3000, 2))
    first, second = (clustered_bootstrap(share, sums, "x", rng=np.random.default_rng(7)) for _ in range(2))
    assert first == second


def test_a_thousand_resamples_of_300_problems_take_well_under_a_second():
    sums = np.random.default_rng(1).random((300, 3))
    started = time.perf_counter()
    clustered_bootstrap(share, sums, "x", rng=np.random.default_rng(7), num_resamples=1000)
    assert time.perf_counter() - started < 1.0  # about 10 ms on one free core
