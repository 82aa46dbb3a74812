"""Building trees out of attempts, and reading them node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.types import Bools, Cost, Floats, Ints, Outcome, Problem, Step, Tree


def star(problem: Problem, attempts: Sequence[Sequence[Step]], outcomes: Sequence[Outcome | None] | None = None,
         *, cost: Cost | None = None) -> Tree:  # fmt: skip
    """A star of chains: the attempts share the prompt and nothing else.

    Raises ValueError for an attempt without steps: it has no leaf to carry its outcome.

    >>> star(Problem("p", "2+3=?"), [[Step("5")], [Step("2+3=6"), Step("6")]]).leaves
    (1, 3)
    """
    given: list[Outcome | None] = [None] * len(attempts) if outcomes is None else list(outcomes)
    if len(given) != len(attempts):
        raise ValueError(f"{len(attempts)} attempts need as many outcomes, got {len(given)}")
    steps, parents = [prompt_step(problem)], [-1]
    leaf_outcomes: list[Outcome | None] = [None]
    groups = [0]
    for index, (attempt, outcome) in enumerate(zip(attempts, given, strict=True)):
        if not attempt:
            raise ValueError(f"problem {problem.id!r}: attempt {index} has no step")
        for position, step in enumerate(attempt):
            parents.append(0 if position == 0 else len(steps) - 1)
            steps.append(step)
            leaf_outcomes.append(outcome if position == len(attempt) - 1 else None)
            groups.append(index)
    parent_N, group_N = np.array(parents), np.array(groups)
    return Tree(problem, tuple(steps), parent_N, tuple(leaf_outcomes), group_N=group_N, cost=cost or Cost())


def prompt_step(problem: Problem) -> Step:
    """Node 0 of every tree."""
    return Step(problem.prompt, kind="prompt", sampled=False)


def merge(trees: Sequence[Tree]) -> Tree:
    """Trees of one problem joined at the prompt; groups are renumbered so that none collide.

    Visits are kept when every tree has them: the prompt's add up.
    """
    if len({tree.problem.id for tree in trees}) != 1:
        raise ValueError("only trees of the same problem can be merged")
    steps: list[Step] = [trees[0].steps[0]]
    parents, outcomes, groups = [-1], [trees[0].outcomes[0]], [0]
    next_group = 0
    for tree in trees:
        offset = len(steps) - 1
        steps.extend(tree.steps[1:])
        parents.extend(0 if p == 0 else int(p) + offset for p in tree.parent_N[1:])
        outcomes.extend(tree.outcomes[1:])
        own = tree.group_N if tree.group_N is not None else np.zeros(tree.num_nodes, dtype=np.int64)
        groups.extend((own[1:] + next_group).tolist())
        next_group += int(own.max()) + 1
    cost = sum((tree.cost for tree in trees), Cost())
    counted = [tree.visits_N for tree in trees if tree.visits_N is not None]
    visits = None
    if len(counted) == len(trees):
        visits = np.concatenate([[sum(visits_N[0] for visits_N in counted)], *(visits_N[1:] for visits_N in counted)])
    return Tree(trees[0].problem, tuple(steps), np.array(parents), tuple(outcomes), visits, np.array(groups), cost)


def children(tree: Tree) -> list[list[int]]:
    """Children of every node, in node order."""
    found: list[list[int]] = [[] for _ in range(tree.num_nodes)]
    for node in range(1, tree.num_nodes):
        found[tree.parent_N[node]].append(node)
    return found


def depth(tree: Tree) -> Ints:
    """Steps from the prompt, [N]; the prompt is 0."""
    depth_N = np.zeros(tree.num_nodes, dtype=np.int64)
    for node in range(1, tree.num_nodes):
        depth_N[node] = depth_N[tree.parent_N[node]] + 1
    return depth_N


def scored_below(tree: Tree, reward_N: Floats | None = None) -> tuple[Floats, Ints]:
    """Sum of the scored rewards at and below each node, and how many there are: ([N], [N]).

    `reward_N` stands in for the tree's own rewards; NaN is unscored.
    """
    reward_N = tree.reward_N if reward_N is None else reward_N
    sum_N = np.where(np.isnan(reward_N), 0.0, reward_N)
    num_N = (~np.isnan(reward_N)).astype(np.int64)
    for node in range(tree.num_nodes - 1, 0, -1):
        parent = tree.parent_N[node]
        sum_N[parent] += sum_N[node]
        num_N[parent] += num_N[node]
    return sum_N, num_N


def with_outcomes(tree: Tree, outcome_of: dict[int, Outcome]) -> Tree:
    """The same tree with these outcomes at these nodes."""
    return replace(tree, outcomes=tuple(outcome_of.get(n, o) for n, o in enumerate(tree.outcomes)))


def prefix_labels(label_S: Floats) -> Floats:
    """'No error so far' from per-step labels, [S]: 1 before the first 0, 0 from it on; NaN spreads until a 0 decides.

    >>> prefix_labels(np.array([1.0, 0.0, np.nan, 1.0]))
    array([1., 0., 0., 0.])
    """
    out = np.asarray(label_S, dtype=np.float64).copy()
    first = first_error(label_S)
    if first >= 0:
        out[first:] = 0.0
    unknown = np.isnan(out[: first if first >= 0 else len(out)])
    if unknown.any():
        out[int(np.argmax(unknown)) : first if first >= 0 else len(out)] = np.nan
    return out


def first_error(label_S: Floats) -> int:
    """0-based index of the first step labelled 0, -1 when there is none."""
    wrong: Bools = np.asarray(label_S) == 0
    return int(np.argmax(wrong)) if wrong.any() else -1


def prefix_of(tree: Tree) -> Ints:
    """The node that stands for each node's prefix, [N]: nodes whose paths read the same share the earliest of them.

    >>> first, second = [Step("a"), Step("b")], [Step("a"), Step("c")]
    >>> prefix_of(star(Problem("p", "?"), [first, second])).tolist()
    [0, 1, 2, 1, 4]
    """
    known: dict[tuple[int, str, bool], int] = {}
    prefix_N = np.zeros(tree.num_nodes, dtype=np.int64)
    for node in range(1, tree.num_nodes):
        step = tree.steps[node]
        prefix_N[node] = known.setdefault((int(prefix_N[tree.parent_N[node]]), step.text, step.sampled), node)
    return prefix_N
