"""The arms of `recipes/r3_rl`: one policy, several places to start from, the same generated tokens; and what a curve says.

    start                   the start policy, fine-tuned on noisy attempts (the papers' SFT)
    scratch                 then reinforcement learning from the prompt alone (SFT+RL)
    staged, mix, adaptive   then starts on the demonstrations (`_r3_rl_starts`)
    mix, no scratch         the mix without the prompt among its starts
    imitation               the start policy fine-tuned on the same demonstrations; nothing is generated
    imitation+scratch       then reinforcement learning from the prompt

All but `start` and the two imitations are told nothing but outcomes; what starts on a demonstration is given its lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.types import Estimate, Floats
from stepcredit.recipes import _r3_rl_starts as starts
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._r3_rl_world import Scale, World, most_tokens
from stepcredit.recipes._rl import Cells, RlArm, train_arm
from stepcredit.train.grpo import Rollout, Settings

REVISION = 1  # raise it when code that decides an arm's numbers changes
KINDS = {"start": "null", "imitation": "control", "scratch": "control", "imitation+scratch": "control", "staged": "label-free",
         "adaptive": "label-free", "mix": "label-free", "mix, no scratch": "control"}  # fmt: skip
UNTRAINED = ("start", "imitation")
TARGETS = (0.5, 0.8)


@dataclass(frozen=True)
class Study:
    """One seed. `partial_reward` is the paper's for wrong answers that can be read; off, as it invites filling in forms."""

    world: World
    partial_reward: float = 0.0

    def result(self, arm: str, length: int) -> ArmResult:
        """An arm's result at a length, read back where it is finished."""
        decides = [REVISION, asdict(self.world.scale), self.partial_reward]
        cells = Cells(self.world.out, decides)
        return cells.result(f"{arm}-{length}", self.world.seed, lambda: self._run(arm, length))

    def _run(self, arm: str, length: int) -> ArmResult:
        world, budget = self.world, tokens_of(self.world.scale, length)
        test, scale = world.test(length), self.world.scale
        if arm in UNTRAINED:
            from stepcredit.policy.hf import hf

            told = test(hf(str(world.policy if arm == "start" else world.imitator(length))))
            return ArmResult(dict(told), cost={"generated_tokens": 0.0})
        settings = Settings(
            num_updates=100 * scale.batches(length), num_problems=scale.num_problems, learning_rate=scale.learning_rate, kl=scale.kl,
            max_new_tokens=most_tokens(length), max_generated_tokens=budget,
        )  # fmt: skip
        folder = world.imitator(length) if arm == "imitation+scratch" else world.policy
        one = RlArm(
            self._rollout(arm, length, budget), registry.bind("credit", "group_mean", normalize="none"), settings
        )
        found = train_arm(folder, world.problems(length)["pool"], one, test=test, seed=world.seed, every=scale.every)
        found.estimates.update(read(found.curve, length, budget))
        return found

    def _rollout(self, arm: str, length: int, budget: int) -> Rollout:
        verify = starts.with_partial_reward(self.world.task(length).verify, self.partial_reward)
        grow = self.world.grow(length, self.world.scale.num_attempts, verify=verify)
        if arm in ("scratch", "imitation+scratch"):
            return starts.scratch(grow)
        if arm == "staged":
            return starts.Staged(grow, budget)
        if arm == "adaptive":
            return starts.Adaptive(grow)
        return starts.mix(grow, self.world.scale.share if arm == "mix" else 0.0)


def tokens_of(scale: Scale, length: int) -> int:
    """An arm's budget in generated tokens: so many batches of whole attempts from the prompt, three tokens a line and an end."""
    return scale.batches(length) * scale.num_problems * scale.num_attempts * (3 * length + 1)


def read(curve: Sequence[Mapping[str, float]], length: int, budget: int) -> dict[str, Estimate]:
    """What a curve says: tokens until a success is reached, and how far starts fall once their stage is over.

    A target that is never reached counts as the whole budget, a lower bound ("reached" is 0 then).
    """
    rows = [row for row in curve if "success" in row]
    told = {}
    for target in TARGETS:
        tokens, reached = first_at(rows, target, budget)
        told[f"tokens to {target}"] = _number(tokens, "generated tokens, the budget where never")
        told[f"reached {target}"] = _number(float(reached), "share of seeds")
    told["forgotten"] = _number(
        forgotten(rows, length, budget), "fall in success from a start, one stage after its own"
    )
    return told


def first_at(rows: Sequence[Mapping[str, float]], target: float, budget: int) -> tuple[float, bool]:
    """Tokens at which success first reaches the target, on a line between two tests."""
    before = rows[0]
    for row in rows:
        if row["success"] >= target:
            gain = row["success"] - before["success"]
            part = 1.0 if gain <= 0 else (target - before["success"]) / gain
            return min(before["tokens"] + part * (row["tokens"] - before["tokens"]), float(budget)), True
        before = row
    return float(budget), False


def forgotten(rows: Sequence[Mapping[str, float]], length: int, budget: int) -> float:
    """Mean over starts k >= 1 of success from k at the end of stage k, minus at the end of the stage after it."""
    tokens = np.array([row["tokens"] for row in rows])
    falls = []
    for k in range(1, length):
        value = np.array([row[f"from {k}"] for row in rows])
        ends = np.array([length - k, length - k + 1]) / length * budget
        own, after = np.interp(ends, tokens, value)
        falls.append(own - after)
    return float(np.mean(falls))


def log_slope(lengths: Sequence[int], tokens: Sequence[float]) -> float:
    """Doublings of tokens a line: the least-squares slope of log2(tokens) on length; 1 is as many again for each line."""
    x: Floats = np.asarray(lengths, dtype=np.float64)
    return float(np.polyfit(x, np.log2(np.asarray(tokens, dtype=np.float64)), 1)[0])


def _number(value: float, unit: str) -> Estimate:
    return Estimate(value, float("nan"), float("nan"), 1, unit)


def cells_of(studies: Sequence[Study], wanted: Sequence[tuple[str, int]]) -> dict[str, list[ArmResult]]:
    """Each arm's result per seed, under "arm (length)"."""
    found: dict[str, list[ArmResult]] = {}
    for study in studies:
        for arm, length in wanted:
            found.setdefault(f"{arm} ({length})", []).append(study.result(arm, length))
    return found


def study_of(scale: Scale, seed: int, out: str, partial_reward: float = 0.0, progress: bool = False) -> Study:
    """A seed's study; a run under `out` finds finished arms again."""
    return Study(World(scale, seed, Path(out), progress), partial_reward)


def kinds_of(found: Mapping[str, Any]) -> dict[str, str]:
    """The report's kind of each row."""
    return {name: KINDS[name.rsplit(" (", 1)[0]] for name in found}
