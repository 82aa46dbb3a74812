"""The arms of `recipes/pcl`: two tracks of supervised tokens mixed into reinforcement learning, and the test.

    L = L_GRPO + w_1 CE_1 (reasoning, no end token) + w_2 CE_2 (evaluation and end token alone)

A demonstration in a batch is an attempt whose tokens carry the advantage w: with one pass over the data the gradient of its
clipped ratio is w grad log pi, the cross-entropy's, summed over tokens by the constant the loss divides by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.post_completion import MARKER
from stepcredit.core.protocols import Judge, Policy, Rng
from stepcredit.core.rng import rng
from stepcredit.core.stats import clustered_mean
from stepcredit.core.tree import star
from stepcredit.core.types import Cost, Credit, Estimate, Problem, Step, Tree
from stepcredit.evaluate.auroc import auroc_estimate
from stepcredit.evaluate.calibration import ece
from stepcredit.judge.post_completion import post_completion
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._pcl_world import Base, World, grown, inference_tokens
from stepcredit.recipes._rl import RlArm, correct, train_arm
from stepcredit.train.grpo import CreditFn, Rollout, Settings
from stepcredit.train.tracks import Example

PREFIX = "track"  # of the problem of a demonstration: never in a group with attempts
nan = float("nan")
WEIGHT = 0.1  # w_1 and w_2, class defaults of the released code


@dataclass(frozen=True)
class Way:
    """How an arm goes on from its base: supervised alone, or by reinforcement with these knobs of the credit."""

    base: Base
    kind: str
    knobs: Mapping[str, Any] | None = None


ARMS = {
    "SFT": Way("plain", "control"),
    "SFT + GRPO": Way("plain", "control", {}),
    "PCL-SFT": Way("post", "control"),
    "PCL": Way("post", "label-free", {}),
    "PCL, one advantage": Way("post", "label-free", {"split": False}),
    "PCL, released reward": Way("post", "label-free", {"reward": "released"}),
    "post-completion tokens, no consistency": Way("post", "control", {"split": False, "consistency_weight": 0.0}),
}


def run_way(way: Way, world: World, settings: Settings, num: int) -> ArmResult:
    """Train an arm from its base until its tokens are spent, and test it."""
    folder, past_end = world.base(way.base), way.base == "post"
    test = tested(world, past_end)
    reasoning = world.track("reasoning", right_only=True)
    evaluation = world.track("evaluation") if past_end else []
    if way.knobs is None:
        from stepcredit.policy.hf import hf

        made = world.taught(folder, reasoning + evaluation, world.scale.budget, world.scale.further_rate)
        found: Any = test(hf(str(made)))
        cost = {name: float(value) for name, value in asdict(Cost()).items()} | {
            "trained_tokens": float(world.scale.budget)
        }
        return ArmResult(dict(found), cost=cost)
    credit = registry.bind("credit", "post_completion", normalize="none", **way.knobs)

    def rollout(problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        return grown(world, problems, policy, draw, num=num, past_end=past_end)

    half = settings.num_problems // 2
    tracks = [(reasoning, half), (evaluation, half)] if evaluation else [(reasoning, 2 * half)]
    arm = RlArm(with_tracks(rollout, tracks), credit_of_tracks(credit), settings)
    result = train_arm(folder, world.problems["train"], arm, test=test, seed=world.seed)
    result.cost["trained_tokens"] = sum(row["train trained"] for row in result.curve[1:])
    return result


def with_tracks(rollout: Rollout, tracks: Sequence[tuple[Sequence[Example], int]]) -> Rollout:
    """The rollout's trees, and so many demonstrations of each track as trees of their own; these cost no generation."""

    def grow(problems: Sequence[Problem], policy: Any, draw: Rng) -> list[Tree]:
        found = list(rollout(problems, policy, draw))
        for examples, num in tracks:
            for place in draw.choice(len(examples), size=num, replace=False):
                found.append(as_tree(examples[int(place)], policy.tokenizer))
        return found

    return grow


