"""The calculator of `tasks/tool_use`: one operation a call, exact, read with `ast` and never evaluated by Python.

    prompt   work 17 - 9 + 2 * 2          from left to right
    calls    calc 17 - 9 / calc 8 + 2 / calc 10 * 2

Whole numbers, brackets and exact fractions of two digits; all else is an error.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from stepcredit.core.protocols import Rng
from stepcredit.tasks._tool import Meta, Tool, ToolError, other

OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
MAX_LENGTH = 100
LAST, LARGEST = 19, 99  # values of a plan are 0 to 19; the display has two digits: a small model can know all numbers
_SIGNS = "+-*"
_CALL = re.compile(r"calc ([-+*/%() 0-9]+)")


def calculate(text: str, *, max_operations: int = 1) -> Fraction:
    """The exact value of a formula of whole numbers, + - * / // %, signs and brackets.

    Raises ToolError for anything else, division by zero, more operations than allowed (a sign is none) and results of more than two digits.

    >>> calculate("7 / (2)"), calculate("1 + 2 * 3", max_operations=2)
    (Fraction(7, 2), Fraction(7, 1))
    """
    if len(text) > MAX_LENGTH or not re.fullmatch(r"[-+*/%() 0-9]+", text):
        raise ToolError("cannot be read")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ToolError("cannot be read") from error
    if sum(isinstance(node, ast.BinOp) for node in ast.walk(tree)) > max_operations:
        raise ToolError(f"more than {max_operations} operation a call")
    value = _value(tree)
    if abs(value) > LARGEST or value.denominator > LARGEST:
        raise ToolError("too large")
    return value


def _value(node: ast.AST) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in OPERATIONS:
            try:
                return Fraction(OPERATIONS[type(operation)](_value(left), _value(right)))
            except ZeroDivisionError as error:
                raise ToolError("division by zero") from error
    raise ToolError("cannot be read")


def _run(meta: Meta, before: Sequence[str], text: str) -> str:
    call = _CALL.fullmatch(text)
    if call is None:
        raise ToolError("cannot be read")
    return str(calculate(call[1]))


def _draw(num_calls: int, size: int, rng: Rng) -> tuple[str, dict[str, Any]]:
    start = value = int(rng.integers(LAST + 1))
    plan: list[list[Any]] = []
    while len(plan) < num_calls:
        sign = _SIGNS[int(rng.integers(3))]
        operand = int(rng.integers(2, 2 + (size if sign != "*" else 2)))
        result = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
        if 0 <= result <= LAST:
            plan.append([sign, operand])
            value = result
    prompt = " ".join(["work", str(start), *(f"{sign} {operand}" for sign, operand in plan)])
    return prompt, {"plan": plan, "start": start}


def _write(meta: Meta, place: int, value: str) -> str:
    sign, operand = meta["plan"][place]
    return f"calc {value} {sign} {operand}"


def _slip(meta: Meta, place: int, value: str, rng: Rng) -> str:
    """Another sign, or the operation on another number, a half each."""
    sign, operand = meta["plan"][place]
    if rng.random() < 0.5:
        sign = [one for one in _SIGNS if one != sign][int(rng.integers(2))]
    else:
        value = str(other(int(value), 0, LAST, rng))
    return f"calc {value} {sign} {operand}"


def _plain(text: str) -> str:
    return "".join(text.lower().split())


CALCULATOR = Tool(_draw, _write, _slip, _run, _plain)
