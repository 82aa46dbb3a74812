"""What families promise each other: batched, synchronous callables.

Threads, HTTP and GPU batches are the implementation's affair. A registered function asks for one of these by
annotating a keyword-only argument without default (see `core/registry.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from stepcredit.core.environment import Environment
from stepcredit.core.types import Completion, Floats, Judgment, Outcome, Preference, Problem, Step

Rng = np.random.Generator
Solution = Sequence[Step]


@runtime_checkable
class Policy(Protocol):
    """Something that writes tokens."""

    def sample(
        self, prefixes: Sequence[str], num: int, rng: Rng, *, stop: Sequence[str] = (), max_new_tokens: int = 256
    ) -> list[list[Completion]]:
        """`num` completions of each prefix; a completion ends before the first of `stop`, or at the end token."""
        ...

    def logprob(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Floats:
        """Log p(continuation | prefix), summed over its tokens, in nats; shape [len(prefixes)]."""
        ...


class Verifier(Protocol):
    """The anchor: decides outcomes, and says so when it cannot."""

    def __call__(self, problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        """One outcome per solution, in order."""
        ...


class Judge(Protocol):
    """Scores the steps of attempts. Never sees an outcome."""

    def __call__(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        """One judgment per attempt, in order."""
        ...


class Comparator(Protocol):
    """Prefers one of two attempts."""

    def __call__(self, pairs: Sequence[tuple[Problem, Solution, Solution]]) -> list[Preference]:
        """One preference per pair, in order."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Shape [len(texts), d]."""
        ...


@dataclass(frozen=True)
class Task:
    """A procedural domain with an exact step oracle.

    `problems(num, rng)` makes problems whose `prompt` and `answer` are complete; `demonstrate(problem, rng)` writes
    the steps of one noisy attempt, slips included; `label_steps(problem, steps)` is the oracle: 1 where a step is
    sound given what stands before it, 0 where it is wrong, NaN where it cannot be read; one entry per sampled step.
    `verify` decides outcomes exactly. `observe(problem, steps)`, where a domain has it, returns the steps with what the
    environment shows after each (`tool_result`, `sampled=False`), and must not tell whether a step was allowed.
    `environment`, where a domain has calls, answers them one turn at a time, so that a policy can play (`rollout/episodes`).
    """

    name: str
    problems: Callable[[int, Rng], list[Problem]]
    demonstrate: Callable[[Problem, Rng], list[Step]]
    label_steps: Callable[[Problem, Solution], Floats]
    verify: Verifier
    observe: Callable[[Problem, Solution], list[Step]] | None = None
    delimiter: str = "\n"
    environment: Environment | None = None
