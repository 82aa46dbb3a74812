"""The arithmetic-chain world: its grammar, and the law by which its demonstrator slips.

Shared by the task that shows the world (`tasks/chain`) and the policy that knows its values in closed form
(`policy/tabular`). All numbers are residues modulo p. A problem is a start and operations, "3 +4 *0 -2"; an attempt
has one line per operation, "3+4=2", and its last result is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stepcredit.core.rng import rng
from stepcredit.core.types import Floats

SIGNS = "+-*"
Operation = tuple[str, int]
Line = tuple[int, str, int, int]

_NUMBER = r"(0|[1-9][0-9]*)"
_PROMPT = re.compile(rf"{_NUMBER}( [+*-]{_NUMBER})+")
_LINE = re.compile(rf"{_NUMBER}([+*-]){_NUMBER}={_NUMBER}")


def compute(value: int, sign: str, operand: int, modulus: int) -> int:
    """The right result of one operation, in 0..modulus-1.

    >>> compute(0, "-", 2, 5)
    3
    """
    exact = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
    return exact % modulus


def parse_prompt(prompt: str) -> tuple[int, list[Operation]]:
    """Start value and operations of a prompt; ValueError where it is none.

    >>> parse_prompt("3 +4 *0")
    (3, [('+', 4), ('*', 0)])
    """
    if not _PROMPT.fullmatch(prompt):
        raise ValueError(f"chain prompt {prompt!r}; expected a start and operations, such as '3 +4 *0 -2'")
    start, *rest = prompt.split(" ")
    return int(start), [(word[0], int(word[1:])) for word in rest]


def parse_line(text: str) -> Line | None:
    """(value, sign, operand, result) of "3+4=2", or None; nothing but the line itself is accepted."""
    match = _LINE.fullmatch(text)
    return None if match is None else (int(match[1]), match[2], int(match[3]), int(match[4]))


@dataclass(frozen=True)
class World:
    """A modulus and a law of slips.

    With probability `random_slip` a line's result is one of the p - 1 wrong ones, uniformly. Otherwise, on one of the
    facts in `slips`, it is with probability `systematic_slip` that fact's own wrong result. Otherwise it is right.

    >>> world = World(5, 0.0, 1.0, {(3, "+", 4): 1})
    >>> world.law(3, "+", 4), world.law(3, "+", 1)
    (array([0., 1., 0., 0., 0.]), array([0., 0., 0., 0., 1.]))
    """

    modulus: int
    random_slip: float
    systematic_slip: float
    slips: Mapping[tuple[int, str, int], int]

    def law(self, value: int, sign: str, operand: int) -> Floats:
        """P(written result = r) for r = 0..p-1, [p]; sums to 1."""
        law_R = np.full(self.modulus, self.random_slip / (self.modulus - 1))
        right = compute(value, sign, operand, self.modulus)
        law_R[right] = 0.0
        habit = self.slips.get((value, sign, operand))
        share = 0.0 if habit is None else (1.0 - self.random_slip) * self.systematic_slip
        if habit is not None:
            law_R[habit] += share
        law_R[right] = 1.0 - self.random_slip - share
        return law_R


def world(modulus: int, random_slip: float, systematic_slip: float, num_slips: int, slip_seed: int) -> World:
    """The world in which `num_slips` of the 3 p^2 facts, drawn by `slip_seed` alone, have a fixed wrong result each.

    Raises ValueError for a modulus under 2, a probability outside [0, 1] or more slips than facts.
    """
    if modulus < 2:
        raise ValueError(f"modulus is {modulus}; allowed: 2 or more")
    for name, value in (("random_slip", random_slip), ("systematic_slip", systematic_slip)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; allowed: 0 to 1")
    facts = [(a, sign, b) for a in range(modulus) for sign in SIGNS for b in range(modulus)]
    if not 0 <= num_slips <= len(facts):
        raise ValueError(f"num_slips is {num_slips}; allowed: 0 to {len(facts)}, the number of facts")
    draw = rng(slip_seed, "chain world", "slips")
    slips = {}
    for index in draw.permutation(len(facts))[:num_slips]:
        fact = facts[int(index)]
        slips[fact] = (compute(*fact, modulus) + int(draw.integers(1, modulus))) % modulus
    return World(modulus, random_slip, systematic_slip, slips)
