"""Probes of chain-world judges: attempts that every seed's judge scores, planted errors, and the kinds of first errors.

None of them teaches anything. Two judges that learnt the same credit rank the steps of the same attempts alike; a judge of
steps says the same of a sound step whatever stood before it; what best-of-N picks is an error the judge does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core import diagnostics, registry
from stepcredit.core.chain_world import World, compute, parse_line, parse_prompt, world
from stepcredit.core.protocols import Judge, Solution
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.types import Problem, Record, Step

Attempt = tuple[Problem, Solution]


@dataclass(frozen=True, eq=False)
class Probes:
    """`attempts`: shared by all seeds. `pairs`: a clean attempt, one with an error before, the step sound in both."""

    attempts: tuple[Attempt, ...]
    pairs: tuple[tuple[Attempt, Attempt, int], ...]
    world: World

    def told(self, judge: Judge) -> list[list[float]]:
        """What the judge says of each step of the shared attempts by itself."""
        return [[round(float(s), 4) for s in j.local_scores_S] for j in judge(list(self.attempts))]

    def contamination(self, judge: Judge) -> list[str]:
        """Sentences on how an error before it changes what is said of a sound step."""
        sides = [judge([pair[0] for pair in self.pairs]), judge([pair[1] for pair in self.pairs])]
        clean, corrupted = ([float(judged.local_scores_S[at]) for judged, (_, _, at) in zip(side, self.pairs, strict=True)]
                            for side in sides)  # fmt: skip
        problems = [problem.id for (problem, _), _, _ in self.pairs]
        return diagnostics.prefix_contamination(
            np.array(clean), np.array(corrupted), problems, rng=rng(0, "contamination")
        ).lines()

    def kinds(self, records: Sequence[Record]) -> list[list[str]]:
        """The kind of each attempt's first error: none, habit (a systematic slip), rare slip, or no line of its own."""
        return [[self._kind(record, leaf) for leaf in record.tree.leaves] for record in records]

    def _kind(self, record: Record, leaf: int) -> str:
        tree = record.tree
        nodes = [node for node in tree.path(leaf) if tree.steps[node].sampled]
        at = first_error(record.credits["truth"].values_N[nodes])
        if at < 0:
            return "no error"
        line = parse_line(tree.steps[nodes[at]].text)
        if line is None:
            return "no line"
        value, sign, operand, result = line
        if result == compute(value, sign, operand, self.world.modulus):
            return "not the problem's operation"
        return "habit" if self.world.slips.get((value, sign, operand)) == result else "rare slip"


def chain_probes(num: int = 200) -> Probes:
    """`num` demonstrations of the chain task as it is by default, and up to `num` pairs around a multiplication by 0."""
    knobs = registry.get("tasks", "chain").knobs
    task, draw = registry.bind("tasks", "chain")(), rng(0, "probes")
    problems = task.problems(6 * num, draw)
    attempts = tuple((p, tuple(task.demonstrate(p, draw))) for p in problems[:num])
    pairs = [pair for p in problems[num:] if (pair := _planted(p, knobs["modulus"])) is not None]
    law = {name: knobs[name] for name in ("modulus", "random_slip", "systematic_slip", "num_slips", "slip_seed")}
    return Probes(attempts, tuple(pairs[:num]), world(**law))


def _planted(problem: Problem, modulus: int) -> tuple[Attempt, Attempt, int] | None:
    """The reference beside the same with a wrong first result, carried on until a times-zero absorbs it."""
    value, operations = parse_prompt(problem.prompt)
    zero = next((i for i, op in enumerate(operations) if op == ("*", 0)), 0)
    if not 0 < zero < len(operations) - 1:
        return None
    wrong = []
    for index, (sign, operand) in enumerate(operations[: zero + 1]):
        result = (compute(value, sign, operand, modulus) + (index == 0)) % modulus
        wrong.append(Step(f"{value}{sign}{operand}={result}"))
        value = result
    clean = tuple(Step(text) for text in problem.reference or ())
    return (problem, clean), (problem, (*wrong, *clean[zero + 1 :])), zero + 1
