"""What studies of reinforcement learning with tools share: a policy taught on noisy demonstrations, and episodes that are verified.

The policy is a small language model of whole episodes, results included, so that it knows what results look like; in training by
reinforcement they are context. Its errors are its own. Problems to train and to test on are drawn apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.environment import num_calls
from stepcredit.core.protocols import Policy, Rng, Task
from stepcredit.core.rng import rng
from stepcredit.core.stats import clustered_mean
from stepcredit.core.types import Estimate, Problem, Tree
from stepcredit.recipes._pools import text_of
from stepcredit.recipes._rl import Test, correct, tokens_of
from stepcredit.rollout._verified import verified
from stepcredit.rollout.episodes import episodes
from stepcredit.train.grpo import Rollout


@dataclass(frozen=True)
class ToolWorld:
    """A task with tools, the policy that starts there, and how long an episode may be."""

    task: str
    knobs: tuple[tuple[str, Any], ...] = ()
    num_demonstrations: int = 3000
    policy_updates: int = 600
    num_train: int = 2000
    num_test: int = 100
    num_tested: int = 4
    max_turns: int = 7
    max_new_tokens: int = 20
    hidden: int = 64

    def made(self, **other: Any) -> Task:
        """The task, with other knobs where they are given."""
        found: Task = registry.bind("tasks", self.task, **{**dict(self.knobs), **other})()
        return found

    def problems(self, seed: int) -> tuple[list[Problem], list[Problem]]:
        """To train on and to test on: other problems than were shown, by their ids."""
        task = self.made()
        shown = {problem.id for problem in self.shown(seed)}
        drawn = [
            p
            for p in task.problems(2 * (self.num_train + self.num_test), rng(seed, "tools", "problems"))
            if p.id not in shown
        ]
        own = list({problem.id: problem for problem in drawn}.values())
        if len(own) < self.num_train + self.num_test:
            raise ValueError(
                f"{self.task} gave {len(own)} problems that were not shown; {self.num_train + self.num_test} wanted"
            )
        return own[: self.num_train], own[self.num_train : self.num_train + self.num_test]

    def shown(self, seed: int) -> list[Problem]:
        """What is demonstrated."""
        return self.made().problems(self.num_demonstrations, rng(seed, "tools", "shown"))

    def policy(self, seed: int, cache: Path) -> Path:
        """The folder of the language model of noisy demonstrations, found again by content."""
        from stepcredit.train.tiny import train_language_model

        task, draw = self.made(), rng(seed, "tools", "demonstrations")
        texts = [text_of(p, task.demonstrate(p, draw), "\n") for p in self.shown(seed)]
        return train_language_model(
            texts, cache, hidden=self.hidden, num_updates=self.policy_updates, seed=seed, progress=False
        )

    def rollout(self, task: Task | None = None, **knobs: Any) -> Rollout:
        """Verified episodes against the task's environment, the world's own or another's."""
        own = task or self.made()
        assert own.environment is not None, f"{self.task} answers no calls"
        answers = own.environment

        def grow(problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
            trees = episodes(problems, policy=policy, environment=answers, rng=draw, max_turns=self.max_turns,
                             max_new_tokens=self.max_new_tokens, **knobs)  # fmt: skip
            return [verified(tree, own.verify) for tree in trees]

        return grow

    def test(
        self, problems: Sequence[Problem], seed: int, task: Task | None = None, *, grow: Rollout | None = None
    ) -> Test:
        """Success, calls an episode, share of calls that are sound, tokens an episode; on held-out problems, with any policy.

        `grow`: how episodes are made where it is not as `rollout` does.
        """
        own = task or self.made()
        grow = grow or self.rollout(own, num=self.num_tested)

        def test(policy: Policy) -> dict[str, Estimate]:
            trees = grow(problems, policy, rng(seed, "tools", "test"))
            draw = rng(seed, "tools", "interval")
            rows: dict[str, list[float]] = {
                "success": [float(np.mean([correct(t, leaf) for leaf in t.leaves])) for t in trees],
                "calls": [num_calls(t) / len(t.leaves) for t in trees],
                "sound calls": [_sound(own, t) for t in trees],
                "tokens an episode": [float(np.mean([tokens_of(t, leaf) for leaf in t.leaves])) for t in trees],
            }
            units = {
                "success": "share of right episodes",
                "calls": "calls",
                "sound calls": "share of calls",
                "tokens an episode": "tokens",
            }
            return {
                name: clustered_mean(values, units[name], rng=draw, num_resamples=500) for name, values in rows.items()
            }

        return test


def _sound(task: Task, tree: Tree) -> float:
    """Share of an episode's calls that the oracle calls sound, mean over episodes; 0 for one without calls. Measured alone."""
    shares = []
    for leaf in tree.leaves:
        steps = tree.solution(leaf)
        label_S = task.label_steps(tree.problem, steps)
        calls_S = [step.kind == "tool_call" for step in steps if step.sampled]
        shares.append(float(np.mean(label_S[calls_S])) if any(calls_S) else 0.0)
    return float(np.mean(shares))
