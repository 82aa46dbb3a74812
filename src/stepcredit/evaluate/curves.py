"""What a judge's picks are worth: best-of-N, pass@N, majority@N and weighted majority@N over random N-subsets.

Each curve is the expectation over a uniformly random subset of N of a problem's G attempts, averaged over problems.
Best-of-N is exact. With L scores below and E equal to the score of attempt i (itself included),

    P(i is picked) = (C(L + E, N) - C(L, N)) / (C(G, N) E)            ties share the pick equally, whatever the outcome
    pass@N = 1 - C(wrong, N) / C(G, N)                                Codex, arXiv:2107.03374, section 2.1

Majority (self-consistency, arXiv:2203.11171) and its weighted form (DiVeRSe, arXiv:2206.02336) are exact where there
are at most 2,000 subsets and a seeded sample of 500 subsets elsewhere.
A missing judgment ranks last. An attempt whose outcome is not scored is a wrong pick; a problem with an attempt no
verifier has looked at is left out, and so is one with fewer than N attempts, at that N: `n` says how many stood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.aggregate import Scoring, attempt_score, vote
from stepcredit.core.protocols import Rng
from stepcredit.core.stats import clustered_mean, ratio
from stepcredit.core.types import Estimate, Floats, Ints, Record
from stepcredit.evaluate._attempts import NothingToMeasure, attempts, by_problem

MAX_SUBSETS = 2000
NUM_DRAWN = 500


def _check_num(num: int, size: int) -> None:
    if not 1 <= num <= size:
        raise ValueError(f"N is {num}; allowed: 1 to the {size} attempts there are")


def _inside(count: ArrayLike, num: int, size: int) -> Floats:
    """C(count, num) / C(size, num): the chance that a random subset lies wholly among `count` of the attempts."""
    index = np.arange(num)
    return np.asarray(np.prod((np.asarray(count)[..., None] - index).clip(0) / (size - index), axis=-1))


def pick_probability(score_G: ArrayLike, num: int) -> Floats:
    """Chance that best-of-`num` picks each attempt, [G], summing to 1; NaN scores rank last, ties share.

    >>> pick_probability([0.9, 0.1, 0.5], 2).round(3).tolist()  # of 3 pairs the best is in 2, the middle wins 1
    [0.667, 0.0, 0.333]
    """
    score = np.asarray(score_G, dtype=np.float64)
    if score.ndim != 1:
        raise ValueError(f"scores: expected [G], got {list(score.shape)}")
    _check_num(num, score.size)
    ranked = np.where(np.isnan(score), -np.inf, score)
    _, group_G, count = np.unique(ranked, return_inverse=True, return_counts=True)
    up_to = np.cumsum(count)
    share = (_inside(up_to, num, score.size) - _inside(up_to - count, num, score.size)) / count
    return np.asarray(share[group_G])


def pass_at(right_G: ArrayLike, num: int) -> float:
    """Chance that a random subset of `num` attempts holds a right one.

    >>> pass_at([1, 0, 0, 0], 2)  # 1 - C(3, 2) / C(4, 2)
    0.5
    """
    right = np.asarray(right_G, dtype=np.float64)
    _check_num(num, right.size)
    return float(1 - _inside(int((right == 0).sum()), num, right.size))


@lru_cache(maxsize=64)
def _all_subsets(size: int, num: int) -> Ints:
    subset_MN = np.array(list(combinations(range(size), num)), dtype=np.int64)
    subset_MN.setflags(write=False)
    return subset_MN


def _subsets(size: int, num: int, rng: Rng) -> Ints:
    """All subsets [M, num], or NUM_DRAWN random ones where there are too many."""
    if math.comb(size, num) <= MAX_SUBSETS:
        return _all_subsets(size, num)
    return np.argsort(rng.random((NUM_DRAWN, size)), axis=1)[:, :num].astype(np.int64)


def majority_at(
    votes_G: Sequence[str | None], right_G: ArrayLike, num: int, *, rng: Rng, weight_G: ArrayLike | None = None
) -> float:
    """Expected correctness of the (weighted) majority answer of a random subset of `num` attempts.

    Weights are scores; a NaN weight, like a missing vote, casts none. Tied answers share equally, and so do the
    voters of the winning answer; where nobody in the subset votes, its best weight is picked. `rng` draws subsets only
    where there are more than 2,000.

    >>> majority_at(["a", "a", "b"], [0, 0, 1], 2, rng=np.random.default_rng(0))  # aa 0, ab 1/2, ab 1/2
    0.3333333333333333
    """
    right = np.asarray(right_G, dtype=np.float64)
    _check_num(num, right.size)
    weight = np.ones_like(right) if weight_G is None else np.asarray(weight_G, dtype=np.float64)
    if not len(votes_G) == right.size == weight.size:
        raise ValueError(f"{right.size} attempts need as many votes and weights, got {len(votes_G)}, {weight.size}")
    answers = sorted({v for v, w in zip(votes_G, weight, strict=True) if v is not None and not np.isnan(w)})
    if not answers:
        return float(pick_probability(weight, num) @ right)
    cast_GA = np.array([[v == a for a in answers] for v in votes_G], dtype=np.float64) * ~np.isnan(weight)[:, None]
    subset_MN = _subsets(right.size, num, rng)
    num_MA = cast_GA[subset_MN].sum(axis=1)
    total_MA = (cast_GA * np.nan_to_num(weight)[:, None])[subset_MN].sum(axis=1)
    right_MA = (cast_GA * right[:, None])[subset_MN].sum(axis=1)
    total_MA = np.where(num_MA > 0, total_MA, -np.inf)
    best_M1 = total_MA.max(axis=1, keepdims=True)
    # Sums of the same weights in another order may differ in the last bit: that is a tie.
    won_MA = (num_MA > 0) & (total_MA >= best_M1 - 1e-9 * np.abs(np.where(np.isinf(best_M1), 0.0, best_M1)))
    worth_M = ratio((np.where(won_MA, ratio(right_MA, num_MA), 0.0)).sum(axis=1), won_MA.sum(axis=1))
    ranked_MN = np.where(np.isnan(weight), -np.inf, weight)[subset_MN]
    top_MN = ranked_MN == ranked_MN.max(axis=1, keepdims=True)
    unvoted_M = (top_MN * right[subset_MN]).sum(axis=1) / top_MN.sum(axis=1)
    return float(np.where(num_MA.any(axis=1), worth_M, unvoted_M).mean())


@dataclass(frozen=True, eq=False)
class Pool:
    """One problem's attempts as the curves see them: scores (NaN missing), correctness, votes, all [G]."""

    problem_id: str
    index_G: tuple[int, ...]
    score_G: Floats
    right_G: Floats
    votes_G: tuple[str | None, ...]


