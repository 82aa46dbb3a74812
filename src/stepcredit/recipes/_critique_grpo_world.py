"""The world of `recipes/critique_grpo`: chains with habits, a model that writes and that writes again, an oracle's critiques.

A few facts of the demonstrator are wrong nearly always (`tasks/chain`, systematic slips), so a problem that meets one is right
next to never, and all attempts at it fail alike: a plateau that sampling hardly leaves. The start policy is trained on two modes:

    question -> attempt                                          with its slips
    question, wrong attempt, critique -> attempt written again   sound lines kept, the named one put right, then as ever

so a refinement is right only if no other habit waits behind the one that was named. Departs: the model is made for this.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcredit.core import registry
from stepcredit.core.chain_world import compute, parse_line, parse_prompt
from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.types import Problem, Step
from stepcredit.judge._critics import MISTAKE, SOUND
from stepcredit.recipes._pools import problems_of
from stepcredit.rollout.refine import context_of

TEMPLATE = "{prompt}\n{attempt}\n{critique}\n"
MAX_POSITIONS = 128


@dataclass(frozen=True)
class Scale:
    """How much is shown, trained and tested; `task` are knobs of `tasks/chain`, `sloppy` the random slips of what is criticised."""

    num_demonstrations: int
    policy_updates: int
    num_train: int
    num_test: int
    sloppy: float = 0.25
    batch_size: int = 32
    hidden: int = 64
    layers: int = 2
    learning_rate: float = 2e-3
    task: tuple[tuple[str, float], ...] = ()


@dataclass
class World:
    """One seed: problems, and the model folder, made when first needed and found again by content under `out/cache`."""

    scale: Scale
    seed: int
    out: Path
    progress: bool = False

    @functools.cached_property
    def task(self) -> Task:
        """The task, whose step oracle only critics and demonstrations ask."""
        made: Task = registry.bind("tasks", "chain", **dict(self.scale.task))()
        return made

    @functools.cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """Distinct problems: train, test, and those that were shown."""
        sizes = {"train": self.scale.num_train, "test": self.scale.num_test, "shown": self.scale.num_demonstrations}
        return problems_of(self.task, sizes, self.seed)

    @functools.cached_property
    def examples(self) -> list[tuple[str, str]]:
        """What the policy reads and what it is to write: each problem in the first mode, and an attempt at it in the second.

        What is criticised is a sloppier demonstrator's, for mistakes of all kinds at all places. Half of the critiques are the
        oracle's, half name any line and any result, and all are obeyed: else the model would learn to correct by itself
        whatever the critique says, and the critic would not matter.
        """
        draw = rng(self.seed, "demonstrations")
        sloppy: Task = registry.bind("tasks", "chain", **{**dict(self.scale.task), "random_slip": self.scale.sloppy})()
        found = []
        for problem in self.problems["shown"]:
            found.append((problem.prompt + "\n", text_of(self.task.demonstrate(problem, draw))))
            steps = sloppy.demonstrate(problem, draw)
            at = first_error(self.task.label_steps(problem, steps))
            said = self.correction(problem, steps, at) if at >= 0 else ""
            if draw.random() < 0.5:
                at, said = int(draw.integers(len(steps))), str(draw.integers(problem.meta["modulus"]))
            critique = MISTAKE.format(at + 1, said) if at >= 0 else SOUND
            context = context_of(TEMPLATE, problem.prompt, text_of(steps), critique)
            found.append((context, text_of(self.again(problem, steps, at, said, draw) if at >= 0 else steps)))
        return found

    def again(self, problem: Problem, steps: Solution, at: int, said: str, draw: Rng) -> list[Step]:
        """The attempt up to the line at a place, that line with the result said, and what the demonstrator writes behind it."""
        start, operations = parse_prompt(problem.prompt)
        value = result_of(steps[at - 1]) if at else start
        rest = " ".join([said, *(f"{sign}{operand}" for sign, operand in operations[at + 1 :])])
        behind = self.task.demonstrate(Problem("rest", rest), draw) if at + 1 < len(operations) else []
        sign, operand = operations[at]
        return [*steps[:at], Step(f"{value}{sign}{operand}={said}"), *behind]

    def correction(self, problem: Problem, steps: Solution, at: int) -> str:
        """The right result of the line at a place, from the line before it; behind the last operation, nothing."""
        start, operations = parse_prompt(problem.prompt)
        if at >= len(operations):
            return "nothing"
        value = result_of(steps[at - 1]) if at else start
        return str(compute(value, *operations[at], problem.meta["modulus"]))

    def falsehood(self, problem: Problem, steps: Solution, at: int) -> str:
        """A wrong result for a sound line: the next number."""
        return str((int(self.correction(problem, steps, at)) + 1) % problem.meta["modulus"])

    @functools.cached_property
    def folder(self) -> Path:
        """The start policy. The first call makes a tokenizer and weights, the second teaches continuations alone."""
        from stepcredit.train.sft import fine_tune
        from stepcredit.train.tiny import train_language_model

        texts = ["".join(pair) for pair in self.examples]
        made = train_language_model(texts, self.out / "cache", hidden=self.scale.hidden, layers=self.scale.layers,
                                    num_updates=1, max_positions=MAX_POSITIONS, seed=self.seed, progress=False)  # fmt: skip
        return fine_tune(made, self.examples, self.out / "cache", num_updates=self.scale.policy_updates, batch_size=self.scale.batch_size,
                         learning_rate=self.scale.learning_rate, seed=self.seed, progress=self.progress)  # fmt: skip

    def policy(self) -> Any:
        """A fresh one, whose costs start at nothing."""
        from stepcredit.policy.hf import hf

        return hf(str(self.folder))


def text_of(steps: Sequence[Step]) -> str:
    """Lines as they are written, without a delimiter behind the last."""
    return "\n".join(step.text for step in steps)


def result_of(step: Step) -> int:
    """What a line ends in. It is a line: the oracle called it sound."""
    line = parse_line(step.text)
    assert line is not None
    return line[3]
