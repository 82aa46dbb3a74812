"""What the answers of a search are worth, and finished cells on disk, so that a killed run loses at most one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from stepcredit.core.protocols import Solution, Task
from stepcredit.core.stats import rate
from stepcredit.core.tree import first_error
from stepcredit.core.types import Cost, Estimate, Problem
from stepcredit.recipes._arms import ArmResult, load_results, save_results

Results = dict[str, ArmResult]
LUCKY, UNLUCKY = "right with a wrong step", "wrong with sound steps"


def kept(path: Path, make: Callable[[], Results], progress: bool = False) -> Results:
    """The results at `path`, made and written there where they are not yet."""
    known = load_results(path)
    if known is None:
        known = make()
        save_results(known, path)
        if progress:
            print(f"{path.parent.name} {path.stem}: {told(known)}", flush=True)
    return known


def told(results: Results) -> str:
    """The first number of each result, in a line."""
    pairs = [(name, next(iter(one.estimates.items()), None)) for name, one in results.items()]
    return ", ".join(f"{name} {what[0]} {what[1].value:.3f}" for name, what in pairs if what)


def worth(task: Task, problems: Sequence[Problem], answers: Sequence[Solution]) -> dict[str, Estimate]:
    """Share of answers that are right, and of those right or wrong for another reason than their steps.

    Truth only measures here. A wrong answer with sound steps stopped too early.
    """
    right = [task.verify(p, [answer])[0].correct is True for p, answer in zip(problems, answers, strict=True)]
    sound = [first_error(task.label_steps(p, answer)) < 0 for p, answer in zip(problems, answers, strict=True)]
    right_P, sound_P = np.array(right), np.array(sound)
    of = {"accuracy": right_P, LUCKY: right_P & ~sound_P, UNLUCKY: ~right_P & sound_P}
    return {name: rate(int(hit_P.sum()), len(problems), name) for name, hit_P in of.items()}


def each(num: int, cost: Cost) -> dict[str, float]:
    """A cost per problem; calls of critics and of the verifier apart."""
    return {"generated_tokens": cost.generated_tokens / num, "forwarded_tokens": cost.forwarded_tokens / num,
            "critic_calls": cost.judge_calls / num, "verifier_calls": cost.verifier_calls / num}  # fmt: skip