def pools(records: Sequence[Record], scoring: Scoring = "judge") -> list[Pool]:
    """The attempts of each problem whose attempts all have outcomes. Raises ValueError where no problem has."""
    given = attempts(records)
    found = []
    for problem_id, index in by_problem(given).items():
        group = [given[i] for i in index]
        if any(a.right is None for a in group):
            continue
        score_G = np.array([attempt_score(a.judgment, scoring) for a in group])
        right_G = np.array([float(bool(a.right)) for a in group])
        found.append(Pool(problem_id, tuple(index), score_G, right_G, tuple(vote(a.outcome) for a in group)))
    if not found:
        raise NothingToMeasure("no problem has an outcome for each of its attempts: there is nothing to pick by")
    return found


def curves(
    records: Sequence[Record],
    *,
    rng: Rng,
    num_list: Sequence[int] = (1, 2, 4, 8, 16),
    scoring: Scoring = "judge",
    num_resamples: int = 1000,
    baselines: bool = True,
) -> dict[str, Estimate]:
    """Curves by name and N, `best_of_16`, with intervals over problems; n is problems.

    With `baselines` also `pass_at_N`, `random_of_N`, and, where answers are recorded, `majority_of_N`,
    `weighted_majority_of_N`; and the paired gains `best_of_N_minus_random`, `best_of_N_minus_majority`. Best-of-N
    needs a judgment somewhere; an N larger than every pool is left out. Raises ValueError where no problem has two
    attempts with outcomes, or for an N under 1.
    """
    if not num_list or min(num_list) < 1:
        raise ValueError(f"N list is {list(num_list)}; allowed: one or more numbers from 1")
    given = pools(records, scoring)
    if max(len(pool.right_G) for pool in given) < 2:
        raise NothingToMeasure("one attempt per problem: there is nothing to pick from")
    judged = any(not np.isnan(pool.score_G).all() for pool in given)
    voted = baselines and any(v is not None for pool in given for v in pool.votes_G)
    found: dict[str, Estimate] = {}
    for num in num_list:
        stood = [pool for pool in given if len(pool.right_G) >= num]
        if not stood:
            continue
        worth = {f"random_of_{num}": [float(p.right_G.mean()) for p in stood]}
        if judged:
            worth[f"best_of_{num}"] = [float(pick_probability(p.score_G, num) @ p.right_G) for p in stood]
        if baselines:
            worth[f"pass_at_{num}"] = [pass_at(p.right_G, num) for p in stood]
        if voted:
            worth[f"majority_of_{num}"] = [majority_at(p.votes_G, p.right_G, num, rng=rng) for p in stood]
        if voted and judged:
            worth[f"weighted_majority_of_{num}"] = [
                majority_at(p.votes_G, p.right_G, num, rng=rng, weight_G=p.score_G) for p in stood
            ]
        if not baselines:
            del worth[f"random_of_{num}"]
        found |= {
            name: clustered_mean(values, "accuracy", rng=rng, num_resamples=num_resamples)
            for name, values in worth.items()
        }
        for other in ("random", "majority"):
            if f"{other}_of_{num}" in worth and judged:
                gain = np.array(worth[f"best_of_{num}"]) - np.array(worth[f"{other}_of_{num}"])
                found[f"best_of_{num}_minus_{other}"] = clustered_mean(
                    gain, "difference in accuracy", rng=rng, num_resamples=num_resamples
                )
    return found


