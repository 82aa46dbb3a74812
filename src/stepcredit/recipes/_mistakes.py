"""The kinds of traces of `recipes/first_mistakes` as records: synthetic attempts, recorded ones, what a judge reads.

A `Kind` brings a task (problems, verifier, oracle), a writer of attempts with slips, and a view: one line or several for
each step, which repeat what the problem, the steps before and the step say, in places that do not depend on the wording.
Step truth (the oracle's for synthetic attempts, the annotators' for recorded ones) goes to `credits["truth"]`, read by
measurements and the oracle arm alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Rng, Task
from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Floats, Outcome, Problem, Record, Step
from stepcredit.data import read
from stepcredit.tasks._trace import stated_answer


@dataclass(frozen=True)
class Kind:
    """One task: its name and knobs, the recorded file, how many synthetic attempts, their writer, and the view.

    `luck`: how often a broken synthetic attempt ends right, the chain's fp. `longest`: words in a row that are a feature.
    """

    task: str
    file: str
    knobs: Mapping[str, Any]
    num_attempts: int
    attempt: Callable[[str, Rng], list[str]]
    view: Callable[[str, Sequence[str]], list[str]]
    luck: float
    longest: int


def synthetic(num: int, kind: Kind, *, avoid: Collection[str], rng: Rng) -> list[Record]:
    """`num` attempts with slips, one a problem; problems whose prompt is in `avoid` are left out.

    Each record has its outcome and, as "truth", the oracle's labels. An attempt that states no answer is wrong.
    """
    task: Task = registry.get("tasks", kind.task).function(**kind.knobs)
    found: list[Record] = []
    while len(found) < num:
        for problem in task.problems(min(4000, num - len(found)), rng):
            if problem.prompt not in avoid:
                steps = [Step(line) for line in kind.attempt(problem.prompt, rng)]
                outcome = task.verify(problem, [steps])[0]
                if outcome.status == "unparsed":
                    answer = stated_answer(steps[-1].text)
                    outcome = Outcome(0.0, False, False, answer, verifier=outcome.verifier)
                found.append(_record(problem, steps, outcome, task.label_steps(problem, steps)))
    return found


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


def _record(problem: Problem, steps: Sequence[Step], outcome: Outcome, label_S: Floats) -> Record:
    value_N = np.concatenate([[np.nan], label_S])
    truth = Credit(value_N, "label", (~np.isnan(value_N)).astype(np.float64), "oracle")
    return Record(star(problem, [steps], [outcome]), {"truth": truth})
