"""Credit to Credit: what can be done to a method's numbers without knowing the method.

Unassigned stays unassigned throughout, and nothing here looks at an outcome.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stepcredit.core.types import Bools, Credit, Floats, Tree


def mask(credit: Credit, keep_N: Bools) -> Credit:
    """Unassign every node where `keep_N` is False."""
    if np.shape(keep_N) != credit.values_N.shape:
        raise ValueError(f"keep_N: expected {list(credit.values_N.shape)}, got {list(np.shape(keep_N))}")
    keep = np.asarray(keep_N, dtype=np.bool_)
    return replace(
        credit, values_N=np.where(keep, credit.values_N, np.nan), weight_N=np.where(keep, credit.weight_N, 0.0)
    )


def threshold(credit: Credit, at: float = 0.5) -> Credit:
    """Values to hard labels: y = 1[V > at]; a value of exactly `at` is labelled 0."""
    _need(credit, "value", "label")
    label_N = np.where(np.isnan(credit.values_N), np.nan, (credit.values_N > at).astype(np.float64))
    return replace(credit, values_N=label_N, kind="label")


def normalise(credit: Credit) -> Credit:
    """(A - mean) / std over the assigned nodes, each counted by its weight.

    Degenerate: equal numbers, and a single one, become exactly 0.
    """
    _need(credit, "advantage", "reward")
    known_N = credit.weight_N > 0
    known, weight = credit.values_N[known_N], credit.weight_N[known_N]
    values_N: Floats = np.full_like(credit.values_N, np.nan)
    if known.size and np.all(known == known[0]):
        values_N[known_N] = 0.0
    elif known.size:
        centred = known - np.average(known, weights=weight)
        values_N[known_N] = centred / np.sqrt(np.average(centred**2, weights=weight))
    return replace(credit, values_N=values_N)


def value_to_advantage(tree: Tree, credit: Credit, start: float | None = None) -> Credit:
    """A_n = V_n - V of the nearest sampled step before n; the differences telescope along a path.

    `start` is the value of the prompt. Degenerate: a step whose predecessor has no value (a first step, without
    `start`) stays NaN, weight 0.
    """
    _need(credit, "value")
    if credit.values_N.shape != (tree.num_nodes,):
        raise ValueError(f"credit: expected [{tree.num_nodes}], got {list(credit.values_N.shape)}")
    before_N: Floats = np.full(tree.num_nodes, np.nan)
    state_N = credit.values_N.copy()  # value after the node, carried through steps the policy did not write
    state_N[0] = np.nan if start is None else start
    for node in range(1, tree.num_nodes):
        before_N[node] = state_N[tree.parent_N[node]]
        if not tree.steps[node].sampled:
            state_N[node] = before_N[node]
    advantage_N = credit.values_N - before_N
    weight_N = np.where(np.isnan(advantage_N), 0.0, credit.weight_N)
    return replace(credit, values_N=advantage_N, weight_N=weight_N, kind="advantage")


def discount(tree: Tree, credit: Credit, gamma: float) -> Credit:
    """Reward to go: R_n = r_n + gamma * mean over children of R, where a child with nothing assigned below has none.

    Degenerate: steps the policy did not write earn nothing and delay nothing; a step with no reward at or below it
    stays NaN.
    """
    _need(credit, "reward")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma is {gamma}; allowed: 0 to 1")
    total_N = credit.values_N.copy()
    ahead: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for node in range(tree.num_nodes - 1, 0, -1):
        factor = gamma if tree.steps[node].sampled else 1.0
        if ahead[node]:
            earned = 0.0 if np.isnan(total_N[node]) else total_N[node]
            total_N[node] = earned + factor * float(np.mean(ahead[node]))
        if not np.isnan(total_N[node]):
            ahead[tree.parent_N[node]].append(float(total_N[node]))
    total_N[~tree.sampled_N] = np.nan
    weight_N = np.where(np.isnan(total_N), 0.0, np.where(credit.weight_N > 0, credit.weight_N, 1.0))
    return replace(credit, values_N=total_N, weight_N=weight_N)


def _need(credit: Credit, *kinds: str) -> None:
    if credit.kind not in kinds:
        raise ValueError(f"credit of {credit.method} is a {credit.kind}; this needs a {' or a '.join(kinds)}")
