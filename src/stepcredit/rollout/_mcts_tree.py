"""The search tree of eta-MCTS while it grows: selection, number of children, backup. No policy, no critic, no chance.

    own(s)   = sum_k beta_k critic_k(s) / sum_k beta_k      over the critics that could say something, each in [0, 1]
    q(s)     = mean of own over all evaluations at and below s
    UCB(c)   = q(c) + exploration * sqrt(ln N(s) / N(c))                           ties: the child sampled first
    I(s)     = max_i |v(c_i) - v(s)|,   n(s) = max(children there are, min_n, min(floor(importance * I(s)) + 1, max_n))

N(s) counts evaluations at and below s, so N(s) = 1 + sum of N over its children (plus revisits where an attempt is
over). v is the value critic where there is one, else own; an unknown v(s) is the mean of its children's.
AlphaLLM, arXiv:2404.12253, section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from stepcredit.core.tree import prompt_step
from stepcredit.core.types import Cost, Outcome, Problem, Step, Tree
from stepcredit.rollout._paths import TRUNCATED

CRITICS = ("value", "prm", "outcome")
# Of an option cut at `max_new_tokens`: over for good. TRUNCATED is also said of leaves that the search has not gone on from.
CUT = replace(TRUNCATED, verifier="max_new_tokens")


@dataclass(frozen=True)
class Settings:
    """The numbers of a search; see `rollout/mcts`."""

    num_searches: int = 40
    num_rollouts: int = 4
    exploration: float = 1.0
    importance: float = 2.0
    min_children: int = 2
    max_children: int = 10
    root_min_children: int = 10
    root_max_children: int = 60
    merge_distance: float = 0.0
    max_resamples: int = 5
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    max_steps: int = 32
    token_budget: int | None = None

    def __post_init__(self) -> None:
        least = {"num_searches": 1, "num_rollouts": 0, "exploration": 0, "importance": 0, "max_resamples": 0,
                 "max_steps": 1, "min_children": 1, "root_min_children": 1}  # fmt: skip
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {bound} or more")
        if self.max_children < self.min_children or self.root_max_children < self.root_min_children:
            raise ValueError(f"children {self.min_children} to {self.max_children}, of the root {self.root_min_children} to "
                             f"{self.root_max_children}; allowed: no maximum below its minimum")  # fmt: skip
        if self.merge_distance != -1 and not 0 <= self.merge_distance < 1:
            raise ValueError(
                f"merge_distance is {self.merge_distance}; allowed: 0 (equal texts) up to, not with, 1; -1 (none)"
            )
        if len(self.weights) != 3 or min(self.weights) < 0 or not sum(self.weights) > 0:
            raise ValueError(
                f"weights are {self.weights}; allowed: three (value, prm, outcome), none negative, not all 0"
            )
        if self.token_budget is not None and self.token_budget < 1:
            raise ValueError(f"token_budget is {self.token_budget}; allowed: 1 or more, or None")


@dataclass(frozen=True)
class Rollout:
    """What a fast rollout wrote behind a node, what became of it, and what that is worth (NaN where unscored)."""

    steps: tuple[Step, ...]
    outcome: Outcome | None = None
    score: float = math.nan


@dataclass(frozen=True)
class Visit:
    """One search of one tree, complete.

    With a `step` a node is added behind `node`; else `node` itself is evaluated (again). `over`: the attempt ends, or
    is cut, there. `critics` holds what each said, in [0, 1], NaN where it could not; `waits` says of nodes that found
    no new option at how many visits they try again.
    """

    node: int
    step: Step | None = None
    over: bool = False
    outcome: Outcome | None = None
    critics: Mapping[str, float] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()
    waits: tuple[tuple[int, int], ...] = ()
    cost: Cost = field(default_factory=Cost)


class Growth:
    """The growing tree of one problem; nodes are only ever appended, so numbers stay."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self.problem, self.settings = problem, settings
        self.steps: list[Step] = [prompt_step(problem)]
        self.parents, self.groups, self.depths = [-1], [0], [0]
        self.children: list[list[int]] = [[]]
        self.outcomes: list[Outcome | None] = [None]
        self.visits, self.totals, self.valued = [0], [0.0], [0]
        self.critics: list[Mapping[str, float]] = [{}]
        self.over, self.wait = [False], [0]
        self.scores = [math.nan]  # what finished attempts are worth, at their last node
        self.num_groups = 1
        self.cost = Cost()

    @classmethod
    def of(cls, tree: Tree, settings: Settings) -> Growth:
        """What `tree()` made, to go on with; the critics' words, but the outcome's, are to be set, then `rebuild` called.

        Its q's are those it had, but for a node found over after it was valued by rollouts. Which nodes wait is forgotten.
        Raises ValueError for a tree without visits, or with visits that no search counted, or whose rewards are no
        probabilities.
        """
        if tree.visits_N is None or tree.group_N is None or tree.visits_N[0] < 1:
            raise ValueError(
                f"problem {tree.problem.id!r}: the tree holds no search; allowed: trees that mcts has grown"
            )
        _check_visits(tree)
        own, reward_N, leaves = cls(tree.problem, settings), tree.reward_N, set(tree.leaves)
        if bad := [n for n in leaves if reward_N[n] < 0 or reward_N[n] > 1]:
            raise ValueError(
                f"problem {tree.problem.id!r}: reward {reward_N[bad[0]]} at node {bad[0]}; allowed: 0 to 1"
            )
        rolled: list[list[float]] = [[] for _ in tree.steps]
        roots = [0] * tree.num_nodes
        for node in range(1, tree.num_nodes):
            parent, searched, outcome = int(tree.parent_N[node]), bool(tree.visits_N[node]), tree.outcomes[node]
            own._add(tree.steps[node], parent, int(tree.group_N[node]))
            own.outcomes[node], own.scores[node] = outcome, float(reward_N[node])
            if searched:
                own.children[parent].append(node)
            ends = node in leaves and outcome is not None
            own.over[node] = ends and (not searched or not _is_open(outcome) or own.depths[node] >= settings.max_steps)
            if ends and not own.over[node]:
                own.outcomes[node] = None
            roots[node] = node if searched else parent if tree.visits_N[parent] else roots[parent]
            if node in leaves and not math.isnan(reward_N[node]):
                rolled[roots[node]].append(float(reward_N[node]))
        own.visits = tree.visits_N.tolist()
        own.critics = [{"outcome": sum(found) / len(found)} if found else {} for found in rolled]
        own.num_groups, own.cost = int(tree.group_N.max()) + 1, tree.cost
        return own

    def rebuild(self) -> None:
        """Back all evaluations up anew: a node was evaluated as often as its visits exceed its children's."""
        for node in range(len(self.steps) - 1, -1, -1):
            num, own = self.visits[node] - sum(self.visits[child] for child in self.children[node]), self.own(node)
            known = 0 if math.isnan(own) else num
            self.valued[node] = known + sum(self.valued[child] for child in self.children[node])
            self.totals[node] = known * (own if known else 0.0) + sum(self.totals[c] for c in self.children[node])

    def solution(self, node: int) -> tuple[Step, ...]:
        """The steps from the prompt to a node."""
        found = []
        while node > 0:
            found.append(self.steps[node])
            node = self.parents[node]
        return tuple(reversed(found))

    def is_leaf(self, node: int) -> bool:
        """Whether nothing hangs behind a node, neither an option nor a rollout."""
        return node not in self.parents

    def own(self, node: int) -> float:
        """The node's own evaluation: its critics' weighted mean, in [0, 1]; NaN where none could say."""
        pairs = [(beta, self.critics[node].get(name, math.nan)) for beta, name in zip(self.settings.weights, CRITICS, strict=True)]  # fmt: skip
        known = [(beta, said) for beta, said in pairs if beta > 0 and not math.isnan(said)]
        return sum(beta * said for beta, said in known) / sum(beta for beta, _ in known) if known else math.nan

    def q(self, node: int) -> float:
        """Mean evaluation at and below a node; NaN where there is none."""
        return self.totals[node] / self.valued[node] if self.valued[node] else math.nan

    def importance(self, node: int) -> float:
        """I(s), 0 where fewer than two of the values it compares are known."""
        known = [v for child in self.children[node] if not math.isnan(v := self._value(child))]
        if not known:
            return 0.0
        own = self._value(node)
        return max(abs(v - (sum(known) / len(known) if math.isnan(own) else own)) for v in known)

    def num_children(self, node: int) -> int:
        """n(s): how many children a node may have; never fewer than it has."""
        own = self.settings
        least, most = (own.min_children, own.max_children) if node else (own.root_min_children, own.root_max_children)
        asked = math.floor(own.importance * self.importance(node)) + 1
        return max(len(self.children[node]), least, min(asked, most))

    def ucb(self, child: int) -> float:
        """The child's upper confidence bound; one that no critic could value is taken to be as good as its parent."""
        parent = self.parents[child]
        q = next((q for q in (self.q(child), self.q(parent)) if not math.isnan(q)), 0.5)
        return q + self.settings.exploration * math.sqrt(math.log(self.visits[parent]) / self.visits[child])

    def select(self, waits: Mapping[int, int]) -> tuple[int, bool]:
        """(node, whether to look for a new option there); otherwise the node's attempt is over and is visited again."""
        node = 0
        while not self.over[node]:
            open_again = self.visits[node] >= max(self.wait[node], waits.get(node, 0))
            if len(self.children[node]) < self.num_children(node) and open_again:
                return node, True
            assert self.children[node], "a node waits only after its options repeated those it has"
            node = max(self.children[node], key=self.ucb)  # max keeps the first among equals
        return node, False

    def apply(self, visit: Visit) -> int:
        """Take up a visit and back its value up; returns the node that was evaluated."""
        node = visit.node
        if visit.step is not None:
            node = self._add(visit.step, visit.node, 0)
            self.children[visit.node].append(node)
        if visit.critics:
            self.critics[node] = visit.critics
        self.over[node] = self.over[node] or visit.over
        self.outcomes[node] = visit.outcome if visit.outcome is not None else self.outcomes[node]
        if self.over[node]:
            self.scores[node] = self.critics[node].get("outcome", math.nan)
        for rollout in visit.rollouts:
            self._hang(rollout, node)
        for waiting, until in visit.waits:
            self.wait[waiting] = until
        self.cost += visit.cost
        own, at = self.own(node), node
        while at >= 0:
            self.visits[at] += 1
            if not math.isnan(own):
                self.totals[at] += own
                self.valued[at] += 1
            at = self.parents[at]
        return node

    def tree(self) -> Tree:
        """What has grown: the search in group 0, each fast rollout in a group of its own and without visits.

        A leaf at which no attempt is over has the outcome "truncated": it is no attempt, and no verifier should see it. One
        that was cut at `max_new_tokens` says so as its verifier, so that it stays over when a search goes on from the tree.
        """
        inner, outcomes = set(self.parents), list(self.outcomes)
        for n, one in enumerate(self.outcomes[1:], start=1):
            if one is None and n not in inner and not self.over[n]:
                outcomes[n] = TRUNCATED
            elif self.visits[n] and self.over[n] and _is_open(one) and self.depths[n] < self.settings.max_steps:
                outcomes[n] = CUT
        return Tree(self.problem, tuple(self.steps), np.array(self.parents), tuple(outcomes), np.array(self.visits),
                    np.array(self.groups), self.cost)  # fmt: skip

    def _value(self, node: int) -> float:
        said = self.critics[node].get("value", math.nan)
        return self.own(node) if math.isnan(said) else said

    def _add(self, step: Step, parent: int, group: int) -> int:
        self.steps.append(step)
        self.parents.append(parent)
        self.groups.append(group)
        self.depths.append(self.depths[parent] + 1)
        self.visits.append(0)
        self.totals.append(0.0)
        self.valued.append(0)
        self.wait.append(0)
        self.over.append(False)
        self.scores.append(math.nan)
        self.children.append([])
        self.outcomes.append(None)
        self.critics.append({})
        return len(self.steps) - 1

    def _hang(self, rollout: Rollout, node: int) -> None:
        for step in rollout.steps:
            node = self._add(step, node, self.num_groups)
        self.over[node], self.outcomes[node], self.scores[node] = True, rollout.outcome, rollout.score
        self.num_groups += 1


