"""Fitting a linear judge: penalised log-likelihoods of labels and of outcomes, climbed by one optimiser.

    u_j = w . x_j + b                              x_j: features of turn j alone

    labels       sum_j weight_j [y_j log s(u_j) + (1 - y_j) log s(-u_j)]           weighted logistic regression
    derivation   q = prod_j s(u_j),    r log q + (1 - r) log(1 - q)                keep = s(u), a_0 = 1 (CRM's survival)
    retry        q = prod_j s(-u_j),   (1 - r) log q + r log(1 - q)                fix = s(u), a_0 = 0 (noisy-OR)

each less |w|^2 / (2 C). The two links are one function: swap the outcome and the sign of u. A verifier that errs at
known rates is in the likelihood: P(right) = a (1 - fn) + (1 - a) fp, a = P(ok at the end) (`core/chain`). L-BFGS climbs
the likelihood itself, with the analytic gradient, rather than by EM: the gradient is that of posterior-weighted logistic
regression (RSP, arXiv:2609.39220, proposition 2), the line search never steps down, and it needs a tenth of the passes.
The start is w = 0 and the bias at which the likelihood has the base rate; no randomness, so same data, same bytes.
Degenerate: a single class to learn has no optimum (the bias runs away) and is refused by `Target.checked`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stepcredit.core.chain import check_rates
from stepcredit.core.readout import logit, sigmoid, start_rate
from stepcredit.core.types import Floats, Ints
from stepcredit.judge._turns import Matrix

# Log-likelihood and its gradient, as functions of the logits [U].
Likelihood = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True, eq=False)
class Ascent:
    """Where the climb ended. `heights`: penalised log-likelihood at the start and after each iteration, nats."""

    weight_D: Floats
    bias: float
    heights: tuple[float, ...]
    converged: bool


@dataclass(frozen=True, eq=False)
class Target:
    """What is climbed: the turns that take part, the likelihood of their logits, and the bias to start from."""

    rows: Ints
    likelihood: Likelihood
    bias: float
    given: Floats
    what: str

    def checked(self) -> Target:
        """Itself; ValueError where there is nothing to learn, or nothing that differs."""
        if not self.given.size:
            raise ValueError(f"nothing to learn from: no {self.what}")
        if np.all(self.given == self.given[0]):
            raise ValueError(
                f"all {self.given.size} {self.what} have the target {self.given[0]:g}: "
                "what never differs cannot be learned"
            )
        return self


def label_target(label_U: Floats, weight_U: Floats) -> Target:
    """Labels of all turns; the bias is that of their weighted mean."""
    rows = np.flatnonzero(weight_U > 0)
    label, weight = label_U[rows], weight_U[rows]
    base = float(weight @ label / weight.sum()) if rows.size else 0.5
    return Target(rows, label_likelihood(label, weight), logit(base), label, "labelled steps")


def outcome_target(reward_A: Floats, start_A: Ints, *, retry: bool, fp: float = 0.0, fn: float = 0.0) -> Target:
    """Outcomes of all attempts, NaN where unscored; the bias is that of the base rate at the mean number of steps.

    Raises ValueError for a reward outside [0, 1], and for rates of a verifier that says nothing (`chain.check_rates`).
    """
    check_rates(fp, fn)
    size_A = np.diff(start_A)
    known = np.flatnonzero(~np.isnan(reward_A) & (size_A > 0))
    reward, size = reward_A[known], size_A[known]
    outside = reward[(reward < 0) | (reward > 1)]
    if outside.size:
        raise ValueError(f"outcomes are read as probabilities: rewards must lie in [0, 1], got {outside[0]:g}")
    empty = np.zeros(0, dtype=np.int64)
    rows = np.concatenate([empty, *(np.arange(start_A[a], start_A[a + 1]) for a in known)])
    starts = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    base, mean_steps = (float(reward.mean()), float(size.mean())) if known.size else (0.5, 1.0)
    bias = logit(start_rate(base, mean_steps, "retry" if retry else "derivation"))
    return Target(rows, outcome_likelihood(reward, starts, retry=retry, fp=fp, fn=fn), bias, reward, "scored attempts")


def label_likelihood(label_U: Floats, weight_U: Floats) -> Likelihood:
    """Weighted logistic regression of labels in [0, 1]; a weight of 0 leaves a step out."""
    label, weight = np.where(weight_U > 0, label_U, 0.0), np.asarray(weight_U)

    def at(logit_U: Floats) -> tuple[float, Floats]:
        # y log s(u) + (1 - y) log s(-u) = y u - log(1 + exp(u))
        return float(weight @ (label * logit_U - np.logaddexp(0.0, logit_U))), weight * (label - sigmoid(logit_U))

    return at


def outcome_likelihood(reward_A: Floats, start_A: Ints, *, retry: bool, fp: float = 0.0, fn: float = 0.0) -> Likelihood:
    """The chain's likelihood of outcomes in [0, 1]; every attempt has at least one step."""
    sign = -1.0 if retry else 1.0
    size_A = np.diff(start_A)
    with np.errstate(divide="ignore"):
        log_fp, log_fn = np.log([fp, fn])
    log_tp, log_tn = np.log1p([-fn, -fp])

    def at(logit_U: Floats) -> tuple[float, Floats]:
        held_U = sign * logit_U
        log_q_A = np.minimum(np.add.reduceat(-np.logaddexp(0.0, -held_U), start_A[:-1]), -1e-300)
        log_rest_A = np.log(-np.expm1(log_q_A))  # log(1 - q), exact near q = 1
        ok_A, broken_A = (log_rest_A, log_q_A) if retry else (log_q_A, log_rest_A)
        right_A = np.logaddexp(ok_A + log_tp, broken_A + log_fp)
        wrong_A = np.logaddexp(ok_A + log_fn, broken_A + log_tn)
        total = reward_A @ right_A + (1.0 - reward_A) @ wrong_A
        # d log P(right) / d log q = +-(1 - fp - fn) q / P(right); the sign of the link is that of held, and they cancel
        pull_A = reward_A * np.exp(log_q_A - right_A) - (1.0 - reward_A) * np.exp(log_q_A - wrong_A)
        return float(total), np.repeat((1.0 - fp - fn) * pull_A, size_A) * sigmoid(-held_U)

    return at


