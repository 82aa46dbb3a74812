"""Every reported number is an `Estimate`: means, rates, paired differences and clustered bootstraps.

Intervals are two-sided at `level`. Attempts at the same problem are not independent, so whatever is measured on
several attempts a problem is resampled by problem: sums per cluster are formed once, and a resample only weighs them.
NaN spreads (a mean with an undefined part is undefined); nothing to average is a ValueError, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.protocols import Rng
from stepcredit.core.types import Estimate, Floats

NAN = float("nan")


def _vector(values: ArrayLike, what: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{what}: expected a non-empty [n], got {list(array.shape)}")
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; allowed: between 0 and 1")


def t_quantile(level: float, dof: int) -> float:
    """Quantile t with P(|T| < t) = level for `dof` degrees of freedom.

    Bisection on theta = atan(t / sqrt(dof)) in the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4; beyond 200
    degrees of freedom the normal quantile with its first correction, good to 1e-4.

    >>> round(t_quantile(0.95, 4), 3)
    2.776
    """
    _check_level(level)
    if dof < 1:
        raise ValueError(f"degrees of freedom are {dof}; allowed: at least 1")
    if dof > 200:
        z = NormalDist().inv_cdf((1 + level) / 2)
        return z + (z**3 + z) / (4 * dof)
    odd = dof % 2
    num_terms = (dof - 1) // 2 if odd else dof // 2
    index = np.arange(1, num_terms)
    ratio = 2 * index / (2 * index + 1) if odd else (2 * index - 1) / (2 * index)
    weight = np.concatenate([[1.0], np.cumprod(ratio)])[:num_terms]

    def inside(theta: float) -> float:
        sum_ = float(weight @ math.cos(theta) ** (2 * np.arange(num_terms) + odd))
        return 2 / math.pi * (theta + math.sin(theta) * sum_) if odd else math.sin(theta) * sum_

    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < level else (low, middle)
    return math.sqrt(dof) * math.tan((low + high) / 2)


def mean(values: ArrayLike, unit: str, *, level: float = 0.95) -> Estimate:
    """Mean of independent values with its t-interval: mean +- t s / sqrt(n).

    Degenerate: one value has no interval (NaN); none is a ValueError; a NaN value makes the mean NaN.

    >>> mean([1.0, 2.0, 3.0], "points").value
    2.0
    """
    array = _vector(values, "values")
    value, n = float(array.mean()), array.size
    if n == 1 or not math.isfinite(value):
        return Estimate(value, NAN, NAN, n, unit)
    half = t_quantile(level, n - 1) * float(array.std(ddof=1)) / math.sqrt(n)
    return Estimate(value, value - half, value + half, n, unit)


def over_seeds(values: Sequence[float | Estimate], unit: str | None = None, *, level: float = 0.95) -> Estimate:
    """Mean over seeds with its t-interval; of Estimates only the values are used, n is the number of seeds.

    The unit is the Estimates' own unless given. Degenerate cases as in `mean`. Raises ValueError where Estimates of
    different units are mixed and no unit is given.

    >>> over_seeds([Estimate(0.4, 0, 1, 9, "F1"), Estimate(0.6, 0, 1, 9, "F1")]).unit
    'F1'
    """
    units = {value.unit for value in values if isinstance(value, Estimate)}
    if unit is None and len(units) > 1:
        raise ValueError(f"estimates in different units: {', '.join(sorted(units))}")
    plain = [value.value if isinstance(value, Estimate) else float(value) for value in values]
    return mean(plain, unit if unit is not None else (next(iter(units)) if units else "mean over seeds"), level=level)


def rate(successes: int, n: int, unit: str, *, level: float = 0.95) -> Estimate:
    """Share of successes among independent trials with Wilson's interval (JASA 1927).

        (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Never empty, never outside [0, 1]. Raises ValueError for n = 0 or successes outside 0..n. For trials that share
    problems use `clustered_bootstrap`.

    >>> round(rate(0, 10, "share").high, 3)
    0.278
    """
    _check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"a rate needs n >= 1 and 0 <= successes <= n; got {successes} of {n}")
    z, share = NormalDist().inv_cdf((1 + level) / 2), successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and n successes the bound is exactly 0 and 1; rounding must not put it beside the value.
    low = 0.0 if successes == 0 else centre - half
    return Estimate(share, low, 1.0 if successes == n else centre + half, n, unit)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    unit: str,
    clusters: Sequence[Hashable] | None = None,
    *,
    rng: Rng | None = None,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """Mean of a - b over pairs: t-interval where pairs are independent, bootstrap over `clusters` where they are not.

    Raises ValueError for unequal lengths, and for clusters without `rng`.

    >>> paired_difference([0.9, 0.8], [0.7, 0.7], "accuracy").n
    2
    """
    first, second = _vector(a, "a"), _vector(b, "b")
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal lengths, got {first.size} and {second.size}")
    if clusters is None:
        return mean(first - second, unit, level=level)
    if rng is None:
        raise ValueError("a paired difference over clusters is bootstrapped: it needs rng")
    sums_CK = cluster_sums(clusters, np.stack([first - second, np.ones_like(first)], axis=1))
    return clustered_bootstrap(
        lambda total: ratio(total[..., 0], total[..., 1]), sums_CK, unit,
        rng=rng, n=first.size, num_resamples=num_resamples, level=level,
    )  # fmt: skip


def ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    """Quotient above / below, NaN where below is 0: an average over nothing is not 0."""
    top, bottom = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0))


def cluster_sums(clusters: Sequence[Hashable], values_UK: ArrayLike) -> Floats:
    """Sums over the units of each cluster, [C, K], clusters in order of first appearance.

    >>> cluster_sums(["p", "q", "p"], [[1.0], [2.0], [4.0]]).tolist()
    [[5.0], [2.0]]
    """
    values = np.asarray(values_UK, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(clusters):
        raise ValueError(f"values: expected [{len(clusters)}, K], got {list(values.shape)}")
    index_of: dict[Hashable, int] = {}
    index_U = np.array([index_of.setdefault(cluster, len(index_of)) for cluster in clusters], dtype=np.int64)
    sums_CK = np.zeros((len(index_of), values.shape[1]))
    np.add.at(sums_CK, index_U, values)
    return sums_CK


def clustered_bootstrap(
    statistic: Callable[[Floats], Floats],
    sums_CK: ArrayLike,
    unit: str,
    *,
    rng: Rng,
    n: int | None = None,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """Percentile bootstrap of a statistic of sums, resampling whole clusters (Efron 1979; Cameron et al. 2008).

        value = statistic(sum_c sums_c);   replicate = statistic(sum_c m_c sums_c),   m ~ Multinomial(C, 1/C)

    `statistic` maps totals [..., K] to [...]; `n` is the number of units behind the sums, C unless given. A replicate
    where the statistic is NaN is left out. Degenerate: one cluster, or an undefined value, has no interval (NaN); zero
    clusters is a ValueError, as are sums that are not finite.

    >>> both = clustered_bootstrap(lambda t: t[..., 0] / t[..., 1], [[1, 2], [1, 2]], "rate", rng=np.random.default_rng(0))
    >>> both.value, both.low, both.high
    (0.5, 0.5, 0.5)
    """
    _check_level(level)
    sums = np.asarray(sums_CK, dtype=np.float64)
    if sums.ndim != 2 or len(sums) == 0:
        raise ValueError(f"sums: expected [C, K] with at least one cluster, got {list(sums.shape)}")
    if not np.isfinite(sums).all():
        raise ValueError("sums per cluster must be finite: leave unscored units out and count them")
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; allowed: at least 1")
    num = len(sums)
    value = float(np.asarray(statistic(sums.sum(axis=0))))
    count = num if n is None else n
    if num == 1 or not math.isfinite(value):
        return Estimate(value, NAN, NAN, count, unit)
    found = []
    chunk = max(1, 2_000_000 // num)
    for start in range(0, num_resamples, chunk):
        rows = min(chunk, num_resamples - start)
        drawn = rng.integers(num, size=(rows, num)) + num * np.arange(rows)[:, None]
        weight_RC = np.bincount(drawn.ravel(), minlength=rows * num).reshape(rows, num).astype(np.float64)
        found.append(np.asarray(statistic(weight_RC @ sums), dtype=np.float64))
    replicate_R = np.concatenate(found)
    replicate_R = replicate_R[np.isfinite(replicate_R)]
    if replicate_R.size == 0:
        return Estimate(value, NAN, NAN, count, unit)
    low, high = np.quantile(replicate_R, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), count, unit)


def clustered_mean(
    value_C: ArrayLike, unit: str, *, rng: Rng, num_resamples: int = 1000, level: float = 0.95
) -> Estimate:
    """Mean over clusters of one number each, [C], with the interval of `clustered_bootstrap`; n is the clusters.

    Degenerate: one cluster has no interval (NaN); none, or a number that is not finite, is a ValueError.

    >>> clustered_mean([0.5, 0.5], "accuracy", rng=np.random.default_rng(0)).low
    0.5
    """
    array = _vector(value_C, "values")
    return clustered_bootstrap(
        lambda total: ratio(total[..., 0], total[..., 1]), np.stack([array, np.ones_like(array)], axis=1), unit,
        rng=rng, num_resamples=num_resamples, level=level,
    )  # fmt: skip


def clustered_rate(
    hits: Sequence[bool], clusters: Sequence[Hashable], unit: str, *, rng: Rng, num_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:  # fmt: skip
    """Share of hits among trials that share clusters, with the interval of `clustered_bootstrap`; n is the trials.

    Degenerate: where all hits are alike, no resample differs; the interval is then Wilson's with the clusters as trials,
    as if all trials of a cluster were one. One cluster with hits of both kinds has no interval (NaN).

    >>> few = clustered_rate([True] * 30, ["p", "q"] * 15, "share", rng=np.random.default_rng(0))
    >>> few.n, few.low == rate(2, 2, "share").low
    (30, True)
    """
    hit = _vector(hits, "hits")
    sums_CK = cluster_sums(clusters, np.stack([hit, np.ones_like(hit)], axis=1))
    num, share = len(sums_CK), float(hit.mean())
    if share in (0.0, 1.0):
        return replace(rate(num if share else 0, num, unit, level=level), n=hit.size)
    return clustered_bootstrap(
        lambda total: ratio(total[..., 0], total[..., 1]), sums_CK, unit,
        rng=rng, n=hit.size, num_resamples=num_resamples, level=level,
    )  # fmt: skip
