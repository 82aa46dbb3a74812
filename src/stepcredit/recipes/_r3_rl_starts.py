"""Where attempts start, update by update: at the prompt, mixed, one stage after another, or as far back as the policy reaches.

    scratch   k = 0
    mix       k drawn: 0 with probability `share`, else 1..S-1 alike         R3, arXiv:2402.05808, section 3.3
    staged    k = S-1, then S-2, ... 0, each for an equal part of the budget   the paper's staged RL, section 3.2
    adaptive  k = floor(rho S),  rho ~ U(least, most) of that problem, rho = 0 with probability .1
              half of the group right or more: most = rho, least = 0; else least = rho          AdaBack, arXiv:2506.18110

Each is a rollout for `train/grpo`: all grow `rollout/given`, a star of attempts behind a start. Staged and adaptive remember what
came before, so each arm needs one of its own. Departs: AdaBack reveals a share of the tokens, here whole steps, so that a start
is at a border of steps; its threshold is a knob, .5 as in `_r3_border`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from stepcredit.core.protocols import Policy, Rng, Solution, Verifier
from stepcredit.core.types import Outcome, Problem, Tree
from stepcredit.train.grpo import Rollout

Grow = Callable[..., list[Tree]]  # `rollout/given` with all but problems, policy, rng and starts


def scratch(grow: Grow) -> Rollout:
    """Every attempt from the prompt."""
    return partial(_at, grow, 0)


def mix(grow: Grow, share: float | None) -> Rollout:
    """All starts in every batch, the prompt with probability `share` (None: as often as any other)."""

    def rollout(problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        return grow(problems, policy=policy, rng=draw, scratch=share)

    return rollout


def stage(length: int, done: float) -> int:
    """The start of the stage that a demonstration of `length` steps is in when `done` of the budget, 0 to 1, is spent.

    >>> [stage(4, done) for done in (0.0, 0.24, 0.25, 0.5, 0.99, 1.2)]
    [3, 3, 2, 1, 0, 0]
    """
    return max(length - 1 - int(done * length), 0)


@dataclass
class Staged:
    """One start after another, from the last step back to the prompt; `budget` in generated tokens."""

    grow: Grow
    budget: int
    spent: int = 0

    def __call__(self, problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        starts = [stage(len(problem.reference or ()), self.spent / self.budget) for problem in problems]
        trees = self.grow(problems, policy=policy, rng=draw, starts=starts)
        self.spent += sum(tree.cost.generated_tokens for tree in trees)
        return trees


@dataclass
class Adaptive:
    """AdaBack: how much of each demonstration is revealed follows how its group fared when it came last."""

    grow: Grow
    threshold: float = 0.5
    share: float = 0.1  # with nothing revealed, whatever happened
    between: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        shares = [0.0 if draw.random() < self.share else float(draw.uniform(*self.between.get(problem.id, (0.0, 1.0))))
                  for problem in problems]  # fmt: skip
        lengths = [len(problem.reference or ()) for problem in problems]
        starts = [min(int(rho * num), num - 1) for rho, num in zip(shares, lengths, strict=True)]
        trees = self.grow(problems, policy=policy, rng=draw, starts=starts)
        for problem, rho, tree in zip(problems, shares, trees, strict=True):
            self.between[problem.id] = moved(
                self.between.get(problem.id, (0.0, 1.0)), rho, right_share(tree), self.threshold
            )
        return trees


def moved(between: tuple[float, float], rho: float, right: float, threshold: float = 0.5) -> tuple[float, float]:
    """The interval after a group at `rho`. A share drawn below it (the forced 0) never widens it upwards.

    >>> moved((0.0, 1.0), 0.6, 0.25), moved((0.6, 1.0), 0.8, 0.5), moved((0.6, 0.8), 0.0, 0.0)
    ((0.6, 1.0), (0.0, 0.8), (0.6, 0.8))
    """
    least, most = between
    return (0.0, min(rho, most)) if right >= threshold else (max(rho, least), most)


def right_share(tree: Tree) -> float:
    """Right attempts of a group; one that is cut or cannot be read is wrong."""
    found = [tree.outcomes[leaf] for leaf in tree.leaves]
    return float(np.mean([bool(outcome is not None and outcome.correct) for outcome in found]))


def with_partial_reward(verify: Verifier, reward: float) -> Verifier:
    """The paper's reward for an answer that can be read and is wrong (.2 on GSM8K, .1 on SVAMP); 0 leaves all as it is.

    `correct` stays False, so that no accuracy counts it. Raises ValueError outside [0, .5): above, wrong would read as right.
    """
    if not 0.0 <= reward < 0.5:
        raise ValueError(f"partial reward {reward}; allowed: 0 to below .5")

    def decide(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        return [replace(one, reward=reward) if one.status == "scored" and not one.correct and one.well_formed else one
                for one in verify(problem, solutions)]  # fmt: skip

    return decide if reward else verify


def _at(grow: Grow, start: int, problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
    return grow(problems, policy=policy, rng=draw, starts=[start] * len(problems))