def climb(
    row_UD: Matrix, likelihood: Likelihood, bias: float, *, inverse_penalty: float, num_iterations: int
) -> Ascent:
    """Maximise likelihood(row w + b) - |w|^2 / (2 inverse_penalty) from w = 0 and this bias, by L-BFGS.

    Stops when the gradient's largest entry is under 1e-4 or an iteration gains less than 1e-9 of the height.
    """
    from scipy.optimize import minimize

    used = np.unique(row_UD.indices)  # a column that no turn has keeps weight 0
    small = row_UD[:, used]
    back = small.T.tocsr()

    def down(point: Floats) -> tuple[float, Floats]:
        height, slope_U = likelihood(small @ point[:-1] + point[-1])
        slope = np.append(back @ slope_U - point[:-1] / inverse_penalty, slope_U.sum())
        return -(height - float(point[:-1] @ point[:-1]) / (2 * inverse_penalty)), -slope

    origin = np.append(np.zeros(len(used)), bias)
    heights = [-down(origin)[0]]

    def note(intermediate_result: object) -> None:
        heights.append(-float(intermediate_result.fun))  # type: ignore[attr-defined]

    found = minimize(
        down, origin, jac=True, method="L-BFGS-B", callback=note,
        options={"maxiter": num_iterations, "maxfun": 4 * num_iterations, "gtol": 1e-4, "ftol": 1e-9},
    )  # fmt: skip
    weight_D = np.zeros(row_UD.shape[1])
    weight_D[used] = found.x[:-1]
    return Ascent(weight_D, float(found.x[-1]), tuple(heights), bool(found.success))
