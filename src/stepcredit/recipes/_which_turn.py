"""One world of `recipes/which_turn` under one seed: its episodes, its judges, and what they are worth.

Boxes, attempts and splits are drawn anew under every seed; the meaning of the sounds is the world's and stays. Judges are
taught by the recorded outcomes of some boxes, and measured on others: on exact step truth and exact outcomes, whatever
errors the verifier made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core.protocols import Task
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.truth import verified, with_truth
from stepcredit.core.types import Bools, Floats, Ints, Judgment, Problem, Record
from stepcredit.evaluate.auroc import auroc
from stepcredit.evaluate.nulls import length
from stepcredit.judge._turns import Hashing, Turns, turns
from stepcredit.judge.linear import LinearScorer
from stepcredit.recipes._turn_arms import ARMS, best_of, labelled, null_judgments, taught
from stepcredit.recipes._turn_report import compared
from stepcredit.tasks.lockbox import lockbox

HASHING = Hashing(num_features=2**14, longest=1)  # sounds are drawn one by one: pairs of them say nothing more
KNOWN_LUCK = "retry, luck known"
STEP, BEST = "step AUROC", "best of all attempts"


@dataclass(frozen=True)
class Size:
    """Boxes to teach on and to measure on, attempts at each, and the inverse penalties to choose from."""

    num_teach: int
    num_test: int
    num_attempts: int
    penalties: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Bench:
    """Episodes of one world and seed, one a record, and the words of their turns; `luck`: the verifier's error rates."""

    teach: list[Record]
    test: list[Record]
    teach_turns: Turns
    test_turns: Turns
    inner_A: Bools
    task_A: Ints
    recorded_A: Floats
    exact_A: Floats
    truth_U: Floats
    luck: Mapping[str, float]

    @property
    def size_A(self) -> Ints:
        """Turns of each test episode, [A]."""
        return np.diff(self.test_turns.start_A)


@dataclass
class Found:
    """What one seed gave: worth by arm and column, the penalties chosen, seconds, the answer on the link, shares."""

    worth: dict[str, dict[str, float]] = field(default_factory=dict)
    penalties: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    answer: str = "undecided"
    shares: dict[str, float] = field(default_factory=dict)


def make_bench(knobs: Mapping[str, Any], size: Size, seed: int) -> Bench:
    """Demonstrated and observed episodes with recorded outcomes, exact outcomes and step truth."""
    task, exact = lockbox(**knobs), lockbox(**{**knobs, "fp": 0.0, "fn": 0.0})
    problems = task.problems(size.num_teach + size.num_test, rng(seed, "problems"))
    records = [one for problem in problems for one in _episodes(task, problem, size.num_attempts, seed)]
    cut = size.num_teach * size.num_attempts
    teach, test = records[:cut], records[cut:]
    leaf_A = [record.tree.leaves[0] for record in test]
    exact_A = [
        exact.verify(r.tree.problem, [r.tree.solution(leaf)])[0].reward for r, leaf in zip(test, leaf_A, strict=True)
    ]
    return Bench(
        teach, test, _counted(teach), _counted(test),
        inner_A=np.arange(cut) < size.num_teach // 2 * size.num_attempts,
        task_A=np.repeat(np.arange(size.num_test), size.num_attempts),
        recorded_A=np.array([r.tree.reward_N[leaf] for r, leaf in zip(test, leaf_A, strict=True)]),
        exact_A=np.array(exact_A),
        truth_U=np.concatenate([r.credits["truth"].values_N[r.tree.sampled_N] for r in test]),
        luck={name: float(knobs.get(name, 0.0)) for name in ("fp", "fn")},
    )  # fmt: skip


def _episodes(task: Task, problem: Problem, num: int, seed: int) -> list[Record]:
    assert task.observe is not None
    stream = rng(seed, "attempts", problem.id)
    seen = [task.observe(problem, task.demonstrate(problem, stream)) for _ in range(num)]
    return [with_truth(verified(Record(star(problem, [steps])), task.verify), task) for steps in seen]


def _counted(records: Sequence[Record]) -> Turns:
    return turns([(r.tree.problem, r.tree.solution(r.tree.leaves[0])) for r in records], HASHING)


def taught_on(bench: Bench, arm: str, penalties: Sequence[float]) -> tuple[LinearScorer, float]:
    """The arm's judge, taught on the bench's recorded outcomes, and its penalty."""
    told = bench.luck if arm == KNOWN_LUCK else {}
    arm = "retry" if arm == KNOWN_LUCK else arm
    given = labelled(bench.teach, arm)
    return taught(arm, given, bench.teach_turns, bench.inner_A, penalties, hashing=HASHING, **told)


def study(bench: Bench, size: Size, seed: int) -> Found:
    """Teach every arm, judge the test episodes, measure; beside them what reads no turn."""
    found = Found()
    judged: dict[str, list[Judgment]] = {}
    for arm in (*ARMS, *([KNOWN_LUCK] if any(bench.luck.values()) else [])):
        begun = time.perf_counter()
        judge, found.penalties[arm] = taught_on(bench, arm, size.penalties)
        found.seconds[arm] = time.perf_counter() - begun
        judged[arm] = [read(judgment) for judgment in judge.judge(bench.test_turns)]
    longer = [record.judgments[0] for record in length([Record(record.tree) for record in bench.test], longer=True)]
    nulls = null_judgments(bench.test, seed) | {"length, longer": longer}
    found.worth = {name: worth(bench, judgments) for name, judgments in (judged | nulls).items()}
    found.answer = compared(judged, bench.recorded_A, bench.size_A, bench.task_A, seed).answer
    found.shares = {"right episodes": float(bench.exact_A.mean()), "recorded right": float(bench.recorded_A.mean()),
                    "right turns": float(bench.truth_U.mean())}  # fmt: skip
    return found


def kept(path: Path, make: Callable[[], Found]) -> Found:
    """What was found before and lies at `path`, else what `make` finds, put there whole or not at all."""
    if path.is_file():
        return Found(**json.loads(path.read_text(encoding="utf-8")))
    found = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
    os.replace(partial, path)
    return found


def read(judgment: Judgment) -> Judgment:
    """A label judge's attempt score through the domain's link, 1 - prod_j (1 - ok_j); a chain's is its final state already."""
    if "ok" not in judgment.channels:
        return judgment
    return replace(judgment, score=float(1.0 - np.prod(1.0 - judgment.channels["ok"])))


def worth(bench: Bench, judgments: Sequence[Judgment]) -> dict[str, float]:
    """Step AUROC of "this turn would open a locked box", and how often a box's best-scored attempt is truly open."""
    local_U = np.concatenate([judgment.local_scores_S for judgment in judgments])
    best = best_of([judgments], bench.exact_A, bench.task_A)
    return {STEP: auroc(local_U, bench.truth_U), BEST: float(best.mean())}
