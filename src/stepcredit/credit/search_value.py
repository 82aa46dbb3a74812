"""The value a search backed up to each node: the mean of its evaluations, by visits.

    own_n = visits_n - sum of its children's visits          simulations that ended at n
    e_n   = its outcome, else the mean over the fast rollouts behind it
    V_n   = sum over d of own_d e_d / sum over d of own_d    d: the evaluated nodes at and below n

AlphaLLM's eta-MCTS, arXiv:2404.12253, section 4.3 (mean of what is backed up, no discount), read off a tree of
`rollout/mcts`: its q(s) where outcomes alone evaluated. Fast rollouts are the children without visits; they are evidence
and get no value. Where critics spoke too, `backed_up` takes their mix with the outcomes, from `mixed`:
    e = sum_k beta_k c_k / sum_k beta_k        over the critics k that know the node
on one scale, [0, 1], where the released code adds a value in [-1, 1] to a probability. Simulations that ended where nothing
was evaluated take no part. In a tree without visits every outcome counts once.
A search visits what looks good: V is the value of playing as it searched, not the policy's own.
Shared nodes: a value belongs to the node. Raises ValueError for rewards outside [0, 1], for evaluations that are not the
tree's size, and for visits that are no such search's (`rollout/bisect` counts its own): a node with fewer than its children
together, or a child without any that has an outcome and is in its parent's group.
Degenerate: a node that no evaluated simulation passed stays NaN, weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.tree import scored_below
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign, unit_reward_N


@register("credit", paper="arXiv:2404.12253", kind="value")
@each_tree
def search_value(tree: Tree) -> Credit:
    """Value every step by the outcomes of the simulations through it, [N] in [0, 1]."""
    return assign(tree, backed_up(tree, evaluations(tree)), "value", "search_value")


def evaluations(tree: Tree) -> Floats:
    """What outcomes say of each node by itself, [N]: its own, else the mean of the fast rollouts behind it, else NaN."""
    reward_N = unit_reward_N(tree, "search_value")
    if tree.visits_N is None:
        return reward_N
    sum_N, num_N = scored_below(tree)
    rollouts: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for node in np.flatnonzero((tree.visits_N == 0) & (num_N > 0)).tolist():
        if (
            tree.visits_N[tree.parent_N[node]]
            and tree.group_N is not None
            and tree.group_N[node] == tree.group_N[tree.parent_N[node]]
        ):
            raise ValueError(f"problem {tree.problem.id!r}: node {node} has no visits, an outcome at or below it, and the group "
                             f"of node {tree.parent_N[node]}, which has visits; allowed: rollouts, in groups of their own")  # fmt: skip
        rollouts[tree.parent_N[node]].append(sum_N[node] / num_N[node])
    mean_N = np.array([np.mean(np.sort(found)) if found else np.nan for found in rollouts])
    return np.where(np.isnan(reward_N), mean_N, reward_N)


def backed_up(tree: Tree, evaluation_N: Floats) -> Floats:
    """Mean of the evaluations at and below each node by the simulations that ended there, [N]; NaN is not evaluated."""
    if evaluation_N.shape != (tree.num_nodes,):
        raise ValueError(f"evaluation_N: expected [{tree.num_nodes}], got {list(evaluation_N.shape)}")
    own_N = np.ones(tree.num_nodes, dtype=np.int64)
    if tree.visits_N is not None:
        own_N = tree.visits_N.copy()  # a search's: what passed a node has passed its parent
        np.subtract.at(own_N, tree.parent_N[1:], tree.visits_N[1:])
        if bad := np.flatnonzero(own_N < 0).tolist():
            raise ValueError(
                f"problem {tree.problem.id!r}: node {bad[0]} has {tree.visits_N[bad[0]]} visits, "
                f"its children together {tree.visits_N[bad[0]] - own_N[bad[0]]}; allowed: at most as many, as a search counts them"
            )
    parts: list[list[tuple[float, int]]] = [
        [] if np.isnan(e) or own == 0 else [(float(e), int(own))] for e, own in zip(evaluation_N, own_N, strict=True)
    ]
    value_N: Floats = np.full(tree.num_nodes, np.nan)
    for node in range(tree.num_nodes - 1, -1, -1):
        if parts[node]:
            evaluation, num = np.array(sorted(parts[node])).T  # sorted: the order of children cannot change a bit
            value_N[node] = np.clip(np.average(evaluation, weights=num), evaluation[0], evaluation[-1])
            if node:
                parts[tree.parent_N[node]].append((float(value_N[node]), int(num.sum())))
    return value_N


def mixed(critics: Sequence[Floats], betas: Sequence[float] | None = None) -> Floats:
    """Evaluations by several critics, [N] each: their mean by `betas` (1 each) over those that know a node, NaN without.

    >>> mixed([np.array([0.5, np.nan]), np.array([1.0, 1.0])])
    array([0.75, 1.  ])
    """
    beta_K = np.ones(len(critics)) if betas is None else np.array(betas, dtype=np.float64)
    if not len(critics) or beta_K.shape != (len(critics),) or beta_K.min() < 0 or not beta_K.sum() > 0:
        raise ValueError(f"{len(critics)} critics and betas {betas}; allowed: as many, none below 0, one above 0")
    value_KN = np.stack(list(critics))
    beta_KN = np.where(np.isnan(value_KN), 0.0, beta_K[:, None])
    total_N = beta_KN.sum(axis=0)
    return np.where(
        total_N > 0, (beta_KN * np.nan_to_num(value_KN)).sum(axis=0) / np.where(total_N > 0, total_N, 1), np.nan
    )
