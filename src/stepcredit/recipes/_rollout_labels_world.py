"""The world of the rollout-label recipes: a small language model that writes chains, slips, and rolls out its own.

The model is trained from scratch on the demonstrations of `tasks/chain` and cached by content; it repeats the
demonstrator's habits and adds errors of its own. An exact verifier decides outcomes; the oracle's step truth only measures.
Outcomes are free, tokens are what is paid: attempts are drawn until a number of generated tokens is spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.chain_world import parse_line
from stepcredit.core.protocols import Policy, Task
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.truth import verified, with_truth
from stepcredit.core.types import Problem, Record, Tree
from stepcredit.recipes._pools import text_of
from stepcredit.rollout.chains import chains

MAX_NEW_TOKENS = 80  # six tokens a line: more than any problem here needs


@dataclass(frozen=True)
class World:
    """The chain task's knobs, and the size and schooling of the model that learns it; 0 updates: the demonstrator writes."""

    modulus: int = 7
    min_ops: int = 5
    max_ops: int = 8
    zero_share: float = 0.0
    random_slip: float = 0.02
    systematic_slip: float = 0.6
    num_slips: int = 18
    num_demonstrations: int = 12000
    num_updates: int = 1000
    hidden: int = 96
    layers: int = 2

    @property
    def slips(self) -> dict[str, Any]:
        """What the task and its exact writer have in common."""
        return {"modulus": self.modulus, "random_slip": self.random_slip, "systematic_slip": self.systematic_slip,
                "num_slips": self.num_slips}  # fmt: skip

    @property
    def task(self) -> Task:
        """Problems, their oracle and their verifier."""
        made: Task = registry.bind("tasks", "chain", min_ops=self.min_ops, max_ops=self.max_ops, zero_share=self.zero_share,
                                   **self.slips)()  # fmt: skip
        return made


def writer(world: World, problems: Sequence[Problem], seed: int, cache: Path, *, progress: bool = False) -> Policy:
    """The language model of one noisy demonstration of each problem, as a policy.

    With 0 updates nothing is learned: the demonstrator itself writes (`policy/tabular`), a line a token.
    """
    if not world.num_updates:
        exact: Policy = registry.bind("policy", "tabular", **world.slips)()
        return exact
    from stepcredit.policy.hf import hf
    from stepcredit.train.tiny import train_language_model

    task, draw = world.task, rng(seed, "rollout labels", "demonstrations")
    texts = [text_of(problem, task.demonstrate(problem, draw), task.delimiter) for problem in problems]
    folder = train_language_model(texts, cache, hidden=world.hidden, layers=world.layers, num_updates=world.num_updates,
                                  seed=seed, progress=progress)  # fmt: skip
    policy: Policy = hf(str(folder))
    return policy


def attempts_of(task: Task, problems: Sequence[Problem], policy: Policy, num: int, *names: Any) -> list[Record]:
    """`num` attempts at each problem, with outcomes, and the oracle's truth beside; `names` seed and name the draws."""
    seed, *rest = names
    trees = chains(problems, policy=policy, rng=rng(seed, "rollout labels", *rest), num=num, delimiter=task.delimiter,
                   max_new_tokens=MAX_NEW_TOKENS)  # fmt: skip
    return [with_truth(verified(Record(tree), task.verify), task) for tree in trees]


def attempts_worth(
    task: Task, problems: Sequence[Problem], policy: Policy, num: int, budget: int, *names: Any, block: int = 128
) -> list[Record]:  # fmt: skip
    """Attempts at the first problems, until `budget` generated tokens are spent, one problem at least.

    Raises ValueError where the problems run out before.
    """
    found: list[Record] = []
    spent = 0
    for begin in range(0, len(problems), block):
        for record in attempts_of(task, problems[begin : begin + block], policy, num, *names, begin):
            spent += record.tree.cost.generated_tokens
            if found and spent > budget:
                return found
            found.append(record)
    raise ValueError(f"{len(problems)} problems of {num} attempts are used up after {spent} of {budget} tokens")


def first_errors(record: Record, tree: Tree | None = None) -> dict[int, int]:
    """The first wrong sampled step of each attempt of a star by the oracle, -1 for none, by its leaf."""
    own, truth_N = tree or record.tree, record.credits["truth"].values_N
    return {
        leaf: first_error(truth_N[[node for node in own.path(leaf) if own.steps[node].sampled]])
        for leaf in record.tree.leaves
    }


def shares(records: Sequence[Record]) -> dict[str, float]:
    """What the attempts are like.

    right      share of attempts that end right
    slip       P(a line's result is off the right one | the line before was on it)
    recovery   P(a line's result is the right one at its place | the line before was off it)
    kept       share that end right among attempts with a wrong step
    """
    on_off, on, off_on, off = 0, 0, 0, 0
    kept: list[bool] = []
    right: list[bool] = []
    for record in records:
        tree = record.tree
        reward_N, errors = tree.reward_N, first_errors(record)
        for leaf in tree.leaves:
            right.append(bool(reward_N[leaf] > 0.5))
            if errors[leaf] >= 0:
                kept.append(right[-1])
            states = [True, *_on_track(record, leaf)]
            for before, after in pairwise(states):
                on, off = on + before, off + (not before)
                on_off, off_on = on_off + (before and not after), off_on + (not before and after)
    return {
        "right": float(np.mean(right)), "slip": on_off / max(on, 1), "recovery": off_on / max(off, 1),
        "kept": float(np.mean(kept)) if kept else float("nan"),
    }  # fmt: skip


def _on_track(record: Record, leaf: int) -> list[bool]:
    """After each line: is the number written the one that should stand there?"""
    reference = record.tree.problem.reference or ()
    lines = [parse_line(step.text) for step in record.tree.solution(leaf)]
    due = [parse_line(text) for text in reference]
    return [line is not None and place < len(due) and line[3] == due[place][3]  # type: ignore[index]
            for place, line in enumerate(lines)]  # fmt: skip
