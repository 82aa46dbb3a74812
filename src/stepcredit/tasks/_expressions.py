"""Integer expressions with +, -, * and letters, as people write them in a trace: reading, values, identity."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import numpy as np

_LONGEST = 500  # characters: no expression of these problems is longer, and the tree stays within Python's recursion


def parse(text: str) -> ast.expr | None:
    """The expression, or None if it is none; a closing full stop, quotes and unmatched outer brackets are forgiven."""
    text = text.strip().strip('".').strip().replace("×", "*").replace("−", "-")
    if not text or len(text) > _LONGEST or not re.fullmatch(r"[A-Z0-9+\-*() ]+", text):
        return None
    missing = text.count("(") - text.count(")")
    for candidate in (text, text + ")" * missing, "(" * -missing + text):
        try:
            return ast.parse(candidate.strip(), mode="eval").body
        except (SyntaxError, RecursionError, MemoryError):
            continue
    return None


def evaluate(tree: ast.expr | None, value_of: Mapping[str, int]) -> int | None:
    """Its value; None for no expression, a letter without value, or anything but + - * on integers."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    if isinstance(tree, ast.Name):
        return value_of.get(tree.id)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub | ast.UAdd):
        value = evaluate(tree.operand, value_of)
        return None if value is None else -value if isinstance(tree.op, ast.USub) else value
    if isinstance(tree, ast.BinOp):
        left, right = evaluate(tree.left, value_of), evaluate(tree.right, value_of)
        if left is None or right is None:
            return None
        if isinstance(tree.op, ast.Add):
            return left + right
        if isinstance(tree.op, ast.Sub):
            return left - right
        if isinstance(tree.op, ast.Mult):
            return left * right
    return None


def same_form(first: str, second: str, *, definitions: Mapping[str, str] | None = None) -> bool:
    """Whether two expressions hold the same numbers in the same places: equal for *any* numbers put in their place.

    `definitions` are written out in `first`. Decided by value at three draws of large numbers, so brackets and
    the order of equal operations do not matter, and accidents of value do not count.

    >>> same_form("A - B", "(5 - 6)", definitions={"A": "5", "B": "(6)"}), same_form("5 - 6 + 1", "5 - (6 + 1)")
    (True, False)
    """
    for name, body in (definitions or {}).items():
        first = re.sub(rf"\b{name}\b", f"({body})", first)
    if re.findall(r"\d+", first) != re.findall(r"\d+", second):
        return False
    rng = np.random.default_rng(0)
    for _ in range(3):
        draws = [int(d) for d in rng.integers(10**6, 10**9, len(re.findall(r"\d+", second)))]
        letters = {letter: int(rng.integers(10**6, 10**9)) for letter in "ABCDEFGH"}
        values = [evaluate(parse(_renumbered(text, draws)), letters) for text in (first, second)]
        if values[0] is None or values[0] != values[1]:
            return False
    return True


def _renumbered(text: str, draws: list[int]) -> str:
    rest = iter(draws)
    return re.sub(r"\d+", lambda _: str(next(rest)), text)
