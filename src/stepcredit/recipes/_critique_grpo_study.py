"""One seed of `recipes/critique_grpo`: which problems are on the plateau, each arm trained and tested on them.

The plateau is those problems none of whose attempts by the start policy was right. It is tested by new attempts, since what failed
eight times by chance does not fail the ninth: the start policy's own share there, "start", is what is to be beaten.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepcredit.core.protocols import Policy
from stepcredit.core.rng import rng
from stepcredit.core.stats import clustered_mean
from stepcredit.core.types import Estimate, Floats, Problem
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._critique_grpo_arms import arm_of
from stepcredit.recipes._critique_grpo_world import Scale, World
from stepcredit.recipes._rl import correct, train_arm, verified_rollout
from stepcredit.rollout.chains import chains
from stepcredit.train.grpo import Settings


@dataclass(frozen=True)
class Size:
    """The world, an update, the attempts by which a plateau is told and tested, and how often it is tested on the way."""

    scale: Scale
    settings: Settings
    num_attempts: int = 8
    every: int = 0


@dataclass
class Study:
    """One seed: the same start policy, plateau and draws of the test for all arms."""

    plan: Size
    world: World

    @functools.cached_property
    def stuck(self) -> Plateau:
        """What the start policy never solves."""
        return plateau(self.world, self.plan.num_attempts, self.plan.settings.max_new_tokens)

    def run(self, name: str) -> ArmResult:
        """An arm trained and tested, with what its groups were; "start" is only tested."""
        plan = self.plan
        test = plateau_test(self.world, self.stuck, plan.num_attempts, plan.settings.max_new_tokens)
        if name == "start":
            return ArmResult({**test(self.world.policy()), **_shares(self._sizes())})
        arm, counted = arm_of(name, self.world, plan.settings)
        done = train_arm(
            self.world.folder, self.world.problems["train"], arm, test=test, seed=self.world.seed, every=plan.every
        )
        return ArmResult({**done.estimates, **_shares(counted.shares())}, curve=done.curve, cost=done.cost)

    def _sizes(self) -> dict[str, float]:
        """The shares of problems on the plateau."""
        problems = self.world.problems
        return {f"{name} problems on the plateau": len(getattr(self.stuck, name)) / len(problems[name]) for name in ("train", "test")}  # fmt: skip


def _shares(counts: Mapping[str, float]) -> dict[str, Estimate]:
    nan = float("nan")
    return {name: Estimate(value, nan, nan, 1, "share") for name, value in counts.items() if value == value}


@dataclass(frozen=True)
class Plateau:
    """Problems none of whose attempts by the start policy was right, of those trained on and of those held out."""

    train: list[Problem]
    test: list[Problem]


def plateau(world: World, num: int, max_new_tokens: int) -> Plateau:
    """Those that fail `num` times under the start policy."""
    rollout = verified_rollout(chains, world.task.verify, num=num, max_new_tokens=max_new_tokens)
    found = {}
    for name in ("train", "test"):
        trees = rollout(world.problems[name], world.policy(), rng(world.seed, "plateau", name))
        found[name] = [tree.problem for tree in trees if not any(correct(tree, leaf) for leaf in tree.leaves)]
    return Plateau(**found)


def plateau_test(
    world: World, stuck: Plateau, num: int, max_new_tokens: int
) -> Callable[[Any], Mapping[str, Estimate]]:
    """Shares of right attempts at held-out problems, at those of the plateau, and how many of these are solved at all.

    Nobody is shown a critique. Attempts are new ones, the same draws for every arm. `surprise`: mean -log p a token.
    """
    rollout = verified_rollout(chains, world.task.verify, num=num, max_new_tokens=max_new_tokens)

    def test(policy: Policy) -> dict[str, Estimate]:
        found: dict[str, Estimate] = {}
        for name, problems in {"success": world.problems["test"], "held-out plateau": stuck.test,
                               "train plateau": stuck.train}.items():  # fmt: skip
            trees = rollout(problems, policy, rng(world.seed, "test", name)) if problems else []
            right = [np.array([correct(tree, leaf) for leaf in tree.leaves]) for tree in trees]
            found[name] = _mean([float(own.mean()) for own in right], "share of right attempts", world.seed)
            if name == "success":
                surprise = np.concatenate([step.logprobs or () for tree in trees for step in tree.steps])
                found["surprise"] = Estimate(
                    -float(surprise.mean()), float("nan"), float("nan"), len(surprise), "nats a token"
                )
            else:
                found[f"{name}, solved"] = _mean(
                    [float(own.any()) for own in right], f"share right in one of {num}", world.seed
                )
        return found

    return test


def _mean(values: Sequence[float], unit: str, seed: int) -> Estimate:
    """Interval over problems; NaN where there are none."""
    if not values:
        nan = float("nan")
        return Estimate(nan, nan, nan, 0, unit)
    value_P: Floats = np.array(values)
    return clustered_mean(value_P, unit, rng=rng(seed, "interval"), num_resamples=500)
