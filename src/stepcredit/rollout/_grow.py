"""Growing trees whose next rollout depends on the last: one growth a tree, all trees' wishes of a round in one call.

A growth is a generator that yields (its tree, the nodes to restart from) and is sent the grown tree; its value is the
finished one. All it knows is in the tree, so a tree kept from a run that was interrupted, given again, goes on where it
stood. `keep(index, tree)` is called with every tree that a round has grown, before the next round begins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Policy, Rng, Verifier
from stepcredit.core.types import Cost, Tree
from stepcredit.rollout.restart import restart

Growth = Generator[tuple[Tree, list[int]], Tree, Tree]
Keep = Callable[[int, Tree], None]


def grow(growths: Sequence[Growth], *, policy: Policy, verify: Verifier, rng: Rng, num: int, keep: Keep | None,
         delimiter: str, prompt_end: str, stop: Sequence[str], max_new_tokens: int) -> list[Tree]:  # fmt: skip
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
                        nodes=[wishes[index][1] for index in order], delimiter=delimiter, prompt_end=prompt_end,
                        stop=stop, max_new_tokens=max_new_tokens)  # fmt: skip
        for index, tree in zip(order, grown, strict=True):
            tree = _verified(tree, wishes[index][0], verify)
            if keep is not None:
                keep(index, tree)
            advance(index, tree)
    return [done[index] for index in range(len(growths))]


def _verified(tree: Tree, before: Tree, verify: Verifier) -> Tree:
    """The tree with outcomes at its new leaves, and the visits it had."""
    new = [leaf for leaf in tree.leaves if leaf >= before.num_nodes and tree.outcomes[leaf] is None]
    found = verify(tree.problem, [tree.solution(leaf) for leaf in new]) if new else []
    outcome_of = dict(zip(new, found, strict=True))
    visits_N = before.visits_N
    if visits_N is not None:
        visits_N = np.concatenate([visits_N, np.zeros(tree.num_nodes - before.num_nodes, dtype=np.int64)])
    outcomes = tuple(outcome_of.get(node, outcome) for node, outcome in enumerate(tree.outcomes))
    return replace(tree, outcomes=outcomes, visits_N=visits_N, cost=tree.cost + Cost(verifier_calls=len(new)))


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
