"""What a baseline may be shared among: attempts at the same problem that begin with the same given steps, and no others.

    group = (problem id, prompt, texts of the steps before the first that the policy wrote)

R3 (arXiv:2402.05808) and its like start attempts at one problem from many places; a success from late on a demonstration is no
baseline for one from the prompt. GRPO (arXiv:2402.03300) groups by question. A group is never a place in a dataset, as in
peers' code: places of merged datasets collide. Degenerate: a tree without leaves is in no group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.types import Cost, Ints, Tree

Start = tuple[str, str, tuple[str, ...]]
Part = tuple[Tree, list[int]]  # a tree and some of its leaves


def num_given(tree: Tree, leaf: int) -> int:
    """How many steps of an attempt stand before the first that the policy wrote."""
    path = tree.path(leaf)
    return next((place for place, node in enumerate(path) if tree.steps[node].sampled), len(path))


def starts_of(tree: Tree) -> dict[Start, list[int]]:
    """The leaves of a tree by where their attempts start."""
    found: dict[Start, list[int]] = {}
    for leaf in tree.leaves:
        given = tuple(tree.steps[node].text for node in tree.path(leaf)[: num_given(tree, leaf)])
        found.setdefault((tree.problem.id, tree.problem.prompt, given), []).append(leaf)
    return found


def grouped(trees: Sequence[Tree]) -> list[Tree]:
    """One tree a start, in the order in which starts are met; a tree whose attempts start in several places is taken apart.

    The given steps stand once in it. A given tree's cost is on the first that it goes into; visits are kept where all have them.
    """
    parts: dict[Start, list[Part]] = {}
    for tree in trees:
        for start, leaves in starts_of(tree).items():
            parts.setdefault(start, []).append((tree, leaves))
    paid: set[int] = set()
    found = []
    for start, own in parts.items():
        cost = sum((tree.cost for tree, _ in own if id(tree) not in paid), Cost())
        paid.update(id(tree) for tree, _ in own)
        found.append(_joined(own, len(start[2]), cost)[0])
    return found


def apart(tree: Tree) -> list[tuple[Tree, Ints]]:
    """`grouped` of one tree, and for every node of each tree of it the node of the given tree that it was, [N].

    Of given steps that stood several times it is the first. A node that is not given is in one of the trees.
    """
    found = []
    for number, (start, leaves) in enumerate(starts_of(tree).items()):
        own, was = _joined([(tree, leaves)], len(start[2]), tree.cost if number == 0 else Cost())
        found.append((own, np.array(was, dtype=np.int64)))
    return found


def _joined(parts: Sequence[Part], given: int, cost: Cost) -> tuple[Tree, list[int]]:
    """The attempts that share their first `given` steps as one tree, in which these are nodes 1 to `given`; and what its nodes were."""
    tree, leaves = parts[0]
    chains = {tree.path(leaf)[:given] for leaf in leaves}
    if len(parts) == 1 and len(leaves) == len(tree.leaves) and len(chains) == 1:
        return tree if tree.cost == cost else replace(tree, cost=cost), list(range(tree.num_nodes))
    first = tree.path(leaves[0])[:given]
    was = [0, *first]
    steps = [tree.steps[node] for node in was]
    outcomes = [tree.outcomes[node] for node in was]
    parents, groups = list(range(-1, given)), [0] * (given + 1)
    counted = [one.visits_N for one, _ in parts]
    visits = (
        None
        if any(own is None for own in counted)
        else [sum(int(v[0]) for v in counted if v is not None)] + [0] * given
    )
    next_group = 0
    for one, own in parts:
        place = {0: 0}
        for leaf in own:
            place.update((node, depth) for depth, node in enumerate(one.path(leaf)[:given], start=1))
        for node in sorted({node for leaf in own for node in one.path(leaf)[given:]}):
            place[node] = len(steps)
            was.append(node)
            steps.append(one.steps[node])
            outcomes.append(one.outcomes[node])
            parents.append(place[int(one.parent_N[node])])
            groups.append(next_group + (0 if one.group_N is None else int(one.group_N[node])))
            if visits is not None and one.visits_N is not None:
                visits.append(int(one.visits_N[node]))
        next_group = max(groups) + 1
    joined = Tree(tree.problem, tuple(steps), np.array(parents), tuple(outcomes),
                  None if visits is None else np.array(visits), np.array(groups), cost)  # fmt: skip
    return joined, was
