"""What the tasks in the form of BIG-Bench-Mistake share: distinct problems, gold traces, the answer in the last step.

BIG-Bench-Mistake, arXiv:2311.08516: PaLM 2 traces of fixed surface form whose last step ends in "... answer is X".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepcredit.core.protocols import Rng, Solution, Task, Verifier
from stepcredit.core.types import Floats, Outcome, Problem, Step

_ANSWER = re.compile(r"\banswer is\b(.*)", re.IGNORECASE | re.DOTALL)


def trace_task(
    name: str,
    draw: Callable[[Rng], tuple[str, Mapping[str, Any]]],
    attempt: Callable[[str, Rng | None], list[str]],
    label_steps: Callable[[Problem, Solution], Floats],
    canonical: Callable[[str], str] = str,
) -> Task:
    """The task whose problems are the prompts that `draw` makes, with their meta, and whose steps are lines of text.

    `attempt` writes the lines of an attempt at a prompt, slips included; without an rng it writes the gold trace, whose
    last line states the answer. Answers are compared in `canonical` form. The same prompt has the same id everywhere.
    """

    def drawn(rng: Rng) -> Problem:
        prompt, meta = draw(rng)
        gold = attempt(prompt, None)
        key = hashlib.sha256(prompt.encode()).hexdigest()[:12]
        return Problem(f"{name}-{key}", prompt, stated_answer(gold[-1]), tuple(gold), meta)

    def problems(num: int, rng: Rng) -> list[Problem]:
        return _distinct(name, num, lambda: drawn(rng))

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        return [Step(line) for line in attempt(problem.prompt, rng)]

    return Task(name, problems, demonstrate, label_steps, _answer_verifier(name, canonical))


def texts(steps: Solution) -> list[str]:
    """The sampled steps' texts, in order."""
    return [step.text for step in steps if step.sampled]


def _distinct(task: str, num: int, draw: Callable[[], Problem]) -> list[Problem]:
    """`num` problems with different prompts. Raises ValueError when there are not enough."""
    found: dict[str, Problem] = {}
    for _ in range(100 * num + 1000):
        if len(found) >= num:
            break
        problem = draw()
        found.setdefault(problem.prompt, problem)
    if len(found) < num:
        raise ValueError(f"{task}: {num} distinct problems asked, {len(found)} found; allow larger ones")
    return list(found.values())


def stated_answer(text: str) -> str | None:
    """What follows the first "answer is" of a step, spaces collapsed and a closing full stop dropped; None without it.

    >>> stated_answer("So the answer is (B)."), stated_answer("So the answer is"), stated_answer("(B)")
    ('(B)', '', None)
    """
    match = _ANSWER.search(text)
    return None if match is None else " ".join(match[1].split()).removesuffix(".").rstrip()


def _answer_verifier(task: str, canonical: Callable[[str], str] = str) -> Verifier:
    """Compares the answer stated in the last sampled step with `problem.answer`, both in canonical form.

    An attempt whose last step states none (or that has no step) is "unparsed", without reward.
    """

    def one(problem: Problem, solution: Solution) -> Outcome:
        said = texts(solution)
        answer = stated_answer(said[-1]) if said else None
        if not answer:
            return Outcome(well_formed=False, status="unparsed", verifier=task)
        right = canonical(answer) == canonical(str(problem.answer))
        return Outcome(float(right), right, True, answer, "scored", task)

    def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        return [one(problem, solution) for solution in solutions]

    return verify


def check_rates(task: str, **rates: float) -> None:
    """Raise ValueError unless every rate is a probability."""
    for name, rate in rates.items():
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"{task}: {name} is {rate}; allowed: 0 to 1")


def happens(rng: Rng | None, rate: float) -> bool:
    """True with probability `rate`; never without an rng, which is how reference traces are written."""
    return rng is not None and bool(rng.random() < rate)
