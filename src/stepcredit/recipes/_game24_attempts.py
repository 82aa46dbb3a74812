"""Synthetic Game of 24 attempts on other puzzles: a writer of lines that looks ahead some of the time, and slips.

At each step, with chance `foresight`, a move after which 24 can still be made (the solver's), where there is one; else any
move. Foresight 0 is a random player: no solver behind it at all. With chance `slip` a line goes wrong: its result, a
number it leaves, or a number it uses that is not there. An attempt that ends at 24 answers with the expression it
played, any other with "no solution"; the verifier decides. Which moves were the solver's, and which lines slipped, is
told to no judge.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property, lru_cache
from itertools import combinations, combinations_with_replacement

from stepcredit.core.protocols import Rng
from stepcredit.core.types import Record
from stepcredit.recipes._game24 import attempt
from stepcredit.recipes._game24_exact import TARGET, reachable

Numbers = tuple[Fraction, ...]
WHOLE = 0.9  # how often a writer wants a whole result


@dataclass(frozen=True)
class Move:
    """a sign b = made, and the numbers left after it in rising order."""

    a: Fraction
    sign: str
    b: Fraction
    made: Fraction
    after: Numbers

    @cached_property
    def text(self) -> str:
        """The line, as GPT-4 writes it."""
        left = " ".join(map(told, self.after))
        return f"{told(self.a)} {self.sign} {told(self.b)} = {told(self.made)} (left: {left})"


@lru_cache(maxsize=1)
def puzzles() -> tuple[str, ...]:
    """All 1,362 puzzles: four numbers from 1 to 13 that make 24."""
    every = combinations_with_replacement(range(1, 14), 4)
    return tuple(" ".join(map(str, four)) for four in every if reachable(tuple(map(Fraction, four))))


def synthetic(
    num: int, *, avoid: Collection[str], rng: Rng, foresight: float = 0.7, slip: float = 0.06
) -> list[Record]:
    """`num` attempts, each at a random puzzle that is not in `avoid`, with outcome and truth."""
    allowed = [puzzle for puzzle in puzzles() if puzzle not in avoid]
    if not allowed:
        raise ValueError(f"all {len(puzzles())} puzzles are to be avoided")
    return [attempt(puzzle, *_written(puzzle, rng, foresight, slip))
            for puzzle in (allowed[i] for i in rng.integers(len(allowed), size=num))]  # fmt: skip


def _written(puzzle: str, rng: Rng, foresight: float, slip: float) -> tuple[list[str], str]:
    """The lines, and the answer."""
    state, played = _start(puzzle), list[Move]()
    while len(state) > 1:
        looks, whole, which = rng.random(3)
        options = _options(state, bool(looks < foresight), bool(whole < WHOLE))
        move = options[int(which * len(options))]
        if rng.random() < slip:
            move = _slipped(move, rng)
        played.append(move)
        state = move.after
    return [move.text for move in played], f"{_joined(puzzle, played)} = 24" if state == (TARGET,) else "No solution"


@cache
def _start(puzzle: str) -> Numbers:
    return tuple(sorted(Fraction(number) for number in puzzle.split()))


@cache
def moves(state: Numbers) -> tuple[Move, ...]:
    """Every move without a negative result or a division by 0; divisions that leave a fraction are among them."""
    found = []
    for i, j in combinations(range(len(state)), 2):
        low, high = sorted((state[i], state[j]))
        rest = [n for k, n in enumerate(state) if k not in (i, j)]
        tried = [(low, "+", high, low + high), (high, "-", low, high - low), (low, "*", high, low * high)]
        tried += [(high, "/", low, high / low)] if low else []
        tried += [(low, "/", high, low / high)] if high and low != high else []
        found += [Move(a, sign, b, made, tuple(sorted([*rest, made]))) for a, sign, b, made in tried]
    return tuple(dict.fromkeys(found))


@cache
def _options(state: Numbers, looks: bool, whole: bool) -> tuple[Move, ...]:
    """The moves after which 24 can still be made, of them those with a whole result; each wish where it can be had."""
    found = moves(state)
    found = tuple(move for move in found if looks and reachable(move.after)) or found
    return tuple(move for move in found if whole and move.made.denominator == 1) or found


def _slipped(move: Move, rng: Rng) -> Move:
    """A result beside the right one; a number left twice, lost or changed; or a number used that is not there."""
    a, made, rest = move.a, move.made, list(move.after)
    rest.remove(made)
    kind, other = int(rng.integers(5)), Fraction(int(rng.integers(1, 14)))
    if kind == 0:
        made += int(rng.choice([-2, -1, 1, 2]))
    elif kind == 1:
        rest.append(a)  # used, and kept all the same
    elif kind == 2 and rest:
        rest[int(rng.integers(len(rest)))] = other
    elif kind == 3 and rest:
        del rest[int(rng.integers(len(rest)))]
    else:
        a = other
    return Move(a, move.sign, move.b, made, tuple(sorted([*rest, made])))


def _joined(puzzle: str, played: list[Move]) -> str:
    """The expression that was played, as the writer believes; a number from nowhere is itself."""
    pool = [(number, told(number)) for number in _start(puzzle)]

    def take(number: Fraction) -> str:
        at = next((i for i, (value, _) in enumerate(pool) if value == number), None)
        return told(number) if at is None else pool.pop(at)[1]

    for move in played:
        pool.append((move.made, f"({take(move.a)} {move.sign} {take(move.b)})"))
    return take(Fraction(24))


@cache
def told(number: Fraction) -> str:
    """A whole number, an exact short decimal, or two places."""
    if number.denominator == 1:
        return str(number.numerator)
    return f"{float(number):.2f}".rstrip("0").rstrip(".")
