"""Arithmetic chains modulo p: every step checkable, wrong prefixes that can recover, slips that a majority repeats.

    prompt   3 +4 *0 -2          start value, then operations from left to right
    attempt  3+4=2               one line per operation, each copying the result before it
             2*0=0
             0-2=3               the last result is the answer

A multiplication by 0 absorbs whatever was wrong before it, so a right outcome does not prove right steps. The
demonstrator carries a slip forward consistently. Its random slips are outvoted by other attempts; its systematic
slips (fixed wrong results of a few facts, see `core/chain_world`) are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from stepcredit.core.chain_world import SIGNS, Line, Operation, World, compute, parse_line, parse_prompt, world
from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.types import Floats, Outcome, Problem, Step


@register("tasks", paper="ours")
def chain(*, modulus: int = 5, min_ops: int = 3, max_ops: int = 8, zero_share: float = 0.5, random_slip: float = 0.06,
          systematic_slip: float = 0.6, num_slips: int = 10, slip_seed: int = 2) -> Task:  # fmt: skip
    """The chain task.

    Problems are distinct, have `min_ops` to `max_ops` operations (uniform) with uniform signs; a multiplication is by
    0 with probability `zero_share`, else by 1..p-1. `answer` is the last result as text.

    `label_steps`: a line is sound iff it starts from the result written before it (at first, the start), applies the
    problem's operation at its place, and its result is right modulo p. A line that is no line is wrong: 0. After one,
    there is no result to copy: the next line is 0 if its operation or its arithmetic is wrong, else NaN. Lines
    beyond the last operation are 0.

    `verify`: reads the last line only. No line there, or no step: "unparsed". A number of lines other than the number
    of operations: wrong, not well-formed, reward 0. Otherwise reward 1 iff the last result is the answer;
    `well_formed` says whether every step is a line.

    The default `slip_seed` gives a demonstrator that is right on .58 of attempts and a majority of 16 on .65.
    Raises ValueError for impossible knobs, and for more problems than the knobs allow distinct ones.
    """
    if not 1 <= min_ops <= max_ops:
        raise ValueError(f"operations {min_ops} to {max_ops}; expected 1 <= min_ops <= max_ops")
    if not 0.0 <= zero_share <= 1.0:
        raise ValueError(f"zero_share is {zero_share}; allowed: 0 to 1")
    own = world(modulus, random_slip, systematic_slip, num_slips, slip_seed)

    def problems(num: int, rng: Rng) -> list[Problem]:
        found: dict[str, Problem] = {}
        tries = 0
        while len(found) < num:
            prompt = _prompt(modulus, int(rng.integers(min_ops, max_ops + 1)), zero_share, rng)
            found.setdefault(prompt, _problem(prompt, modulus))
            tries += 1
            if tries > 100 * num + 1000:
                raise ValueError(
                    f"{num} distinct problems asked, {len(found)} found in {tries} tries; allow more operations"
                )
        return list(found.values())

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        value, operations = parse_prompt(problem.prompt)
        steps = []
        for sign, operand in operations:
            result = _write(own, value, sign, operand, rng)
            steps.append(Step(f"{value}{sign}{operand}={result}"))
            value = result
        return steps

    def label_steps(problem: Problem, steps: Solution) -> Floats:
        start, operations = parse_prompt(problem.prompt)
        before: int | None = start
        label_S = []
        for index, step in enumerate(step for step in steps if step.sampled):
            line = parse_line(step.text)
            if line is None or index >= len(operations) or not _holds(line, operations[index], modulus):
                label_S.append(0.0)
            else:
                label_S.append(np.nan if before is None else float(line[0] == before))
            before = None if line is None else line[3]
        return np.array(label_S, dtype=np.float64)

    def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        return [_outcome(problem, solution) for solution in solutions]

    return Task("chain", problems, demonstrate, label_steps, verify)


def _prompt(modulus: int, num_ops: int, zero_share: float, rng: Rng) -> str:
    words = [str(rng.integers(modulus))]
    for _ in range(num_ops):
        sign = SIGNS[int(rng.integers(3))]
        if sign != "*":
            operand = int(rng.integers(modulus))
        else:
            operand = 0 if rng.random() < zero_share else int(rng.integers(1, modulus))
        words.append(f"{sign}{operand}")
    return " ".join(words)


def _problem(prompt: str, modulus: int) -> Problem:
    value, operations = parse_prompt(prompt)
    reference = []
    for sign, operand in operations:
        result = compute(value, sign, operand, modulus)
        reference.append(f"{value}{sign}{operand}={result}")
        value = result
    key = hashlib.sha256(f"{modulus} {prompt}".encode()).hexdigest()[:12]
    return Problem(
        f"chain-{key}", prompt, str(value), tuple(reference), {"modulus": modulus, "num_ops": len(operations)}
    )


def _holds(line: Line, operation: Operation, modulus: int) -> bool:
    value, sign, operand, result = line
    return (sign, operand) == operation and result == compute(value, sign, operand, modulus)


def _write(own: World, value: int, sign: str, operand: int, rng: Rng) -> int:
    """One draw from `own.law`, without building it."""
    right = compute(value, sign, operand, own.modulus)
    if rng.random() < own.random_slip:
        return (right + int(rng.integers(1, own.modulus))) % own.modulus
    habit = own.slips.get((value, sign, operand))
    return habit if habit is not None and rng.random() < own.systematic_slip else right


def _outcome(problem: Problem, solution: Solution) -> Outcome:
    texts = [step.text for step in solution if step.sampled]
    lines = [parse_line(text) for text in texts]
    if not lines or lines[-1] is None:
        return Outcome(well_formed=False, status="unparsed", verifier="chain")
    answer = str(lines[-1][3])
    complete = len(lines) == len(parse_prompt(problem.prompt)[1])
    correct = complete and answer == problem.answer
    well_formed = complete and all(line is not None for line in lines)
    return Outcome(float(correct), correct, well_formed, answer, "scored", "chain")
