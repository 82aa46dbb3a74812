"""The kinds of traces of `recipes/first_mistakes` as records: synthetic attempts, recorded ones, what a judge reads.

A `Kind` brings a task (problems, verifier, oracle), a writer of attempts with slips, and a view: one line or several for
each step, which repeat what the problem, the steps before and the step say, in places that do not depend on the wording.
Step truth (the oracle's for synthetic attempts, the annotators' for recorded ones) goes to `credits["truth"]`, read by
measurements and the oracle arm alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Rng, Task
from stepcredit.core.tree import star
from stepcredit.core.types import Cost, Credit, Outcome, Problem, Record, Step
from stepcredit.data import read
from stepcredit.tasks._trace import stated_answer


@dataclass(frozen=True)
class School:
    """A kind's policy: what it is shown, how long it is taught, how often and how long it tries, on which problems.

    `knobs` change the kind's own, where its problems are too long for a policy this small.
    """

    num_demonstrations: int = 12_000
    num_updates: int = 800
    num_attempts: int = 6_000
    max_new_tokens: int = 500
    hidden: int = 128
    knobs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One task: its name and knobs, the recorded file, how many synthetic attempts, their writer, and the view.

    `luck`: how often a broken attempt ends right where the writer draws again, the chain's fp, counted by the oracle.
    `longest`: words in a row that are a feature. `redraws`: whether the writer draws again what slips and ends right.
    `recovers`: whether an attempt that has gone wrong can come right again, as far as is known of the task.
    `school`: how a policy is taught the task.
    """

    task: str
    file: str
    knobs: Mapping[str, Any]
    num_attempts: int
    attempt: Callable[..., list[str]]  # (prompt, rng, *, slip_share, redraw where it redraws)
    view: Callable[[str, Sequence[str]], list[str]]
    luck: float
    longest: int
    redraws: bool = True
    recovers: bool = True
    school: School = field(default_factory=School)


def synthetic(num: int, kind: Kind, *, avoid: Collection[str], rng: Rng, redraw: bool = True) -> list[Record]:
    """`num` attempts with slips, one a problem; problems whose prompt is in `avoid` are left out.

    Each record has its outcome and, as "truth", the oracle's labels. Without `redraw`, every attempt that is written.
    """
    knobs = {} if redraw or not kind.redraws else {"redraw": False}
    task: Task = registry.get("tasks", kind.task).function(**kind.knobs)
    found: list[Record] = []
    while len(found) < num:
        for problem in task.problems(min(4000, num - len(found)), rng):
            if problem.prompt not in avoid:
                steps = [Step(line) for line in kind.attempt(problem.prompt, rng, **knobs)]
                found.append(finished(task, problem, steps))
    return found


def finished(
    task: Task, problem: Problem, steps: Sequence[Step], *, cut: Outcome | None = None, cost: Cost | None = None
) -> Record:
    """An attempt with its outcome and the oracle's labels as "truth"; one that ends without an answer is wrong.

    `cut`: the outcome of an attempt that was cut off, which the verifier does not see.
    """
    outcome = cut or task.verify(problem, [steps])[0]
    if outcome.status == "unparsed":
        answer = stated_answer(steps[-1].text)
        outcome = Outcome(0.0, False, False, answer, verifier=outcome.verifier)
    value_N = np.concatenate([[np.nan], task.label_steps(problem, steps)])
    truth = Credit(value_N, "label", (~np.isnan(value_N)).astype(np.float64), "oracle")
    return Record(star(problem, [steps], [outcome], cost=cost), {"truth": truth})


def recorded(path: str | Path) -> list[Record]:
    """The recorded traces, with recorded outcome and the annotators' first mistake as "truth"."""
    return list(read(path))


def viewed(records: Iterable[Record], kind: Kind, *, plain: bool = False) -> list[Record]:
    """The records as a judge reads them, or with the steps' own words; ids, outcomes and truth stay as they are."""
    found = []
    for record in records:
        tree, leaf = record.tree, record.tree.leaves[0]
        texts = [step.text for step in tree.solution(leaf)]
        lines = texts if plain else kind.view(tree.problem.prompt, texts)
        seen = star(tree.problem, [[Step(line) for line in lines]], [tree.outcomes[leaf]])
        found.append(replace(record, tree=seen))
    return found


def prompts(records: Iterable[Record]) -> set[str]:
    """The distinct prompts."""
    return {record.tree.problem.prompt for record in records}


def halves(records: Sequence[Record], rng: Rng) -> tuple[set[str], set[str]]:
    """The problem ids in two random halves."""
    ids = sorted({record.tree.problem.id for record in records})
    order = [ids[i] for i in rng.permutation(len(ids))]
    return set(order[: len(ids) // 2]), set(order[len(ids) // 2 :])