def _is_open(outcome: Outcome | None) -> bool:
    """Whether it is TRUNCATED, which is no equal of itself once it was read from a file: its reward is NaN."""
    return outcome is not None and (outcome.status, outcome.verifier) == (TRUNCATED.status, TRUNCATED.verifier)


def _check_visits(tree: Tree) -> None:
    """Visits are a search's: each node's cover its own and its children's, and what has none is a rollout in another group."""
    assert tree.visits_N is not None and tree.group_N is not None
    visits_N, below_N = tree.visits_N, np.zeros(tree.num_nodes, dtype=np.int64)
    np.add.at(below_N, tree.parent_N[1:], visits_N[1:])
    where = f"problem {tree.problem.id!r}: the tree holds no search of mcts: node"
    if bad := np.flatnonzero(visits_N < below_N + (visits_N > 0)).tolist():
        raise ValueError(f"{where} {bad[0]} has {visits_N[bad[0]]} visits, its children together {below_N[bad[0]]}; "
                         "allowed: its children's and one of its own, or more; none without any below")  # fmt: skip
    for node in range(1, tree.num_nodes):
        parent = int(tree.parent_N[node])
        if not visits_N[node] and visits_N[parent] and tree.group_N[node] == tree.group_N[parent]:
            raise ValueError(f"{where} {node} has no visits and stands in the group of node {parent}, which has; "
                             "allowed without visits: rollouts, in groups of their own")  # fmt: skip
