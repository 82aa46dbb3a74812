"""The hidden ok / broken chain behind outcome-only credit: filter, smoother, decoding; numpy, log space.

    a_j = a_(j-1) keep_j + (1 - a_(j-1)) fix_j          a_j = P(state ok after step j),   a_0 = start
    P(outcome = right) = a_S (1 - fn) + (1 - a_S) fp

Origin: RSP, arXiv:2609.39220 (the chain); CRM, arXiv:2509.26578, is fix = 0; start = 0 with keep = 1 is noisy-OR
multiple-instance learning. The verifier channel (fp, fn) and the decoding rule are ours.
The filtered a_j is the score at test time. The posterior uses the outcome: it is a label, never a score.

All functions take one attempt: keep_S, fix_S in [0, 1]. S = 0 is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepcredit.core.types import Floats, Ints

TINY = 1e-12


def check_rates(fp: float, fn: float) -> None:
    """Raise ValueError unless the verifier says more than nothing: 0 <= fp, fn and fp + fn < 1."""
    if not (0 <= fp < 1 and 0 <= fn < 1 and fp + fn < 1):
        raise ValueError(f"verifier noise needs 0 <= fp, fn and fp + fn < 1; got fp={fp}, fn={fn}")


def _checked(keep_S: Floats, fix_S: Floats) -> tuple[Floats, Floats]:
    keep, fix = np.asarray(keep_S, dtype=np.float64), np.asarray(fix_S, dtype=np.float64)
    if keep.ndim != 1 or keep.shape != fix.shape or keep.size == 0:
        raise ValueError(f"keep and fix: expected one non-empty [S], got {keep.shape}, {fix.shape}")
    return keep, fix


def filtered(keep_S: Floats, fix_S: Floats, start: float = 1.0) -> Floats:
    """a_j for j = 1..S, [S] in [0, 1].

    >>> filtered(np.array([0.5, 1.0]), np.array([0.0, 0.2]))
    array([0.5, 0.6])
    """
    keep, fix = _checked(keep_S, fix_S)
    state_S = np.empty_like(keep)
    state = float(start)
    for j in range(keep.size):
        state = state * keep[j] + (1.0 - state) * fix[j]
        state_S[j] = state
    return state_S


def log_likelihood(
    keep_S: Floats, fix_S: Floats, right: bool, *, start: float = 1.0, fp: float = 0.0, fn: float = 0.0
) -> float:
    """The logarithm of P(outcome), in nats; never under log(1e-12)."""
    final = filtered(keep_S, fix_S, start)[-1]
    seen = final * (1.0 - fn) + (1.0 - final) * fp if right else final * fn + (1.0 - final) * (1.0 - fp)
    return float(np.log(max(seen, TINY)))


@dataclass(frozen=True)
class Posterior:
    """Smoothed quantities given the outcome, each [S].

    `ok_S`: P(ok after j | outcome). The pairs are expected transition counts, the targets and weights of the two
    channels' BCE: `was_ok_S` = P(ok before j), `kept_S` = P(ok before and after j); `fixed_S` = P(broken before, ok
    after j). `first_error_S` = P(the state first breaks at j).
    """

    ok_S: Floats
    was_ok_S: Floats
    kept_S: Floats
    fixed_S: Floats
    first_error_S: Floats


def posterior(
    keep_S: Floats, fix_S: Floats, right: bool, *, start: float = 1.0, fp: float = 0.0, fn: float = 0.0
) -> Posterior:
    """Forward-backward over the two states given the outcome.

    Degenerate: an outcome the model calls impossible gives the posteriors of a verifier that errs once in 1e12.
    """
    keep, fix = _checked(keep_S, fix_S)
    num = keep.size
    with np.errstate(divide="ignore"):
        emit = np.log([1.0 - fn, fp] if right else [fn, 1.0 - fp])  # log P(outcome | ok), log P(outcome | broken)
        step = np.log(np.stack([np.stack([keep, 1 - keep], -1), np.stack([fix, 1 - fix], -1)], 1))  # [S, from, to]
        behind_S2 = np.empty((num + 1, 2))
        behind_S2[0] = np.log([start, 1.0 - start])
        for j in range(num):
            behind_S2[j + 1] = np.logaddexp(behind_S2[j, 0] + step[j, 0], behind_S2[j, 1] + step[j, 1])
        if np.all(np.isneginf(behind_S2[num] + emit)):
            emit = np.maximum(emit, np.log(TINY))
        total = np.logaddexp.reduce(behind_S2[num] + emit)
        ahead_S2 = np.empty((num + 1, 2))
        ahead_S2[num] = emit
        for j in range(num - 1, -1, -1):
            ahead_S2[j] = np.logaddexp(step[j, :, 0] + ahead_S2[j + 1, 0], step[j, :, 1] + ahead_S2[j + 1, 1])
        pair = np.exp(behind_S2[:num, :, None] + step + ahead_S2[1:, None, :] - total)  # [S, from, to]
        alive = np.log(start) + np.concatenate([[0.0], np.cumsum(step[:, 0, 0])[:-1]])  # ok before j, never broken
        first = np.exp(alive + step[:, 0, 1] + ahead_S2[1:, 1] - total)
    return Posterior(pair[:, 0, 0] + pair[:, 1, 0], pair[:, 0].sum(-1), pair[:, 0, 0], pair[:, 1, 0], first)


def decode_first_error(keep_S: Floats) -> int:
    """0-based first error without a threshold to tune; -1 for "no error".

    With S_j = prod_{i<=j} keep_i, P(no step broke a sound state): if S_S < 1/2 the first error is argmax_j
    (1 - keep_j) S_(j-1). Not a_S < 1/2: a repair does not undo an error. Ties go to the earliest step. Needs the whole
    attempt and no step label.

    >>> decode_first_error(np.array([0.9, 0.2, 0.6])), decode_first_error(np.array([0.9, 0.9]))
    (1, -1)
    """
    keep = np.asarray(keep_S, dtype=np.float64)
    survive = np.cumprod(keep)
    if survive[-1] >= 0.5:
        return -1
    return int(np.argmax((1.0 - keep) * np.concatenate([[1.0], survive[:-1]])))


@dataclass(frozen=True)
class TreePosterior:
    """Smoothed transitions into every node of a forest given all its outcomes, each [N]; roots hold NaN.

    `was_ok_N` = P(parent ok), `kept_N` = P(parent and node ok), `fixed_N` = P(parent broken, node ok);
    `log_likelihood` is that of all outcomes, in nats.
    """

    was_ok_N: Floats
    kept_N: Floats
    fixed_N: Floats
    log_likelihood: float


def tree_posterior(
    parent_N: Ints, num_right_N: Floats, num_wrong_N: Floats, keep_N: Floats, fix_N: Floats,
    *, start: float = 1.0, fp: float = 0.0, fn: float = 0.0,
) -> TreePosterior:  # fmt: skip
    """Forward-backward on trees: attempts that share a prefix share the state at its end.

    A node of the forest is a prefix; `num_right_N`, `num_wrong_N` count the attempts that end there with each outcome;
    parents come before children, roots have parent -1 and state `start`. With one attempt per tree it is `posterior`.

    >>> two = tree_posterior(np.array([-1, 0, 1, 1]), np.array([0, 0, 1, 0]), np.array([0, 0, 0, 1]),
    ...                      np.full(4, 0.5), np.zeros(4))
    >>> two.kept_N.round(2)  # the right attempt proves the shared first step, so the wrong one broke at its own second
    array([nan,  1.,  1.,  0.])
    """
    check_rates(fp, fn)
    parent = np.asarray(parent_N, dtype=np.int64)
    num = parent.size
    depth = np.zeros(num, dtype=np.int64)
    for node in range(num):
        depth[node] = 0 if parent[node] < 0 else depth[parent[node]] + 1
    levels = [np.flatnonzero(depth == d) for d in range(int(depth.max(initial=0)) + 1)]
    emit = np.log(np.maximum([[1.0 - fn, fp], [fn, 1.0 - fp]], TINY))
    ahead = (
        np.asarray(num_right_N, dtype=np.float64)[:, None] * emit[0]
        + np.asarray(num_wrong_N, dtype=np.float64)[:, None] * emit[1]
    )
    keep, fix = np.asarray(keep_N, dtype=np.float64), np.asarray(fix_N, dtype=np.float64)
    with np.errstate(divide="ignore"):
        step = np.log(np.stack([np.stack([keep, 1 - keep], -1), np.stack([fix, 1 - fix], -1)], 1))  # [N, from, to]
        behind = np.full((num, 2), -np.inf)
        behind[levels[0]] = np.log([start, 1.0 - start])
    up = np.zeros((num, 2))
    for level in reversed(levels[1:]):
        up[level] = np.logaddexp(step[level, :, 0] + ahead[level, :1], step[level, :, 1] + ahead[level, 1:])
        np.add.at(ahead, parent[level], up[level])
    total = float(np.logaddexp(*(behind[levels[0]] + ahead[levels[0]]).T).sum())
    pair = np.full((num, 2, 2), np.nan)
    for level in levels[1:]:
        others = behind[parent[level]] + ahead[parent[level]] - up[level]  # the parent, without this child's evidence
        joint = others[:, :, None] + step[level]
        behind[level] = np.logaddexp(joint[:, 0], joint[:, 1])
        behind[level] -= np.logaddexp(behind[level, :1], behind[level, 1:])
        joint = joint + ahead[level][:, None, :]
        joint -= joint.max(axis=(1, 2), keepdims=True)
        pair[level] = np.exp(joint) / np.exp(joint).sum(axis=(1, 2), keepdims=True)
    return TreePosterior(pair[:, 0].sum(-1), pair[:, 0, 0], pair[:, 1, 0], total)
