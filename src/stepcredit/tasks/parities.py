r"""A chain of parities, one bit a line: right by luck half of the time at each line, and wrong for good after one slip.

    Z_i = Z_(i-1) xor X_i xor Y_i,   i = 1..L,   Z_0 given          P(right by luck) = 2^-L

    prompt   1 aA bb CC              Z_0, then a word a place: its first letter is upper case where X_i, its second where Y_i
    attempt  aA0                     a line a place: its word, then Z_i;   1 xor 0 xor 1 = 0
             bb0
             CC0

The chain of parities of AdaBack (arXiv:2506.18110), which calls its kind a blind cliff walk: the answer is every Z, so that an
outcome tells of no line until all are right. In words instead of bits: a language model that is taught words as tokens knows
nothing of their letters, and must find the bit of each of the 4 L words. `carry=False` leaves Z_(i-1) out, Z_i = X_i xor Y_i:
the same cliff without an xor over what was written, which the smallest networks do not find by trial.
What is given of an attempt (`sampled=False`) counts as written: a start on a demonstration is judged with what it adds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np

from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.types import Floats, Outcome, Problem, Step

MOST = len(ascii_lowercase)
_LINE = re.compile(r"([A-Za-z]{2})([01])")


@register("tasks", paper="arXiv:2506.18110")
def parities(*, min_length: int = 4, max_length: int = 10, carry: bool = True, slip: float = 0.1) -> Task:
    """The parities task.

    With `carry` each bit is the parity of its word and of the bit before it, without it of its word alone.

    Problems are distinct, with `min_length` to `max_length` places (uniform) and uniform bits; `answer` is all Z in a row.

    `demonstrate`: each bit is wrong with probability `slip`, given the bit written before it, and carried on; 0 writes the
    right attempt, .5 random bits in the right format.

    `label_steps`: a line is sound iff it has its place's word and the bit follows from the bit written before it; a text
    that is no line is 0, the line after it 0 where its word is wrong, else NaN; lines behind the last place are 0.

    `verify`: no step at all, or a last step that is no line: "unparsed". Otherwise reward 1 iff the lines are the places'
    words in order, each with its Z; `well_formed` says whether words and number of lines are right.

    Raises ValueError for impossible knobs, and for more problems than the knobs allow distinct ones.
    """
    if not 1 <= min_length <= max_length <= MOST:
        raise ValueError(f"lengths {min_length} to {max_length}; expected 1 <= min_length <= max_length <= {MOST}")
    if not 0.0 <= slip <= 1.0:
        raise ValueError(f"slip is {slip}; allowed: 0 to 1")

    def problems(num: int, rng: Rng) -> list[Problem]:
        found: dict[str, Problem] = {}
        for _ in range(100 * num + 1000):
            if len(found) == num:
                break
            made = _problem(rng.integers(2, size=1 + 2 * int(rng.integers(min_length, max_length + 1))).tolist(), carry)
            found.setdefault(made.prompt, made)
        if len(found) < num:
            raise ValueError(f"{num} distinct problems asked, {len(found)} found; allow more places")
        return list(found.values())

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        bit, words = _read(problem.prompt)
        steps = []
        for word in words:
            bit = _next(bit, word, carry) ^ int(rng.random() < slip)
            steps.append(Step(f"{word}{bit}"))
        return steps

    return Task("parities", problems, demonstrate, _labels, _outcomes)


def _problem(bits: Sequence[int], carry: bool) -> Problem:
    bit, *rest = bits
    words = [_word(place, x, y) for place, (x, y) in enumerate(zip(rest[::2], rest[1::2], strict=True))]
    prompt = " ".join([str(bit), *words])
    lines = []
    for word in words:
        bit = _next(bit, word, carry)
        lines.append(f"{word}{bit}")
    key = hashlib.sha256(f"{carry} {prompt}".encode()).hexdigest()[:12]
    answer = "".join(line[-1] for line in lines)
    return Problem(f"parities-{key}", prompt, answer, tuple(lines), {"length": len(words), "carry": carry})


def _word(place: int, x: int, y: int) -> str:
    letter = ascii_lowercase[place]
    return (letter.upper() if x else letter) + (letter.upper() if y else letter)


def _next(bit: int, word: str, carry: bool) -> int:
    """The bit after a word, given the one before it."""
    return (bit if carry else 0) ^ sum(letter.isupper() for letter in word) % 2


def _read(prompt: str) -> tuple[int, list[str]]:
    bit, *words = prompt.split()
    return int(bit), words


def _labels(problem: Problem, steps: Solution) -> Floats:
    """One entry per sampled step; what is given before them is read, not labelled."""
    first, words = _read(problem.prompt)
    carry = bool(problem.meta["carry"])
    before: int | None = first
    label_S = []
    for place, step in enumerate(steps):
        line = _LINE.fullmatch(step.text)
        if line is None or place >= len(words) or line[1] != words[place]:
            label = 0.0
        else:
            unknown = carry and before is None
            label = np.nan if unknown else float(int(line[2]) == _next(before or 0, line[1], carry))
        before = None if line is None else int(line[2])
        if step.sampled:
            label_S.append(label)
    return np.array(label_S, dtype=np.float64)


def _outcomes(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
    return [_outcome(problem, solution) for solution in solutions]


def _outcome(problem: Problem, solution: Solution) -> Outcome:
    lines = [_LINE.fullmatch(step.text) for step in solution]
    if not lines or lines[-1] is None:
        return Outcome(well_formed=False, status="unparsed", verifier="parities")
    written = [line[1] if line else "" for line in lines]
    answer = "".join(line[2] if line else "?" for line in lines)
    well_formed = written == _read(problem.prompt)[1]
    correct = well_formed and answer == problem.answer
    return Outcome(float(correct), correct, well_formed, answer, "scored", "parities")
