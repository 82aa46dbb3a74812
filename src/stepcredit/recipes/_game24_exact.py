"""Game of 24 in exact fractions: what can still become 24, what a written line does to the numbers left, whether an answer holds.

A line is "13 - 9 = 4 (left: 4 4 10)", as GPT-4 writes it. It is sound when all its equations hold, it uses numbers that
are left, the numbers it states as left are the right ones, and 24 can still be made of them. Decimals are read as the
exact number they round: 1.33 is 4/3 where 4/3 is at hand. Game and prompts: Tree of Thoughts, arXiv:2305.10601.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations

TARGET = Fraction(24)
Pair = tuple[int, int]  # numerator, denominator
_LEFT = re.compile(r"\(\s*left:\s*([^)]*)\)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+|/[1-9]\d*)?")
_BARE = re.compile(r"(?<![\d.])(\d+)/(\d+)(?![\d.])")  # 4/3 without blanks is one number; 4 / 3 is a division
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "–": "-", "≈": "="})
_LONGEST = 200  # characters of an expression: nothing written here is longer


def reachable(numbers: Iterable[Fraction]) -> bool:
    """Whether + - * / can make 24 of all the numbers, each used once; brackets as needed.

    >>> reachable((Fraction(2), Fraction(6), Fraction(8))), reachable((Fraction(2), Fraction(2)))
    (True, False)
    """
    return _makes(tuple(sorted((n.numerator, n.denominator) for n in numbers)))


@cache
def _makes(pairs: tuple[Pair, ...]) -> bool:
    """`reachable` of numerators and denominators, which need not be reduced: much faster than fractions."""
    if len(pairs) < 3:
        return pairs[0][0] == 24 * pairs[0][1] if len(pairs) == 1 else _two_make(*pairs)
    for i, j in combinations(range(len(pairs)), 2):
        rest = [pair for k, pair in enumerate(pairs) if k not in (i, j)]
        for made in _results(pairs[i], pairs[j]):
            if _two_make(made, rest[0]) if len(rest) == 1 else _makes((made, *rest)):
                return True
    return False


def _results(first: Pair, second: Pair) -> list[Pair]:
    """Every result of one operation; divisions by 0 left out."""
    (a, b), (c, d) = first, second
    up, down, below = a * d, b * c, b * d
    found = [(up + down, below), (up - down, below), (down - up, below), (a * c, below)]
    return found + ([(up, down)] if down else []) + ([(down, up)] if up else [])


def _two_make(first: Pair, second: Pair) -> bool:
    (a, b), (c, d) = first, second
    up, down, goal = a * d, b * c, 24 * b * d
    if goal in (up + down, up - down, down - up, a * c):
        return True
    return (down != 0 and up == 24 * down) or (up != 0 and down == 24 * up)


@dataclass(frozen=True)
class Line:
    """A line as written: its equated expressions, the numbers of the first, its last number, the numbers stated as left."""

    sides: tuple[ast.expr, ...]
    used: tuple[str, ...]
    made: str | None
    left: tuple[str, ...] | None


def numbers_in(text: str) -> tuple[str, ...]:
    """The numbers of a list such as "12 20/3 4.5"."""
    return tuple(_NUMBER.findall(re.sub(r"\s*/\s*", "/", text)))


@cache
def read_line(text: str) -> Line | None:
    """The line, or None where no equation can be read."""
    shown = _LEFT.search(text.translate(_SIGNS))
    left = None if shown is None else numbers_in(shown[1])
    body = text.translate(_SIGNS) if shown is None else text.translate(_SIGNS)[: shown.start()]
    body = re.sub(r"\([^)]*[a-z][^)]*\)|[a-z,].*$", "", body, flags=re.IGNORECASE)  # "(not possible)", remarks
    sides = [expression(side) for side in body.split("=")]
    read = [side for side in sides if side is not None]
    if len(read) < 2 or len(read) < len(sides):
        return None
    return Line(tuple(read), tuple(_leaves(read[0])), _plain(read[-1]) or _ratio(read[-1]), left)


def expression(text: str) -> ast.expr | None:
    """The expression in numbers, + - * / and brackets, or None."""
    text = _BARE.sub(r"(\1/\2)", text.strip())
    if not text or len(text) > _LONGEST or not re.fullmatch(r"[0-9.+\-*/() ]+", text) or "**" in text or "//" in text:
        return None
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        return None
    return tree if value(tree) is not None else None


def value(tree: ast.expr) -> Fraction | None:
    """Its exact value, decimals as they stand; None for a division by 0 or anything that is no arithmetic."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float) and not isinstance(tree.value, bool):
        return Fraction(str(tree.value))
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub | ast.UAdd):
        inner = value(tree.operand)
        return None if inner is None else -inner if isinstance(tree.op, ast.USub) else inner
    if not isinstance(tree, ast.BinOp):
        return None
    left, right = value(tree.left), value(tree.right)
    return None if left is None or right is None else _operate(tree.op, left, right)


