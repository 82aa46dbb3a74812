"""A judge of lines for `recipes/first_mistakes`: logistic in the words of a line, taught by outcomes.

    u_l = w . x_l + b     keep_l = s(u_l)     keep of a step, q_g of a group = product over its lines
    outcomes   groups are attempts:   r log(fp + (1 - fp) q) + (1 - r) log[(1 - fp)(1 - q)]      the chain with fix = 0
    labels     groups are steps:      the same with fp = 0 and the label, or the attempt's outcome (broadcast), as r

x is 0 or 1 for each run of up to `longest` words that the training lines have, the million most frequent at most.
A line is seen alone, so whatever tells sound from wrong must stand in it. Equal lines are computed once. Chain: RSP,
arXiv:2609.39220, without repair (CRM, arXiv:2509.26578); `judge/linear` is its relative on TF-IDF, without fp.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from stepcredit.core.readout import Readout, judgment, logit, sigmoid, start_rate
from stepcredit.core.types import Cost, Floats, Ints, Judgment, Record
from stepcredit.judge._ascent import Likelihood, climb

LINE_END = "\n"
MOST = 1_000_000  # weights
Taught = Literal["outcomes", "broadcast", "labels"]


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of attempts: distinct texts, which text each line is, its step [L], and the attempt of each step [S]."""

    texts: list[str]
    text_L: Ints
    step_L: Ints
    attempt_S: Ints


@dataclass(frozen=True, eq=False)
class LineJudge:
    """Fitted words and weights. Called with viewed records, it returns one judgment each."""

    vectorizer: Any
    weight_D: Floats
    bias: float
    chain: bool
    heights: tuple[float, ...]
    cost: Cost

    @property
    def num_parameters(self) -> int:
        """Weights and the bias."""
        return len(self.weight_D) + 1

    def __call__(self, records: Sequence[Record]) -> list[Judgment]:
        """One judgment a record; a chain's step keeps what all its lines keep."""
        given = lines(records)
        logit_V = self.vectorizer.transform(given.texts) @ self.weight_D + self.bias
        of_text = -np.logaddexp(0.0, -logit_V)
        log_keep_S = _sums(given.step_L, of_text[given.text_L], len(given.attempt_S))
        rest_S = np.maximum(-np.expm1(log_keep_S), 1e-12)
        readout = Readout("latent_chain", "derivation") if self.chain else Readout("broadcast", aggregation="min")
        bounds = np.searchsorted(given.attempt_S, np.arange(len(records) + 1))
        logit_S = log_keep_S - np.log(rest_S)
        return [judgment(logit_S[a:b, None], readout) for a, b in pairwise(bounds)]


def lines(records: Sequence[Record]) -> Lines:
    """The lines of viewed records, whose steps are one line or several."""
    number: dict[str, int] = {}
    text_L, step_L, attempt_S = list[int](), list[int](), list[int]()
    for index, record in enumerate(records):
        for step in record.tree.solution(record.tree.leaves[0]):
            for line in step.text.split(LINE_END):
                text_L.append(number.setdefault(line, len(number)))
                step_L.append(len(attempt_S))
            attempt_S.append(index)
    return Lines(list(number), *(np.array(found, dtype=np.int64) for found in (text_L, step_L, attempt_S)))


def fit_lines(
    records: Sequence[Record], *, taught: Taught, fp: float = 0.0, longest: int = 4, inverse_penalty: float = 100.0,
    num_iterations: int = 300,
) -> LineJudge:  # fmt: skip
    """Fit on viewed records: on their outcomes as a chain or step by step (broadcast), or on their "truth".

    Labels count up to the first wrong step. Unscored attempts teach nothing. Raises ValueError where nothing does.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    started = time.perf_counter()
    given = lines(records)
    target_G, group_L = _groups(records, given, taught)
    kept = np.flatnonzero(~np.isnan(target_G)[group_L])
    if not kept.size:
        raise ValueError(f"nothing to learn from: no {taught} in {len(records)} attempts")
    used, group_K = np.unique(group_L[kept], return_inverse=True)
    vectorizer = CountVectorizer(
        lowercase=False,
        binary=True,
        token_pattern=r"\S+",
        ngram_range=(1, longest),
        max_features=MOST,
        dtype=np.float64,
    )
    row_VD = vectorizer.fit_transform(given.texts).tocsr()
    target = target_G[used]
    like = group_likelihood(target, group_K, given.text_L[kept], len(given.texts), fp if taught == "outcomes" else 0.0)
    base = float(np.clip(target.mean(), 0.02, 0.98))
    bias = logit(start_rate(base, len(kept) / len(used), "derivation"))
    found = climb(row_VD, like, bias, inverse_penalty=inverse_penalty, num_iterations=num_iterations)
    cost = Cost(judge_calls=len(used), seconds=time.perf_counter() - started)
    return LineJudge(vectorizer, found.weight_D, found.bias, taught != "broadcast", found.heights, cost)


def _groups(records: Sequence[Record], given: Lines, taught: Taught) -> tuple[Floats, Ints]:
    """What each group is taught, NaN for nothing, and the group of each line."""
    reward_A = np.array([r.tree.reward_N[r.tree.leaves[0]] for r in records], dtype=np.float64)
    if taught == "outcomes":
        return reward_A, given.attempt_S[given.step_L]
    if taught == "broadcast":
        return reward_A[given.attempt_S], given.step_L
    label_S = np.concatenate(
        [_until_wrong(r.credits["truth"].values_N[list(r.tree.path(r.tree.leaves[0]))]) for r in records]
    )
    return label_S, given.step_L


def _until_wrong(label_S: Floats) -> Floats:
    """Labels up to the first 0 and none after it: what an annotator who stops at the first mistake leaves."""
    wrong = np.flatnonzero(label_S == 0)
    return np.where(np.arange(len(label_S)) <= (wrong[0] if wrong.size else len(label_S)), label_S, np.nan)


def group_likelihood(target_G: Floats, group_K: Ints, text_K: Ints, num_texts: int, fp: float) -> Likelihood:
    """Log-likelihood of the groups' targets and its gradient, as functions of the logits of the distinct texts."""

    def at(logit_V: Floats) -> tuple[float, Floats]:
        logit_K = logit_V[text_K]
        log_q_G = np.minimum(_sums(group_K, -np.logaddexp(0.0, -logit_K), len(target_G)), -1e-12)
        q_G, rest_G = np.exp(log_q_G), -np.expm1(log_q_G)
        right_G = fp + (1 - fp) * q_G
        total = target_G @ np.log(np.maximum(right_G, 1e-300)) + (1 - target_G) @ np.log((1 - fp) * rest_G)
        pull_G = target_G * (1 - fp) * q_G / np.maximum(right_G, 1e-300) - (1 - target_G) * q_G / rest_G
        slope_K = pull_G[group_K] * sigmoid(-logit_K)
        return float(total), _sums(text_K, slope_K, num_texts)

    return at


def _sums(of: Ints, value: Floats, num: int) -> Floats:
    """The sum of the values of each of `num` groups."""
    return np.asarray(np.bincount(of, value, minlength=num), dtype=np.float64)
