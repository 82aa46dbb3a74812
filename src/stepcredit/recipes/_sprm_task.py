"""The chain world with lines that only repeat, so that attempts at one problem differ in length.

    3+4=2
    =2              a repeat: the last result once more; a step that adds nothing and may be left out

Every well-formed attempt at a plain chain problem has as many lines as the problem has operations: the product of its
step scores and their geometric mean then rank the attempts of a problem alike, and no claim about one against the other
could fail. Ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.chain_world import parse_line, parse_prompt
from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.types import Floats, Outcome, Problem, Step

_REPEAT = re.compile(r"=([0-9]+)")


def with_repeats(task: Task, share: float) -> Task:
    """The chain task whose demonstrator repeats each result with probability `share`; verifier and oracle allow it.

    `label_steps`: a repeat is sound iff it is the result written before it (at first, the start), NaN where that line
    was none; other lines are labelled as if there were no repeats. `verify` does not look at repeats.
    Raises ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share of repeats is {share}; allowed: 0 to 1")

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        steps = []
        for step in task.demonstrate(problem, rng):
            steps.append(step)
            if rng.random() < share:
                steps.append(Step("=" + step.text.rpartition("=")[2]))
        return steps

    def label_steps(problem: Problem, steps: Solution) -> Floats:
        lines = [step for step in steps if step.sampled]
        repeat_S = np.array([_is_repeat(step) for step in lines], dtype=np.bool_)
        label_S = np.full(len(lines), np.nan)
        label_S[~repeat_S] = task.label_steps(problem, _without(lines))
        before: int | None = parse_prompt(problem.prompt)[0]
        for place, step in enumerate(lines):
            if repeat_S[place]:
                label_S[place] = np.nan if before is None else float(int(step.text[1:]) == before)
            else:
                line = parse_line(step.text)
                before = None if line is None else line[3]
        return label_S

    def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        return task.verify(problem, [_without(solution) for solution in solutions])

    return replace(task, demonstrate=demonstrate, label_steps=label_steps, verify=verify)


def _is_repeat(step: Step) -> bool:
    return step.sampled and _REPEAT.fullmatch(step.text) is not None


def _without(steps: Solution) -> list[Step]:
    return [step for step in steps if not _is_repeat(step)]
