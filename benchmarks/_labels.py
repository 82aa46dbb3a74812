"""The attempts of B5: worlds whose values are exact, one wrong attempt a problem, a judge that is right as often as told.

Recovery, the chance that a wrong beginning comes right again at a line: `none` is .0004 (a wrong result modulo 97 is hit
back by luck alone), `wiped` .05 by multiplications by 0 (in the problem, for every attempt alike), `lucky` .05 by slips
back (modulo 2); in `habits` most slips are fixed wrong facts, so values differ from step to step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.truth import verified
from stepcredit.core.types import Judgment, Problem, Record, Step, Tree
from stepcredit.rollout._length import step_tokens
from stepcredit.rollout.chains import chains

WORLDS: dict[str, dict[str, Any]] = {
    "none": {"modulus": 97, "zero_share": 0.0, "random_slip": 0.04, "num_slips": 0},
    "wiped": {"modulus": 97, "zero_share": 0.15, "random_slip": 0.04, "num_slips": 0},
    "lucky": {"modulus": 2, "zero_share": 0.0, "random_slip": 0.05, "num_slips": 0},
    "habits": {"modulus": 97, "zero_share": 0.0, "random_slip": 0.01, "num_slips": 2000},
}
RECOVERY = {"none": 0.0, "wiped": 0.0, "lucky": 0.05, "habits": 0.0}
JUDGE = 0.5


@dataclass(frozen=True)
class World:
    """Trees with one attempt each to label, and its first wrong step."""

    name: str
    policy: Any
    verify: Any
    trees: list[Tree]
    leaves: list[int]
    truth: list[int]
    ceiling: list[bool]  # would perfect knowledge of the values find it; empty where nobody has that
    judge: Any = None  # where one was taught; else it is simulated
    max_new_tokens: int = 256
    shares: dict[str, float] = field(default_factory=dict)


def world(name: str, num: int, num_ops: int, seed: int) -> World:
    """`num` problems that have right and wrong attempts among 16, with the first wrong one of each."""
    own = WORLDS[name]
    task = registry.bind("tasks", "chain", min_ops=num_ops, max_ops=num_ops, **own)()
    knobs = {key: value for key, value in own.items() if key != "zero_share"}
    policy = registry.bind("policy", "tabular", **knobs)()
    problems = task.problems(2 * num, rng(seed, "labels", name, "problems"))
    trees: list[Tree] = []
    leaves: list[int] = []
    truth: list[int] = []
    ceiling: list[bool] = []
    for tree in chains(problems, policy=policy, rng=rng(seed, "labels", name, "attempts")):
        tree = verified(Record(tree), task.verify).tree
        wrong = [leaf for leaf in tree.leaves if tree.reward_N[leaf] == 0]
        if not wrong or len(wrong) == len(tree.leaves) or len(trees) == num:
            continue
        steps = tree.solution(wrong[0])
        trees.append(tree)
        leaves.append(wrong[0])
        truth.append(first_error(task.label_steps(tree.problem, steps)))
        lines = [tree.problem.prompt, *(step.text for step in steps)]
        value_S = policy.value(["\n".join(lines[: end + 1]) + "\n" for end in range(len(lines))])
        ceiling.append(int(np.argmin(np.diff(value_S))) == truth[-1])
    check_enough(num, len(trees), 2 * num)
    return World(name, policy, task.verify, trees, leaves, truth, ceiling)


def check_enough(num: int, num_found: int, num_tried: int) -> None:
    """Raise ValueError where fewer problems than asked have right and wrong attempts."""
    if num_found < num:
        raise ValueError(f"{num} problems asked, {num_found} of {num_tried} have right and wrong attempts")


def behind(tree: Tree, node: int) -> list[tuple[bool, int]]:
    """The restarts of a node in the order they were grown: is it right, how many tokens it wrote; a line where a policy tells none."""
    assert tree.group_N is not None
    group_N = tree.group_N
    starts = [n for n in range(1, tree.num_nodes) if tree.parent_N[n] == node and group_N[n] != group_N[node]]
    ends = [int(np.flatnonzero(group_N == group_N[start])[-1]) for start in starts]
    return [(bool(tree.reward_N[end] > 0.5), step_tokens(tree.steps[start : end + 1]))
            for start, end in zip(starts, ends, strict=True)]  # fmt: skip


def told(own: World, seed: int, hit: float) -> Any:
    """A simulated judge: half of its P(sound so far) falls at one step, the right one with probability `hit`, else any."""
    draw = rng(seed, "labels", own.name, "judge", str(hit))
    said = {}
    for tree, leaf, truth in zip(own.trees, own.leaves, own.truth, strict=True):
        num = len(tree.path(leaf))
        fall_S = np.full(num, (1 - JUDGE) / num)
        fall_S[truth if draw.random() < hit else draw.integers(num)] += JUDGE
        said[tree.problem.id] = np.clip(1 - np.cumsum(fall_S), 0, 1)

    def judge(pairs: Sequence[tuple[Problem, Sequence[Step]]]) -> list[Judgment]:
        return [Judgment(float(said[problem.id][-1]), said[problem.id]) for problem, _ in pairs]

    return judge