def sound_steps(numbers: Iterable[int], lines: Sequence[str]) -> list[bool | None]:
    """Whether each line is sound up to the first that is not; None after it, and from a line that cannot be read on.

    >>> sound_steps((2, 5, 8, 11), ["11 - 5 = 6 (left: 2 6 8)", "8 - 6 = 2 (left: 2 2)", "2 * 2 = 4 (left: 4)"])
    [True, False, None]
    """
    state, found = sorted(Fraction(n) for n in numbers), list[bool | None]()
    for text in lines:
        line = read_line(text)
        after = None if line is None else _after(state, line)
        found.append(None if line is None else after is not None and reachable(tuple(after)))
        if after is None or not found[-1]:
            break
        state = after
    return found + [None] * (len(lines) - len(found))


def right_answer(numbers: Iterable[int], answer: str) -> bool:
    """Whether the answer's left side uses exactly the numbers and is 24, as the paper's checker decides."""
    left = answer.translate(_SIGNS).split("=")[0]
    tree = expression(left)
    used = sorted(int(n) for n in re.findall(r"\d+", left))
    return tree is not None and used == sorted(numbers) and value(tree) == TARGET


def _operate(op: ast.operator, left: Fraction, right: Fraction) -> Fraction | None:
    if isinstance(op, ast.Add):
        return left + right
    if isinstance(op, ast.Sub):
        return left - right
    if isinstance(op, ast.Mult):
        return left * right
    return left / right if isinstance(op, ast.Div) and right else None


def _after(state: list[Fraction], line: Line) -> list[Fraction] | None:
    """The numbers left after the line, in rising order; None where it breaks a rule."""
    rest = list(state)
    made = _consume(line.sides[0], rest)
    if made is None or not all(_same(made, side) for side in line.sides[1:]):
        return None
    after = sorted([*rest, made])
    if line.left is None:
        return after
    unmatched = list(after)
    for text in line.left:
        at = _find(text, unmatched)
        if at is None:
            return None
        del unmatched[at]
    return None if unmatched else after


def _consume(tree: ast.expr, rest: list[Fraction]) -> Fraction | None:
    """The exact value of a side, its numbers taken out of `rest`; None where one is not there.

    "4 / 3" are two numbers where both are there, else the one number 4/3.
    """
    text = _plain(tree)
    if text is not None:
        at = _find(text, rest)
        return None if at is None else rest.pop(at)
    if isinstance(tree, ast.UnaryOp):
        inner = _consume(tree.operand, rest)
        return None if inner is None else -inner
    assert isinstance(tree, ast.BinOp)
    kept = list(rest)
    left = _consume(tree.left, rest)
    right = None if left is None else _consume(tree.right, rest)
    if left is not None and right is not None:
        return _operate(tree.op, left, right)
    rest[:] = kept
    whole = value(tree)
    if isinstance(tree.op, ast.Div) and whole in rest:
        rest.remove(whole)
        return whole
    return None


def _find(text: str, among: Sequence[Fraction]) -> int | None:
    """Where the number stands that is written so: exactly, else the first it is a rounding of."""
    exact = Fraction(text)
    if exact in among:
        return among.index(exact)
    return next((i for i, n in enumerate(among) if _rounds(text, n)), None)


def _same(made: Fraction, side: ast.expr) -> bool:
    text = _plain(side)
    return value(side) == made or (text is not None and _rounds(text, made))


def _rounds(text: str, exact: Fraction) -> bool:
    """Whether a decimal as written is within half a unit of its last place of the exact number."""
    if "." not in text:
        return False
    return abs(Fraction(text) - exact) <= Fraction(1, 2 * 10 ** len(text.split(".")[1]))


def _plain(tree: ast.expr) -> str | None:
    """A single number as written, else None."""
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        inner = _plain(tree.operand) if isinstance(tree.operand, ast.Constant) else None
        return None if inner is None else f"-{inner}"
    return str(tree.value) if isinstance(tree, ast.Constant) else None


def _parts(tree: ast.expr) -> list[ast.expr]:
    if isinstance(tree, ast.BinOp):
        return [tree.left, tree.right]
    return [tree.operand] if isinstance(tree, ast.UnaryOp) else []


def _ratio(tree: ast.expr) -> str | None:
    """One number over another as "4/3", else None."""
    parts = (
        [_plain(part) for part in _parts(tree)] if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Div) else []
    )
    return f"{parts[0]}/{parts[1]}" if parts and all(parts) else None


def _leaves(tree: ast.expr) -> list[str]:
    plain = _plain(tree)
    return [plain] if plain is not None else [text for part in _parts(tree) for text in _leaves(part)]
