"""Restarts from every step of finished attempts: what Monte Carlo labels are read off.

    rollout_k ~ policy(. | prompt, steps up to s),   k = 1..K,      for every sampled step s that does not end its attempt

Math-Shepherd, arXiv:2312.08935, section 3. A restart is a child of s that opens a group of its own, as
`credit/monte_carlo` and `credit/scan` read it; nodes that were there keep their numbers, so that a credit of the grown
tree, cut to the old length, is one of the old tree. Nothing is verified here. Which steps: `nodes`, all of them if None.
Nodes whose prefixes read the same are each restarted: sharing their rollouts would tie their noise.
What the policy did not write right behind s, such as the result of its tool call, belongs to the prefix: every restart
begins with a copy of it (of the first such child in s's own group), so that the attempt it ends reads as it was sampled.
Raises ValueError for `num` below 1, an empty delimiter, or a node that cannot be restarted from.
Degenerate: a tree of one-step attempts comes back as it was; a restart that writes nothing is one step with the text "".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Cost, Outcome, Step, Tree
from stepcredit.rollout._paths import Start, cut, extended
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._writing import Writing, ask


@register("rollout", paper="arXiv:2312.08935")
@resumable()
def restart(trees: Sequence[Tree], *, policy: Policy, rng: Rng, num: int = 8, nodes: Sequence[Sequence[int]] | None = None,
            delimiter: str = "\n", prompt_end: str = "\n", stop: Sequence[str] = (), max_new_tokens: int = 256,
            folder: str | None = None) -> list[Tree]:  # fmt: skip
    """Each tree with `num` restarts from each of its `nodes` (default: every sampled step that is no leaf).

    A node's text is the prompt, `prompt_end` and its steps, each closed by the delimiter; all are asked in one call. What it
    cost is added to the trees: generated tokens as measured, forwarded ones and seconds evenly among the nodes asked for.
    With a `folder`, restarts are kept there as they are written; the same call goes on from them after a kill.
    """
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens)
    if num < 1:
        raise ValueError(f"num {num}; allowed: 1 or more")
    chosen = [_startable(tree) for tree in trees] if nodes is None else [list(given) for given in nodes]
    if len(chosen) != len(trees):
        raise ValueError(f"{len(trees)} trees need as many lists of nodes, got {len(chosen)}")
    for tree, own in zip(trees, chosen, strict=True):
        if bad := sorted(set(own) - set(_startable(tree))):
            raise ValueError(
                f"problem {tree.problem.id!r}: no restart from node {bad[0]}; allowed: sampled steps that are no leaf"
            )
    asked = [(index, node) for index, own in enumerate(chosen) for node in own]
    results = [_results(trees[index], node) for index, node in asked]
    prefixes = [
        writing.prefix(trees[index].problem, [*trees[index].solution(node), *given])
        for (index, node), given in zip(asked, results, strict=True)
    ]
    groups, costs = ask(policy, prefixes, num, rng, writing)
    paths: list[list[tuple[Start, list[Step], Outcome | None]]] = [[] for _ in trees]
    first = [1 + (0 if tree.group_N is None else int(tree.group_N.max())) for tree in trees]
    spent = [Cost() for _ in trees]
    for (index, node), given, group, cost in zip(asked, results, groups, costs, strict=True):
        for one in group:
            start_at = (node, first[index] + len(paths[index]))  # a group of its own
            paths[index].append((start_at, [*given, *writing.steps(one, policy)], cut(one)))
        spent[index] += cost
    return [extended(tree, own, cost) if own else tree for tree, own, cost in zip(trees, paths, spent, strict=True)]


def _startable(tree: Tree) -> list[int]:
    leaves = set(tree.leaves)
    return [node for node in range(1, tree.num_nodes) if tree.steps[node].sampled and node not in leaves]


def _results(tree: Tree, node: int) -> list[Step]:
    """What stands behind a node before the policy writes again."""
    found: list[Step] = []
    while True:
        own = [
            child
            for child in np.flatnonzero(tree.parent_N == node).tolist()
            if not tree.steps[child].sampled and (tree.group_N is None or tree.group_N[child] == tree.group_N[node])
        ]
        if not own:
            return found
        node = own[0]
        found.append(tree.steps[node])
