"""The world of `recipes/r3_rl`: chains of parities, a language model that knows their format and no bit, few demonstrations.

The start policy is taught words, lines and lengths with random bits (slip .5): each line right with probability one half, an
attempt with 2^-L. Its demonstrations are the references of a small pool of problems, checked by the verifier; arms that start
on them and arms that imitate them have the same ones. Tested on problems that are in no pool.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Policy, Task
from stepcredit.core.rng import rng
from stepcredit.core.stats import clustered_mean
from stepcredit.core.types import Estimate, Problem, Step
from stepcredit.recipes._pools import text_of
from stepcredit.recipes._rl import Test, correct

MAX_POSITIONS = 64


@dataclass(frozen=True)
class Scale:
    """What is taught, shown, trained and tested.

    `budget`: an arm's generated tokens in batches of whole attempts from the prompt, one number for all lengths or one a length;
    `share`: of starts at the prompt in the mix.
    """

    lengths: tuple[int, ...]
    num_taught: int
    policy_updates: int
    num_pool: int
    num_test: int
    budget: int | tuple[int, ...]
    every: int
    num_problems: int = 16
    num_attempts: int = 8
    learning_rate: float = 1e-3
    slip: float = 0.42
    hidden: int = 32
    layers: int = 2
    imitation_updates: int = 100
    kl: float = 0.05
    share: float | None = 0.24

    def batches(self, length: int) -> int:
        """The budget at a length."""
        return self.budget if isinstance(self.budget, int) else self.budget[self.lengths.index(length)]


@dataclass
class World:
    """One seed; models are made when first needed and found again by content under `out/cache`."""

    scale: Scale
    seed: int
    out: Path
    progress: bool = False

    def task(self, length: int) -> Task:
        """Chains of this length."""
        made: Task = registry.bind("tasks", "parities", min_length=length, max_length=length, carry=False)()
        return made

    @functools.cached_property
    def policy(self) -> Path:
        """The folder of the start policy: format alone, for all lengths."""
        from stepcredit.train.tiny import train_language_model

        scale = self.scale
        least, most = min(scale.lengths), max(scale.lengths)
        task: Task = registry.bind(
            "tasks", "parities", min_length=least, max_length=most, carry=False, slip=scale.slip
        )()
        draw = rng(self.seed, "r3_rl", "taught")
        texts = [
            text_of(problem, task.demonstrate(problem, draw), task.delimiter)
            for problem in task.problems(scale.num_taught, draw)
        ]
        return train_language_model(texts, self.out / "cache", num_updates=scale.policy_updates, hidden=scale.hidden,
                                    layers=scale.layers, max_positions=MAX_POSITIONS, seed=self.seed, progress=self.progress)  # fmt: skip

    def problems(self, length: int) -> dict[str, list[Problem]]:
        """Demonstrated problems (`pool`) and those that are tested, distinct. Raises ValueError for a wrong demonstration."""
        scale, task = self.scale, self.task(length)
        found = task.problems(scale.num_pool + scale.num_test, rng(self.seed, "r3_rl", "problems", length))
        for problem in found[: scale.num_pool]:
            (outcome,) = task.verify(problem, [[Step(text) for text in problem.reference or ()]])
            if not outcome.correct:
                raise ValueError(f"problem {problem.id!r}: its demonstration is wrong: {outcome}")
        return {"pool": found[: scale.num_pool], "test": found[scale.num_pool :]}

    def imitator(self, length: int) -> Path:
        """The start policy fine-tuned on the pool's demonstrations: what imitating them gives."""
        from stepcredit.train.sft import fine_tune

        pairs = [(f"{problem.prompt}\n", "".join(f"{text}\n" for text in problem.reference or ()))
                 for problem in self.problems(length)["pool"]]  # fmt: skip
        return fine_tune(self.policy, pairs, self.out / "cache", num_updates=self.scale.imitation_updates, seed=self.seed,
                         progress=self.progress)  # fmt: skip

    def grow(self, length: int, num: int, **more: Any) -> Any:
        """`rollout/given` on this length, all but problems, policy, rng and starts."""
        verify = more.pop("verify", self.task(length).verify)
        return functools.partial(registry.get("rollout", "given").function, verify=verify, num=num,
                                 max_new_tokens=most_tokens(length), **more)  # fmt: skip

    def test(self, length: int) -> Test:
        """Right attempts from the prompt ("success") and from every other start ("from k"), on the problems tested."""
        problems, grow, num = self.problems(length)["test"], self.grow(length, 1), self.scale.num_test // 4

        def look(policy: Policy) -> Mapping[str, Estimate]:
            some = [(k, problem) for k in range(1, length) for problem in problems[:num]]
            starts = [0] * len(problems) + [k for k, _ in some]
            trees = grow([*problems, *(problem for _, problem in some)], policy=policy,
                         rng=rng(self.seed, "r3_rl", "test"), starts=starts)  # fmt: skip
            right = np.array([correct(tree, tree.leaves[0]) for tree in trees], dtype=np.float64)
            draw, at = rng(self.seed, "r3_rl", "interval"), np.array(starts)
            return {name: clustered_mean(right[at == k], "share of right attempts", rng=draw, num_resamples=200)
                    for k, name in [(0, "success"), *((k, f"from {k}") for k in range(1, length))]}  # fmt: skip

        return look


def most_tokens(length: int) -> int:
    """A line is a word, a bit and a newline; an end, and room for a line too many."""
    return 3 * length + 4
