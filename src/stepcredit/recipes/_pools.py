"""Attempts with outcomes for a study: a small policy trained on a task's demonstrations, and what it then writes.

The policy learns to imitate noisy demonstrations, slips included, so its errors are its own; an exact verifier decides
every outcome. The oracle's step truth is attached under "truth", to measure with and for the control arm alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Task
from stepcredit.core.rng import rng
from stepcredit.core.truth import verified, with_truth
from stepcredit.core.types import Cost, Credit, Problem, Record, Step

DEMONSTRATION_END = "\n"


@dataclass(frozen=True)
class Pools:
    """Training and test records (problems disjoint), the policy's folder, and what making them cost."""

    train: list[Record]
    test: list[Record]
    policy: Path
    cost: Cost


def make_pools(
    task: Task, *, seed: int, num_demonstrations: int, policy_updates: int, num_train: int, num_test: int,
    num_attempts: int, cache: Path, max_new_tokens: int = 96, progress: bool = False,
) -> Pools:  # fmt: skip
    """Train the policy (cached by content), sample, verify. Deterministic in `seed`."""
    from stepcredit.policy.hf import hf
    from stepcredit.rollout.chains import chains
    from stepcredit.train.tiny import train_language_model

    problems = task.problems(num_demonstrations + num_train + num_test, rng(seed, "problems"))
    shown, rest = problems[:num_demonstrations], problems[num_demonstrations:]
    demonstrations = rng(seed, "demonstrations")
    texts = [text_of(p, task.demonstrate(p, demonstrations), task.delimiter) for p in shown]
    folder = train_language_model(texts, cache, num_updates=policy_updates, seed=seed, progress=progress)
    policy = hf(str(folder))
    trees = chains(rest, policy=policy, rng=rng(seed, "attempts"), num=num_attempts, delimiter=task.delimiter,
                   max_new_tokens=max_new_tokens)  # fmt: skip
    records = [with_truth(verified(Record(tree), task.verify), task) for tree in trees]
    cost = sum((tree.cost for tree in trees), Cost())
    return Pools(records[:num_train], records[num_train:], folder, cost)


def problems_of(task: Task, sizes: Mapping[str, int], seed: int) -> dict[str, list[Problem]]:
    """Distinct problems by name, so many of each, in the order of the names."""
    left = task.problems(sum(sizes.values()), rng(seed, "problems"))
    found = {}
    for name, num in sizes.items():
        found[name], left = left[:num], left[num:]
    return found


def text_of(problem: Problem, steps: list[Step], delimiter: str) -> str:
    """A demonstration as the policy sees it: prompt, then every step closed by the delimiter."""
    return problem.prompt + DEMONSTRATION_END + "".join(step.text + delimiter for step in steps)


def credited(records: Sequence[Record], method: str, **knobs: Any) -> list[Record]:
    """The records with a registered credit method's credits, under its name."""
    found = registry.bind("credit", method, **knobs)([record.tree for record in records])
    return [replace(r, credits={**r.credits, method: c}) for r, c in zip(records, found, strict=True)]


def until_first_error(record: Record, name: str = "truth") -> Record:
    """The record with credit "oracle": step labels up to and including the first error, none after it.

    What an annotator who stops at the first mistake leaves (PRM800K's convention).
    """
    truth, tree = record.credits[name], record.tree
    values = np.full(tree.num_nodes, np.nan)
    broken = np.zeros(tree.num_nodes, dtype=np.bool_)
    for node in range(1, tree.num_nodes):
        parent = int(tree.parent_N[node])
        broken[node] = broken[parent] or values[parent] == 0
        if not broken[node]:
            values[node] = truth.values_N[node]
    oracle = Credit(values, "label", (~np.isnan(values)).astype(float), "oracle")
    return replace(record, credits={**record.credits, "oracle": oracle})
