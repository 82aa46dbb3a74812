"""Growing trees whose next rollout depends on the last: one growth a tree, all trees' wishes of a round in one call.

A growth is a generator that yields (its tree, the nodes to restart from) and is sent the grown tree; its value is the
finished one. All it knows is in the tree, so a tree that was grown before, given again, goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Policy, Rng, Verifier
from stepcredit.core.types import Ints, Tree
from stepcredit.rollout._verified import verified
from stepcredit.rollout._writing import Writing
from stepcredit.rollout.restart import restart

Growth = Generator[tuple[Tree, list[int]], Tree, Tree]


def grow(growths: Sequence[Growth], *, policy: Policy, verify: Verifier, rng: Rng, num: int, writing: Writing) -> list[Tree]:  # fmt: skip
    """Every growth to its end, `num` restarts a node; outcomes are verified as they come, on the tree's cost."""
    done: dict[int, Tree] = {}
    wishes: dict[int, tuple[Tree, list[int]]] = {}

    def advance(index: int, tree: Tree | None) -> None:
        try:
            wishes[index] = growths[index].send(tree)  # type: ignore[arg-type]
        except StopIteration as ended:
            wishes.pop(index, None)
            done[index] = ended.value

    for index in range(len(growths)):
        advance(index, None)
    while wishes:
        order = sorted(wishes)
        grown = restart([wishes[index][0] for index in order], policy=policy, rng=rng, num=num,
                        nodes=[wishes[index][1] for index in order], delimiter=writing.delimiter,
                        prompt_end=writing.prompt_end, stop=writing.stop, max_new_tokens=writing.max_new_tokens)  # fmt: skip
        for index, tree in zip(order, grown, strict=True):
            before = wishes[index][0]
            advance(index, verified(_with_visits(tree, before.visits_N), verify, first=before.num_nodes))
    return [done[index] for index in range(len(growths))]


def _with_visits(tree: Tree, visits_N: Ints | None) -> Tree:
    """The tree with the visits it had; none at the nodes behind them."""
    if visits_N is None:
        return tree
    return replace(tree, visits_N=np.concatenate([visits_N, np.zeros(tree.num_nodes - len(visits_N), dtype=np.int64)]))


def wrong_attempts(tree: Tree, attempts: Sequence[int], leaves: Sequence[int] | None) -> list[int]:
    """The attempts to label: those asked for, else all scored wrong (reward at most one half).

    Raises ValueError for a leaf asked for that ends no attempt, or one that is not wrong.
    """
    reward_N = tree.reward_N
    wrong = [leaf for leaf in attempts if reward_N[leaf] <= 0.5]
    if leaves is not None and (bad := sorted(set(leaves) - set(wrong))):
        raise ValueError(
            f"problem {tree.problem.id!r}: node {bad[0]} ends no wrong attempt; allowed: {', '.join(map(str, wrong)) or 'none'}"
        )
    return wrong if leaves is None else list(leaves)


def each_leaves(trees: Sequence[Tree], leaves: Sequence[Sequence[int]] | None) -> Sequence[Sequence[int] | None]:
    """One list of leaves a tree, None for all. Raises ValueError for another number of lists."""
    if leaves is None:
        return [None] * len(trees)
    if len(leaves) != len(trees):
        raise ValueError(f"{len(trees)} trees need as many lists of leaves, got {len(leaves)}")
    return leaves
