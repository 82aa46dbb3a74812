"""Sums and products that may be written either way round: an arithmetic chain with branching, so that search has a choice.

    prompt   3 +4 *2            modulo 5
    attempt  4+3=2              or 3+4=2: a line an operation, in order, each from the result before it
             2*2=4              the last result is the answer

The demonstrator writes either way round with equal chances, and slips as in `tasks/chain` (`core/chain_world`): some facts
have a wrong result of their own, 4+3 another than 3+4. So an attempt can go round a slip, and attempts at one problem are
several ways to one answer, which self-consistency needs. Nothing is multiplied by 0: nothing wipes an error out, and a
broken attempt ends right by luck alone. The last line is followed by the end token: an end is seen with its last step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from stepcredit.core.chain_world import Operation, compute, parse_line, parse_prompt, world
from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.types import Floats, Outcome, Problem, Step

NAME = "either_way"
SIGNS = "+*"


def either_way(*, modulus: int = 5, min_ops: int = 3, max_ops: int = 6, random_slip: float = 0.03, systematic_slip: float = 0.7,
               num_slips: int = 18, slip_seed: int = 2) -> Task:  # fmt: skip
    """The task. `num_slips` facts of 3 modulus^2, of which two thirds are sums and products, have a slip of their own.

    `label_steps`: a line is sound iff it joins the result before it (at first, the start) and the operand by the sign of the
    operation at its place, either way round, and its result is right. What is no line is wrong; behind it there is nothing
    to go on from: NaN, unless the line's own result, sign or operand is wrong. Lines beyond the operations are wrong.
    `verify` reads the last line: unparsed if it is none; right iff there are as many lines as operations and the last
    result is the answer. Raises ValueError for impossible knobs, and for more problems than there are distinct ones.
    """
    if not 1 <= min_ops <= max_ops:
        raise ValueError(f"operations {min_ops} to {max_ops}; expected 1 <= min_ops <= max_ops")
    own = world(modulus, random_slip, systematic_slip, num_slips, slip_seed)

    def problems(num: int, rng: Rng) -> list[Problem]:
        found: dict[str, Problem] = {}
        for _ in range(100 * num + 1000):
            if len(found) >= num:
                break
            prompt = _prompt(modulus, int(rng.integers(min_ops, max_ops + 1)), rng)
            found.setdefault(prompt, _problem(prompt, modulus))
        if len(found) < num:
            raise ValueError(f"{num} distinct problems asked, {len(found)} found; allow more operations")
        return list(found.values())

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        value, operations = parse_prompt(problem.prompt)
        steps = []
        for sign, operand in operations:
            first, second = (value, operand) if rng.random() < 0.5 else (operand, value)
            value = int(rng.choice(modulus, p=own.law(first, sign, second)))
            steps.append(Step(f"{first}{sign}{second}={value}"))
        return steps

    def label_steps(problem: Problem, steps: Solution) -> Floats:
        start, operations = parse_prompt(problem.prompt)
        before: int | None = start
        label_S = []
        for index, text in enumerate(step.text for step in steps if step.sampled):
            label_S.append(_label(text, before, operations[index : index + 1], modulus))
            line = parse_line(text)
            before = None if line is None else line[3]
        return np.array(label_S, dtype=np.float64)

    def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        return [_outcome(problem, solution) for solution in solutions]

    return Task(NAME, problems, demonstrate, label_steps, verify)


def text_of(problem: Problem, steps: Sequence[Step]) -> tuple[str, str]:
    """What a policy reads, and what it is to write behind it."""
    return problem.prompt + "\n", "\n".join(step.text for step in steps)


def _prompt(modulus: int, num_ops: int, rng: Rng) -> str:
    words = [str(rng.integers(modulus))]
    for _ in range(num_ops):
        sign = SIGNS[int(rng.integers(2))]
        words.append(f"{sign}{rng.integers(sign == '*', modulus)}")
    return " ".join(words)


def _problem(prompt: str, modulus: int) -> Problem:
    value, operations = parse_prompt(prompt)
    for sign, operand in operations:
        value = compute(value, sign, operand, modulus)
    key = hashlib.sha256(f"{modulus} {prompt}".encode()).hexdigest()[:12]
    return Problem(f"{NAME}-{key}", prompt, str(value), meta={"modulus": modulus, "num_ops": len(operations)})


def _label(text: str, before: int | None, due: Sequence[Operation], modulus: int) -> float:
    line = parse_line(text)
    if line is None or not due:
        return 0.0
    first, sign, second, result = line
    (wanted, operand) = due[0]
    if sign != wanted or operand not in (first, second) or result != compute(first, sign, second, modulus):
        return 0.0
    other = second if first == operand else first
    return float("nan") if before is None else float(other == before)


def _outcome(problem: Problem, solution: Solution) -> Outcome:
    lines = [parse_line(step.text) for step in solution if step.sampled]
    if not lines or lines[-1] is None:
        return Outcome(well_formed=False, status="unparsed", verifier=NAME)
    answer = str(lines[-1][3])
    complete = len(lines) == len(parse_prompt(problem.prompt)[1])
    correct = complete and answer == problem.answer
    return Outcome(float(correct), correct, complete and None not in lines, answer, "scored", NAME)
