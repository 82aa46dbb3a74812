"""How much learning a step would change a policy's parameters, by an explicit update of low rank.

    g_n = P grad log pi(step_n | before it)        P: a fixed random projection to `dim` numbers (`policy.score_vector`)
    C_n = (g_n . d_n)^2 = eta^2 |g_n|^4            d_n = eta g_n: the change P'd_n of the parameters is the step along g_n

L2T, arXiv:2505.10425, theorem 4.2: C = (g' dtheta)^2, where dtheta is never defined; this one is an ascent on the step itself.
Its scale is arbitrary, so a weight on it means nothing before it is standardised over a batch:
    "z"        (C - mean) / std: weight 1 is what a standard deviation costs; a step below the mean is paid
    "mean"     C / mean: weight 1 is what an average step costs; a penalty always
    "attempt"  C / mean over attempts of their sum: weight 1 is what an average attempt costs in all; a penalty always
    "none"     C by eta, which the others cancel
"attempt" alone counts attempts, not steps: a step appended to one attempt never lowers what that one is charged, and never raises
what others are. Of the sum S, an attempt's part T becomes T + c, and (T + c) / (S + c) >= T / S.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from stepcredit.core.log_ratios import Asked
from stepcredit.core.protocols import Policy
from stepcredit.core.types import Cost, Floats

Standardise = Literal["z", "mean", "attempt", "none"]


@runtime_checkable
class ScoresVectors(Protocol):
    """A policy that can tell how its parameters would move."""

    def score_vector(self, prefixes: Sequence[str], continuations: Sequence[str], *, dim: int, seed: int) -> Floats:
        """The projected gradient of each log-probability, [len(prefixes), dim]; equal seeds have equal projections."""
        ...


def penalties(
    policy: Policy,
    asked_n: Sequence[Asked],
    share_n: Floats,
    *,
    standardise: Standardise,
    eta: float,
    dim: int,
    seed: int,
) -> tuple[Floats, Cost]:
    """C of each step, [n], over the batch that these steps are, and what it cost; `share_n`: the share of attempts it stands in.

    Raises ValueError for a policy without score vectors, or with ones of another shape or that are not finite.
    Degenerate: steps that all change as much have 0 under "z"; steps that change nothing have 0 under the others.
    """
    if not isinstance(policy, ScoresVectors):
        raise ValueError(
            f"{type(policy).__name__} has no score_vector, which the compression penalty needs; allowed: beta=0"
        )
    if not asked_n:
        return np.zeros(0), Cost()
    before, start = _forwarded(policy), time.perf_counter()
    given = policy.score_vector([p for p, _ in asked_n], [c for _, c in asked_n], dim=dim, seed=seed)
    g_nR = np.asarray(given, dtype=np.float64)
    if g_nR.shape != (len(asked_n), dim) or not np.all(np.isfinite(g_nR)):
        raise ValueError(
            f"score_vector of {len(asked_n)} steps: expected finite [{len(asked_n)}, {dim}], got {list(g_nR.shape)}"
        )
    cost = Cost(forwarded_tokens=_forwarded(policy) - before, seconds=time.perf_counter() - start)
    return _standardised(eta**2 * np.sum(g_nR**2, axis=1) ** 2, share_n, standardise), cost


def _standardised(c_n: Floats, share_n: Floats, how: Standardise) -> Floats:
    if how == "none":
        return c_n
    mean = float(np.sum(np.sort(c_n * share_n)) if how == "attempt" else np.mean(np.sort(c_n)))
    if how != "z":
        return c_n / mean if mean > 0 else c_n
    if np.all(c_n == c_n[0]):
        return np.zeros_like(c_n)
    return np.asarray((c_n - mean) / np.sqrt(np.mean(np.sort((c_n - mean) ** 2))))


def _forwarded(policy: Any) -> int:
    return int((getattr(policy, "cost", None) or Cost()).forwarded_tokens)