def as_tree(example: Example, tokenizer: Any) -> Tree:
    """A demonstration as an attempt: what is read is given, what is learnt is one step with its tokens."""
    prefix, continuation, ends = example
    prompt, *given = prefix.removesuffix("\n").split("\n")
    ids = tokenizer(continuation, add_special_tokens=False)["input_ids"] + ([tokenizer.eos_token_id] if ends else [])
    steps = [*(Step(line, sampled=False) for line in given), Step(continuation, token_ids=tuple(ids))]
    return star(Problem(f"{PREFIX} {prefix}", prompt), [steps])


def credit_of_tracks(credit: CreditFn, weight: float = WEIGHT) -> CreditFn:
    """The credit of attempts, and the constant advantage `weight` of demonstrations."""

    def of(trees: Sequence[Tree]) -> list[Credit]:
        own = [tree for tree in trees if not tree.problem.id.startswith(PREFIX)]
        given = iter(credit(own))
        return [_constant(tree, weight) if tree.problem.id.startswith(PREFIX) else next(given) for tree in trees]

    return of


def _constant(tree: Tree, weight: float) -> Credit:
    return Credit(np.where(tree.sampled_N, weight, np.nan), "advantage", tree.sampled_N.astype(np.float64), "track")


def tested(world: World, past_end: bool) -> Callable[[Any], Mapping[str, Estimate]]:
    """What a policy reaches on held-out problems, the same draws for every policy.

    `accuracy`; `inference tokens` up to the marker; where it writes on, of the self-evaluations that can be read (`readable`,
    their share): `auroc` and `ece` of the predicted reward against the outcome; `said right`, its mean; `truthful`: share of
    predictions that come true. An attempt without one that can be read is left out of these, not counted as a low one. "same
    attempts": of the demonstrator's at these problems, equally many right and wrong ones for every policy.
    """

    def test(policy: Any) -> dict[str, Estimate]:
        problems, draw = world.problems["test"], rng(world.seed, "test", "interval")
        trees = grown(world, problems, policy, rng(world.seed, "test"), num=world.scale.num_attempts, past_end=past_end)
        attempts = [(tree, leaf) for tree in trees for leaf in tree.leaves]
        marker_id = policy.tokenizer.convert_tokens_to_ids(MARKER)
        right = np.array([float(correct(tree, leaf)) for tree, leaf in attempts])
        tokens = np.array([float(inference_tokens(tree.solution(leaf), marker_id)) for tree, leaf in attempts])

        def mean(values: Any, unit: str) -> Estimate:
            by_problem = np.asarray(values, dtype=np.float64).reshape(len(problems), -1).mean(axis=1)
            return clustered_mean(by_problem, unit, rng=draw, num_resamples=300)

        found = {
            "accuracy": mean(right, "share of right attempts"),
            "inference tokens": mean(tokens, "tokens an attempt"),
        }
        if not past_end:
            return found
        judge = post_completion(policy=policy, rng=rng(world.seed, "test", "judge"))
        # An attempt without an evaluation has none: it is not asked again.
        said = [
            attempt
            for attempt in attempts
            if any(step.kind == "evaluation" for step in attempt[0].solution(attempt[1]))
        ]
        found["readable"] = Estimate(
            _told(judge, said, found, "", draw) / len(attempts), nan, nan, len(attempts), "share of attempts"
        )
        _told(judge, [(tree, leaf) for tree in world.examined for leaf in tree.leaves], found, ", same attempts", draw)
        return found

    return test


def _told(judge: Judge, attempts: Sequence[tuple[Tree, int]], found: dict[str, Estimate], of: str, draw: Rng) -> int:
    """Put what the judge's scores are worth on these attempts into `found`; how many it could read."""
    judgments = judge([(tree.problem, tree.solution(leaf)) for tree, leaf in attempts])
    told = [(one.score, float(correct(tree, leaf)), tree.problem.id)
            for one, (tree, leaf) in zip(judgments, attempts, strict=True) if one.status == "scored"]  # fmt: skip
    if told:
        score, right = (np.array([one[place] for one in told], dtype=np.float64) for place in (0, 1))
        if 0 < right.sum() < len(right):
            found[f"auroc{of}"] = auroc_estimate(score, right, [one[2] for one in told], draw, 300)
        for name, value in {
            "ece": ece(score, right),
            "said right": score.mean(),
            "truthful": 1 - np.abs(score - right).mean(),
        }.items():
            found[name + of] = Estimate(float(value), nan, nan, len(told), "of readable evaluations")
    return len(told)
