"""Continuations from every start of a demonstration, kept in one tree, and read the first few a start.

    start k = prompt and first k steps, k = 0..S-1;   from the prompt by `rollout/chains`, from the others by `rollout/restart`

Nodes 1..S are the demonstration, in group 0; every continuation has a group of its own, so that the first K of each start
are a tree again, the same for all who read K.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.tree import merge
from stepcredit.core.types import Floats, Tree
from stepcredit.credit.reverse_curriculum import reverse_curriculum, starts
from stepcredit.recipes._r3_world import Ground, num_steps
from stepcredit.rollout._verified import verified
from stepcredit.rollout.chains import chains
from stepcredit.rollout.restart import restart


@dataclass(frozen=True)
class Pool:
    """What the continuations of one demonstration came to: rewards (NaN unscored) and tokens, [S, K] each."""

    reward_SK: Floats
    tokens_SK: Floats


def started(ground: Ground, trees: Sequence[Tree], num: int, name: str) -> list[Tree]:
    """Each demonstration with `num` continuations from each of its starts, scored."""
    problems = [tree.problem for tree in trees]
    own = chains(problems, policy=ground.policy, rng=ground.draw(name, "prompt"), num=num, **ground.limits)
    whole = [merge(pair) for pair in zip(trees, own, strict=True)]
    nodes = [range(1, num_steps(tree)) for tree in trees]
    grown = restart(whole, policy=ground.policy, rng=ground.draw(name, "starts"), num=num, nodes=nodes, **ground.limits)
    return [verified(tree, ground.task.verify) for tree in grown]


def first(tree: Tree, num: int) -> Tree:
    """The demonstration and the first `num` continuations of each start, as they were grown; their cost is left out."""
    assert tree.group_N is not None
    rank: dict[int, int] = {0: -1}
    seen: Counter[int] = Counter()
    for node in range(1, tree.num_nodes):
        group, parent = int(tree.group_N[node]), int(tree.parent_N[node])
        if group not in rank:
            rank[group] = seen[parent]
            seen[parent] += 1
    kept = [node for node in range(tree.num_nodes) if rank[int(tree.group_N[node])] < num]
    place = {node: index for index, node in enumerate(kept)} | {-1: -1}
    return Tree(
        tree.problem, tuple(tree.steps[node] for node in kept), np.array([place[int(tree.parent_N[n])] for n in kept]),
        tuple(tree.outcomes[node] for node in kept), group_N=tree.group_N[kept],
    )  # fmt: skip


def values(tree: Tree) -> tuple[Floats, Floats]:
    """Success rates of the starts, the end's own outcome behind them, [S + 1], and the scored continuations, [S].

    The steps' are `credit/reverse_curriculum`; NaN where no continuation was scored.
    """
    num = num_steps(tree)
    right_N, scored_N = starts(tree)
    prompt = right_N[0] / scored_N[0] if scored_N[0] else np.nan
    value_N = reverse_curriculum(tree).values_N
    return np.array([prompt, *value_N[1:num], tree.reward_N[num]]), scored_N[:num].astype(np.float64)


def pool(tree: Tree) -> Pool:
    """The rewards and tokens of every start's continuations, in the order they were grown."""
    assert tree.group_N is not None
    num = num_steps(tree)
    nodes_of: dict[int, list[int]] = {}
    for node in range(num + 1, tree.num_nodes):
        nodes_of.setdefault(int(tree.group_N[node]), []).append(node)
    reward_N = tree.reward_N
    rewards: list[list[float]] = [[] for _ in range(num)]
    tokens: list[list[float]] = [[] for _ in range(num)]
    for nodes in nodes_of.values():
        start = int(tree.parent_N[nodes[0]])
        rewards[start].append(float(reward_N[nodes[-1]]))
        tokens[start].append(float(sum(len(tree.steps[node].token_ids or " ") for node in nodes)))
    return Pool(np.array(rewards), np.array(tokens))
