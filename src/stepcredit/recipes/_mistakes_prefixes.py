"""A judge of lines for `recipes/first_mistakes`, taught by what becomes of the prefixes of an attempt.

    P(right | the first t steps) = fp + (a_u - fp) q_t        q_t = product of the keeps of the lines of these steps
    climbed: sum over attempts of the mean over t of  r log P + (1 - r) log(1 - P)
    a_u = sum q_t r / sum q_t      over all prefixes with t / T in tenth u, by the judge before; 1 at the last step
    fp  = SHARE * the share of right attempts

Why not the whole attempt at once (`_mistakes_judge`): a slip may recover or be shown by a later line, say a closing that
no longer matches. Attempts that slip and do not come to such a line are those that recover, so that given the whole
attempt the later line takes the blame of the slip that caused it. A prefix ends before it: the slip is blamed for all
that becomes of it. The price is that a sound prefix may still fail, by a chance 1 - a_u that must be known; the length T
is read in teaching alone.
Luck: outcomes do not tell a broken step that recovers from a kept one. A broken attempt is right no more often than any
attempt, which bounds fp; at SHARE of the bound a step counts as broken unless right answers follow it nearly as often as
they follow any. Prefixes of one attempt are no independent observations: a composite likelihood (value of a prefix:
OVM, arXiv:2311.09724; the chain: RSP, arXiv:2609.39220). Raises ValueError where no attempt has an outcome.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stepcredit.core.readout import sigmoid
from stepcredit.core.types import Bools, Cost, Floats, Ints, Record
from stepcredit.judge._ascent import Likelihood, climb
from stepcredit.recipes._mistakes_judge import LineJudge, Lines, fit_lines, lines

SHARE = 0.75
TENTHS = 10
ROUNDS = 2
START_ITERATIONS, NUM_ITERATIONS = 100, 200


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The prefixes of attempts, one a step: the outcome, the weight (1 / T), the tenth; and where lines and steps stand.

    `first_L`: the first line of a line's attempt; `after_L`: the line behind that attempt's last; `ends_L`: ends a step.
    """

    outcome_S: Floats
    weight_S: Floats
    tenth_S: Ints
    last_S: Bools
    ends_L: Bools
    first_L: Ints
    after_L: Ints


def luck(records: Sequence[Record]) -> float:
    """fp: SHARE of the share of right attempts, among those with an outcome. Raises ValueError where there is none."""
    reward_A = np.array([r.tree.reward_N[r.tree.leaves[0]] for r in records], dtype=np.float64)
    known_A = reward_A[~np.isnan(reward_A)]
    if not known_A.size:
        raise ValueError(f"nothing to learn from: none of {len(records)} attempts has an outcome")
    return SHARE * float(known_A.mean())


def fit_prefixes(records: Sequence[Record], *, longest: int = 4, inverse_penalty: float = 100.0) -> LineJudge:
    """Fit on the outcomes of viewed records: on whole attempts first, then `ROUNDS` times on their prefixes."""
    fp = luck(records)
    scored = [record for record in records if not np.isnan(record.tree.reward_N[record.tree.leaves[0]])]
    judge = fit_lines(scored, taught="outcomes", fp=fp, longest=longest, num_iterations=START_ITERATIONS)
    started, given = time.perf_counter(), lines(scored)
    row_VD, own = judge.vectorizer.transform(given.texts).tocsr(), prefixes(scored, given)
    cost = judge.cost
    for _ in range(ROUNDS):
        logit_V = np.asarray(row_VD @ judge.weight_D + judge.bias)
        sound_S = sound_rate(np.exp(log_keeps(logit_V, given, own)), own, fp)
        like = prefix_likelihood(given, own, sound_S, fp)
        found = climb(row_VD, like, judge.bias, inverse_penalty=inverse_penalty, num_iterations=NUM_ITERATIONS)
        judge = replace(judge, weight_D=found.weight_D, bias=found.bias, heights=found.heights)
        cost += Cost(judge_calls=len(scored))
    return replace(judge, cost=cost + Cost(seconds=time.perf_counter() - started))


def prefixes(records: Sequence[Record], given: Lines) -> Prefixes:
    """What the likelihood reads of records whose lines are `given`."""
    num_A = np.bincount(given.attempt_S, minlength=len(records))
    place_S = np.arange(len(given.attempt_S)) - np.searchsorted(given.attempt_S, given.attempt_S) + 1
    length_S = num_A[given.attempt_S]
    reward_A = np.array([r.tree.reward_N[r.tree.leaves[0]] for r in records], dtype=np.float64)
    attempt_L = given.attempt_S[given.step_L]
    return Prefixes(
        outcome_S=reward_A[given.attempt_S], weight_S=1 / length_S, tenth_S=(TENTHS * place_S - 1) // length_S,
        last_S=place_S == length_S, ends_L=np.append(given.step_L[1:] != given.step_L[:-1], True),
        first_L=np.searchsorted(attempt_L, attempt_L), after_L=np.searchsorted(attempt_L, attempt_L, side="right"),
    )  # fmt: skip


def log_keeps(logit_V: Floats, given: Lines, own: Prefixes) -> Floats:
    """Log q_t of every prefix."""
    log_keep_L = -np.logaddexp(0.0, -logit_V[given.text_L])
    total_L = np.concatenate([[0.0], np.cumsum(log_keep_L)])
    return np.asarray(np.minimum((total_L[1:] - total_L[own.first_L])[own.ends_L], -1e-12))


def sound_rate(q_S: Floats, own: Prefixes, fp: float) -> Floats:
    """a_u of every prefix: how often a sound one ends right, at least fp + .05, for an outcome to tell."""
    sound_U = np.bincount(own.tenth_S, q_S, minlength=TENTHS)
    right_U = np.bincount(own.tenth_S, q_S * own.outcome_S, minlength=TENTHS)
    rate_U = np.maximum(right_U / np.maximum(sound_U, 1e-12), fp + 0.05)
    return np.where(own.last_S, 1 - 1e-6, np.minimum(rate_U, 1 - 1e-6)[own.tenth_S])


def prefix_likelihood(given: Lines, own: Prefixes, sound_S: Floats, fp: float) -> Likelihood:
    """The composite log-likelihood and its gradient, as functions of the logits of the distinct texts."""

    def at(logit_V: Floats) -> tuple[float, Floats]:
        q_S = np.exp(log_keeps(logit_V, given, own))
        right_S = np.clip(fp + (sound_S - fp) * q_S, 1e-9, 1 - 1e-9)
        r_S = own.outcome_S
        total = own.weight_S @ (r_S * np.log(right_S) + (1 - r_S) * np.log1p(-right_S))
        pull_S = own.weight_S * (r_S / right_S - (1 - r_S) / (1 - right_S)) * (sound_S - fp) * q_S
        pull_L = np.zeros(len(given.text_L) + 1)
        pull_L[:-1][own.ends_L] = pull_S
        behind_L = np.cumsum(pull_L[::-1])[::-1]  # a line is in every prefix that ends at it or later
        slope_L = (behind_L[:-1] - behind_L[own.after_L]) * sigmoid(-logit_V[given.text_L])
        slope_V = np.bincount(given.text_L, slope_L, minlength=len(given.texts))
        return float(total), np.asarray(slope_V, dtype=np.float64)

    return at