def picked(
    records: Sequence[Record],
    *,
    num: int,
    rng: Rng,
    kinds: Sequence[Sequence[str]] | None = None,
    scoring: Scoring = "judge",
    num_resamples: int = 1000,
) -> dict[str, Estimate]:
    """What best-of-`num` picks: the share of picks by kind of attempt, most frequent first, clustered by problem.

    `kinds` names the kind of each attempt, per record and leaf, for example the type of its first error. Without it,
    kinds are answer and steps: "right answer, wrong step" and so on, "steps unknown" where no truth is recorded.
    Compare with the shares under constant scores, which are those of the attempts themselves.
    """
    given = attempts(records)
    if kinds is None:
        step_kind = {None: "steps unknown", -1: "right steps"}
        kind_A = [
            f"{'right' if a.right else 'wrong'} answer, {step_kind.get(a.first_error, 'wrong step')}" for a in given
        ]
    else:
        kind_A = [str(kind) for of_record in kinds for kind in of_record]
        if [len(of_record) for of_record in kinds] != [len(record.tree.leaves) for record in records]:
            raise ValueError(f"kinds: one per attempt of each record, {len(given)} in all; got {len(kind_A)}")
    stood = [pool for pool in pools(records, scoring) if len(pool.right_G) >= num]
    if not stood:
        raise NothingToMeasure(f"no problem has {num} attempts with outcomes")
    share_of: dict[str, Floats] = {kind: np.zeros(len(stood)) for kind in dict.fromkeys(kind_A)}
    for row, pool in enumerate(stood):
        for index, chance in zip(pool.index_G, pick_probability(pool.score_G, num), strict=True):
            share_of[kind_A[index]][row] += chance
    ranked = sorted(share_of, key=lambda kind: -share_of[kind].sum())
    return {
        kind: clustered_mean(share_of[kind], "share of picks", rng=rng, num_resamples=num_resamples) for kind in ranked
    }
