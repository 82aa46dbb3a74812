"""What searches that write share: an attempt grown a step at a time, what was found, what was asked and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.protocols import Judge, Policy, Rng, Solution
from stepcredit.core.tree import prompt_step
from stepcredit.core.types import Cost, Judgment, Problem, Step, Tree
from stepcredit.rollout._mcts_options import Option, draw
from stepcredit.rollout._paths import TRUNCATED
from stepcredit.rollout._spent import judging, shares, spent
from stepcredit.rollout._writing import Writing


@dataclass(frozen=True, eq=False)
class Found:
    """What a search wrote, with its cost, and the leaf it chose.

    A leaf at which nothing ends (dropped, rejected, or cut) has the outcome "truncated"; the others have none: a search
    with a judge sees no verifier.
    """

    tree: Tree
    leaf: int

    @property
    def solution(self) -> tuple[Step, ...]:
        """The chosen attempt."""
        return self.tree.solution(self.leaf)


class Sprout:
    """The growing tree of one problem's search. Nodes are only appended."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.steps: list[Step] = [prompt_step(problem)]
        self.parents = [-1]
        self.over: dict[int, bool] = {}  # nodes at which an attempt ends; True: cut there
        self.copies: dict[int, int] = {}  # where an attempt that ends with the node has its leaf
        self.cost = Cost()

    def solution(self, node: int) -> tuple[Step, ...]:
        """The steps from the prompt to a node."""
        found = []
        while node > 0:
            found.append(self.steps[node])
            node = self.parents[node]
        return tuple(reversed(found))

    def add(self, node: int, option: Option) -> int:
        """Write an option behind a node; returns the new node, or the leaf of the attempt that ends there.

        Where an attempt ends and others go on, a copy of the node stands beside it, so that each has a leaf of its own;
        one that ends before its first step is the empty step. Take up the options that go on first.
        """
        if option.step is not None:
            new = self._append(node, option.step)
            if option.ended or option.cut:
                self.over[new] = option.cut
            return new
        if node not in self.copies:
            inner = node == 0 or node in self.parents
            own = self.steps[node] if node else Step("")
            self.copies[node] = self._append(max(self.parents[node], 0), own) if inner else node
            self.over[self.copies[node]] = False
        return self.copies[node]

    def tree(self) -> Tree:
        """What has grown."""
        inner = set(self.parents)
        outcomes = [
            TRUNCATED if n and n not in inner and self.over.get(n, True) else None for n in range(len(self.steps))
        ]
        return Tree(self.problem, tuple(self.steps), np.array(self.parents), tuple(outcomes), cost=self.cost)

    def _append(self, parent: int, step: Step) -> int:
        self.steps.append(step)
        self.parents.append(parent)
        return len(self.steps) - 1


def write(policy: Policy, asked: Sequence[tuple[Sprout, Solution]], num: int, rng: Rng, writing: Writing) -> list[list[Option]]:  # fmt: skip
    """`num` options behind each attempt so far, [len(asked)][num]; what they cost goes to their trees."""
    before = spent(policy)
    found = draw(policy, [writing.prefix(sprout.problem, steps) for sprout, steps in asked], num, rng, writing)
    forwarded = spent(policy).forwarded_tokens - before.forwarded_tokens
    for (sprout, _), group, share in zip(asked, found, shares(forwarded, len(asked)), strict=True):
        sprout.cost += sum((one.cost for one in group), Cost(forwarded_tokens=share))
    return found


def judge_all(judge: Judge, asked: Sequence[tuple[Sprout, Solution]]) -> list[Judgment]:
    """What the judge says of attempts so far, all in one call; what it cost goes to their trees."""
    if not asked:
        return []
    found = judge([(sprout.problem, steps) for sprout, steps in asked])
    for (sprout, _), judgment in zip(asked, found, strict=True):
        sprout.cost += judging(judgment)
    return found
