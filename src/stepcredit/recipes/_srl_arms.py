"""The arms of `recipes/srl`: what is sampled, what it is rewarded with, and what every policy is tested on.

All arms but SFT stop at the same generated tokens, dropped groups counted; "srl -> rlvr" spends half on either. SFT generates
nothing: it takes as many updates as the SRL arm took, of as many traces as that had instances a batch, so it reads about 200
traces several times. All advantages are z-scores in the group (the paper's), KL is 0.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Policy
from stepcredit.core.rng import rng
from stepcredit.core.stats import clustered_mean, clustered_rate
from stepcredit.core.types import Estimate
from stepcredit.credit.expert_similarity import rewards
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._rl import RlArm, Test, correct, success, train_arm, verified_rollout
from stepcredit.recipes._srl_rollout import Kept, dynamic, instances, next_steps
from stepcredit.recipes._srl_world import World, action_of, trace, verify
from stepcredit.rollout.chains import chains
from stepcredit.train.grpo import Settings

ARMS = ("base", "sft", "rlvr", "srl whole", "srl all", "srl", "srl -> rlvr")
KINDS = {"base": "null", "sft": "control", "rlvr": "control", "srl whole": "control", "srl all": "control", "srl": "label-free",
         "srl -> rlvr": "label-free"}  # fmt: skip
STEP, ATTEMPT = 16, 80  # tokens a line or an attempt may have; both are longer than sound ones


@dataclass(frozen=True)
class Plan:
    """Generated tokens of an arm, problems (instances) a batch, samples of each, and the tests' problems and attempts."""

    budget: int
    num_problems: int = 8
    num_instances: int = 16
    num: int = 8
    learning_rate: float = 3e-4
    sft_rate: float = 5e-4
    num_attempts: int = 8


def tested(world: World, plan: Plan) -> Test:
    """Hard problems: share of right attempts, of problems with any, of sound first lines; easy ones: share right."""
    hard = verified_rollout(chains, verify, num=plan.num_attempts, max_new_tokens=ATTEMPT)
    easy = success(world.problems["easy"], verified_rollout(chains, verify, num=2, max_new_tokens=ATTEMPT), seed=world.seed, name="easy")  # fmt: skip

    def test(policy: Policy) -> Mapping[str, Estimate]:
        trees = hard(world.problems["hard"], policy, rng(world.seed, "srl", "test"))
        right = [[correct(tree, leaf) for leaf in tree.leaves] for tree in trees]
        sound = np.array([np.mean([_sound(tree.problem.reference or (), [step.text for step in tree.solution(leaf)])
                                   for leaf in tree.leaves]) for tree in trees])  # fmt: skip
        draw = rng(world.seed, "srl", "test", "interval")
        names = [tree.problem.id for tree in trees]
        return {
            "hard": clustered_rate([one for row in right for one in row], [n for n, row in zip(names, right, strict=True) for _ in row],
                                   "share of right attempts", rng=draw, num_resamples=500),
            "hard, any": clustered_rate([any(row) for row in right], names, "share of problems", rng=draw, num_resamples=500),
            "sound lines": clustered_mean(sound, "lines before the first that is not the expert's", rng=draw, num_resamples=500),
            "easy": easy(policy)["easy"],
        }  # fmt: skip

    return test


def _sound(expert: tuple[str, ...], written: list[str]) -> int:
    """Lines before the first whose action is not the expert's."""
    same = [action_of(text) == action for text, action in zip(written, expert, strict=False)]
    return same.index(False) if False in same else len(same)


def run_arm(world: World, plan: Plan, name: str, *, updates: int = 0) -> ArmResult:
    """Train and test one arm; `updates` are SFT's."""
    test = tested(world, plan)
    if name == "base":
        return ArmResult(dict(test(_policy(world.folder))), cost={"generated_tokens": 0.0})
    if name == "sft":
        return _fine_tuned(world, plan, updates, test)
    if name != "srl -> rlvr":
        return _reinforced(world, plan, name, world.folder, test)
    with tempfile.TemporaryDirectory() as scratch:
        half = replace(plan, budget=plan.budget // 2)
        first = _reinforced(world, half, "srl", world.folder, test, save_to=Path(scratch) / "srl")
        last = _reinforced(world, half, "rlvr", Path(scratch) / "srl", test)
        shutil.rmtree(Path(scratch) / "srl")
    spent = first.curve[-1]["tokens"]
    curve = [*first.curve, *({**row, "tokens": row["tokens"] + spent} for row in last.curve[1:])]
    return replace(last, curve=curve, cost={key: first.cost[key] + last.cost[key] for key in last.cost})


def _reinforced(world: World, plan: Plan, name: str, folder: Path, test: Test, *, save_to: Path | None = None) -> ArmResult:  # fmt: skip
    kept = Kept()
    result = train_arm(folder, world.problems["expert"], rl_arm(world, plan, name, kept), test=test, seed=world.seed, save_to=save_to)  # fmt: skip
    if kept.drawn:
        share = Estimate(kept.rate, float("nan"), float("nan"), kept.drawn, "share of groups")
        result = replace(result, estimates={**result.estimates, "groups kept": share})
    return result


def rl_arm(world: World, plan: Plan, name: str, kept: Kept) -> RlArm:
    """One of the arms that generate."""
    settings = Settings(num_updates=100_000, num_problems=plan.num_problems, learning_rate=plan.learning_rate,
                        max_new_tokens=ATTEMPT, max_generated_tokens=plan.budget)  # fmt: skip
    if name in ("rlvr", "srl whole"):
        whole = verified_rollout(chains, verify, num=plan.num, max_new_tokens=ATTEMPT)
        credit = (registry.bind("credit", "group_mean") if name == "rlvr"
                  else registry.bind("credit", "expert_similarity", target="rest"))  # fmt: skip
        return RlArm(whole, credit, settings)
    pool = instances(world.problems["expert"])

    def grow(problems: Any, policy: Policy, draw: Any) -> Any:
        return next_steps(problems, policy, draw, num=plan.num, max_new_tokens=STEP)

    settings = replace(settings, num_problems=plan.num_instances, max_new_tokens=STEP)
    rollout = grow if name == "srl all" else dynamic(grow, rewards, pool, kept=kept)
    return RlArm(rollout, registry.bind("credit", "expert_similarity"), settings, problems=pool)


def _fine_tuned(world: World, plan: Plan, updates: int, test: Test) -> ArmResult:
    from stepcredit.train.sft import fine_tune

    examples = [trace(problem, expert=True) for problem in world.problems["expert"]]
    folder = fine_tune(world.folder, examples, world.out / "cache", num_updates=updates, batch_size=plan.num_instances,
                       learning_rate=plan.sft_rate, seed=world.seed, progress=False)  # fmt: skip
    return ArmResult(dict(test(_policy(folder))), cost={"generated_tokens": 0.0, "updates": float(updates)})


def _policy(folder: Path) -> Any:
    from stepcredit.policy.hf import hf

    return hf(str(folder))
