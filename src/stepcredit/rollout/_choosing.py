"""Which nodes of a tree are continued, and the rounds of continuing them: what all rollouts that branch share.

A node can be continued where the policy wrote what follows it: nodes that end no attempt, and no call whose result is still to
come, which belongs to the same turn. In what order, and with what ties: `rollout/branch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from stepcredit.core.protocols import Judge, Rng
from stepcredit.core.tree import prompt_step
from stepcredit.core.types import Problem, Tree
from stepcredit.rollout._branching import pruned
from stepcredit.rollout._paths import Start
from stepcredit.rollout._spent import judging

Choose = Literal["random", "entropy", "judge"]
Continue = Callable[[Sequence[Tree], Sequence[Sequence[Start]]], list[Tree]]  # each tree, continued from its starts


@dataclass(frozen=True)
class Branching:
    """M trees, N nodes of each in L rounds, K leaves kept (None: all). Raises ValueError for what cannot be."""

    num_trees: int
    num_nodes: int
    num_rounds: int
    num_leaves: int | None
    root: bool
    choose: Choose
    judge: Judge | None

    def __post_init__(self) -> None:
        if self.choose not in get_args(Choose) or (self.choose == "judge") != (self.judge is not None):
            raise ValueError(f"choose is {self.choose!r}, judge {'given' if self.judge else 'not given'}; allowed: "
                             f"{', '.join(get_args(Choose))}, a judge with judge alone")  # fmt: skip
        most = 1 + self.num_rounds * self.num_nodes
        kept = most if self.num_leaves is None else self.num_leaves
        if self.num_trees < 1 or self.num_nodes < 1 or self.num_rounds < 0 or not 1 <= kept <= most:
            raise ValueError(f"{self.num_trees} trees, {self.num_nodes} nodes, {self.num_rounds} rounds, {kept} leaves; "
                             f"allowed: 1 or more, 1 or more, 0 or more, 1 to {most}")  # fmt: skip


def branched(problems: Sequence[Problem], go_on: Continue, rng: Rng, how: Branching) -> list[Tree]:
    """One Tree a problem: `num_trees` attempts from the prompt, then the rounds, then leaves are drawn."""
    trees = [
        Tree(problem, (prompt_step(problem),), np.array([-1]), (None,), group_N=np.array([0])) for problem in problems
    ]
    trees = go_on(trees, [[(0, group) for group in range(how.num_trees)] for _ in trees])
    for _ in range(how.num_rounds):
        scores: Sequence[dict[Start, float] | None]
        if how.judge is not None:
            trees, scores = _judged(trees, how.judge)
        else:
            scores = [_surprise(tree) if how.choose == "entropy" else None for tree in trees]
        starts = [
            [(node, group) for group in range(how.num_trees) for node in _chosen(tree, group, score, how, rng)]
            for tree, score in zip(trees, scores, strict=True)
        ]
        trees = go_on(trees, starts)
    return [tree if how.num_leaves is None else pruned(tree, how.num_leaves, rng) for tree in trees]


def _chosen(tree: Tree, group: int, score: dict[Start, float] | None, how: Branching, rng: Rng) -> list[int]:
    """The nodes to continue in one of the trees; `score`: the highest first, unscored ones never."""
    nodes = [node for node in _candidates(tree, group) if node or how.root]
    if score is None:
        return [nodes[index] for index in rng.integers(len(nodes), size=how.num_nodes)] if nodes else []
    known = [node for node in nodes if (node, group) in score]
    best = sorted(known, key=lambda node: (-score[node, group], node))
    return [best[place % len(best)] for place in range(how.num_nodes)] if best else []


def _candidates(tree: Tree, group: int) -> list[int]:
    """The prompt and the nodes of one of the trees that the policy went on from."""
    assert tree.group_N is not None
    went_on = {int(tree.parent_N[node]) for node in range(1, tree.num_nodes) if tree.steps[node].sampled}
    return [0, *(node for node in range(1, tree.num_nodes) if tree.group_N[node] == group and node in went_on)]


def _surprise(tree: Tree) -> dict[Start, float]:
    """Mean over the children of a node in each tree of their mean -log p a token."""
    assert tree.group_N is not None
    found: dict[Start, list[float]] = {}
    for node in range(1, tree.num_nodes):
        logprobs = tree.steps[node].logprobs
        if logprobs is None and tree.steps[node].sampled:
            raise ValueError(f"problem {tree.problem.id!r}: choosing by entropy needs log-probabilities, "
                             "and this policy gives none with its steps")  # fmt: skip
        if logprobs:
            found.setdefault((int(tree.parent_N[node]), int(tree.group_N[node])), []).append(-float(np.mean(logprobs)))
    return {start: float(np.mean(own)) for start, own in found.items()}


def _judged(trees: Sequence[Tree], judge: Judge) -> tuple[list[Tree], list[dict[Start, float]]]:
    """The trees with what judging their attempts cost, and minus the distance of each node's judgment from 1/2.

    What is said of a call is said of the turn, and so of its result, which is where the policy goes on.
    """
    judgments = iter(judge([(tree.problem, tree.solution(leaf)) for tree in trees for leaf in tree.leaves]))
    grown, scores = [], []
    for tree in trees:
        assert tree.group_N is not None
        found: dict[Start, list[float]] = {}
        cost = tree.cost
        for leaf in tree.leaves:
            judgment = next(judgments)
            cost += judging(judgment)
            if judgment.status == "scored":
                for turn, said in zip(_turns(tree, tree.path(leaf)), judgment.step_scores_S, strict=True):
                    if not np.isnan(said):
                        found.setdefault((turn[-1], int(tree.group_N[leaf])), []).append(float(said))
        grown.append(replace(tree, cost=cost))
        scores.append({start: -abs(float(np.mean(said)) - 0.5) for start, said in found.items()})
    return grown, scores


def _turns(tree: Tree, path: Sequence[int]) -> list[list[int]]:
    """The sampled nodes of a path, each with the unsampled ones behind it."""
    found: list[list[int]] = []
    for node in path:
        if tree.steps[node].sampled:
            found.append([node])
        elif found:
            found[-1].append(node)
    return found
