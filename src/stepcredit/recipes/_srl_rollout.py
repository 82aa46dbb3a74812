"""One next step behind an expert's, and dynamic sampling: how supervised reinforcement learning grows its trees.

    instance (x, k):  prompt x, an expert's steps 1..k-1 as given;  G samples of one step, rewarded against the expert's step k
    batch:            instances whose G rewards vary, std > epsilon; others are drawn in place of those that do not

SRL, arXiv:2510.25992, sections 3.2 and 3.3. Departs: the last step is an instance too (the paper has N - 1 of N), for it is
what ends an attempt here; a batch that is not full after `max_rounds` of drawing goes as it is, as an endless one would starve.
Tokens of what is dropped stand on the cost of the first tree that is kept: sampling is paid for, kept or not.
Degenerate: where no rewards vary, the last batch is handed on, all equal, which is an update with gradient 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.tree import prompt_step
from stepcredit.core.types import Cost, Floats, Outcome, Problem, Step, Tree
from stepcredit.credit.expert_similarity import action_of, varies
from stepcredit.rollout._writing import Writing, ask
from stepcredit.train.grpo import Rollout

Reward = Callable[[Tree], Floats]


def instances(problems: Sequence[Problem]) -> list[Problem]:
    """A problem for every step of each expert's solution (`Problem.reference`); `meta["given"]` says how many stand before it.

    >>> [(one.id, one.meta["given"]) for one in instances([Problem("p", "x", reference=("first", "second"))])]
    [('p/0', 0), ('p/1', 1)]
    """
    return [replace(problem, id=f"{problem.id}/{given}", meta={**problem.meta, "given": given})
            for problem in problems for given in range(len(problem.reference or ()))]  # fmt: skip


def next_steps(
    problems: Sequence[Problem], policy: Policy, draw: Rng, *, num: int = 8, max_new_tokens: int = 16
) -> list[Tree]:
    """A tree an instance: the given steps as a stem that the policy did not write, and `num` samples of one step behind it.

    A step ends with its line; one that is cut at `max_new_tokens` keeps what it has, and its format tells. Its outcome is whether
    its action is the expert's to the letter, which the trainer logs and no credit here reads.
    """
    writing = Writing(stop=("\n",), max_new_tokens=max_new_tokens)
    stems = [[Step(text, sampled=False) for text in (p.reference or ())[: p.meta["given"]]] for p in problems]
    prefixes = [writing.prefix(problem, stem) for problem, stem in zip(problems, stems, strict=True)]
    groups, costs = ask(policy, prefixes, num, draw, writing)
    trees = []
    for problem, stem, group, cost in zip(problems, stems, groups, costs, strict=True):
        written = [writing.steps(one, policy)[0] for one in group]
        steps = (prompt_step(problem), *stem, *written)
        parent_N = np.array([-1, *range(len(stem)), *[len(stem)] * len(written)])
        outcomes = (*[None] * (1 + len(stem)), *[_outcome(problem, step) for step in written])
        trees.append(Tree(problem, steps, parent_N, outcomes, cost=cost))
    return trees


def _outcome(problem: Problem, step: Step) -> Outcome:
    action = action_of(step.text)
    same = action == (problem.reference or ())[problem.meta["given"]]
    return Outcome(float(same), same, action is not None, action, verifier="expert")


@dataclass
class Kept:
    """How many groups were drawn, and how many of them had rewards that vary."""

    drawn: int = 0
    varied: int = 0
    rounds: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """NaN before anything is drawn."""
        return self.varied / self.drawn if self.drawn else float("nan")


def dynamic(
    grow: Rollout, reward: Reward, pool: Sequence[Problem], *, epsilon: float = 1e-3, max_rounds: int = 4, kept: Kept | None = None,
) -> Rollout:  # fmt: skip
    """The rollout that hands on groups whose rewards vary by more than `epsilon`, and draws others of `pool` for the rest.

    A batch asks for as many groups as it has problems, in at most `max_rounds` rounds; `kept` is counted up. No group is in a
    batch twice. Raises ValueError for `max_rounds` below 1 or a negative `epsilon`.
    """
    if max_rounds < 1 or epsilon < 0:
        raise ValueError(f"max_rounds is {max_rounds}, epsilon {epsilon}; allowed: 1 or more, 0 or more")
    count = kept or Kept()

    def rollout(problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        found: list[Tree] = []
        dropped: list[Tree] = []
        asked, tried = list(problems), {problem.id for problem in problems}
        for round_ in range(1, max_rounds + 1):
            for tree in grow(asked, policy, draw):
                keeps = varies(reward(tree), epsilon)
                count.drawn, count.varied = count.drawn + 1, count.varied + keeps
                (found if keeps else dropped).append(tree)
            missing = len(problems) - len(found)
            left = [problem for problem in pool if problem.id not in tried] if missing else []
            if not left or round_ == max_rounds:
                break
            asked = [left[at] for at in draw.choice(len(left), min(missing, len(left)), replace=False)]
            tried |= {problem.id for problem in asked}
        count.rounds.append(round_)
        if not found:
            found, dropped = dropped[-len(problems) :], dropped[: -len(problems)]
        spent = sum((tree.cost for tree in dropped), Cost())
        return [replace(found[0], cost=found[0].cost + spent), *found[1:]]

    return rollout
