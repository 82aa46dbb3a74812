"""Bracket traces for `recipes/first_mistakes`: what a judge reads of a step, and attempts with slips of many kinds.

    step     } ; stack: ( [ {                after   ) ; stack: ( [ { <      and with   }   next in the problem
    line     stack rr ss cc ao CC ca         before and after at each depth, then: next symbol, symbol read

r s c a are the four bracket types, o is nothing; O opens, C closes, E is the end. Two letters that stand beside each
other are what two places say of one thing: the stack written before and after at the same depth, the problem's next
symbol (counting the steps that read one) and the step's, the stack from its top and the pops, the pops and the closings
needed, these and the answer. The line repeats what the trace and the problem say and compares nothing: that equal letters
are right in most places and wrong in others (where a symbol was pushed or popped), and which symbol does what, is the
judge's to learn. A step with nothing to read keeps its own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stepcredit.core.protocols import Rng
from stepcredit.tasks.dyck import _CLOSE, _OPEN, _OPENING_LINES, _quoted

_TYPE = dict(zip("([{<", "rsca", strict=True)) | dict(zip(")]}>", "rsca", strict=True))
_BRACKET = re.compile(r"[()\[\]{}<>]")
_STACK = re.compile(r"\s*([()\[\]{}<>]?) ?;? ?stack: ?(empty|[()\[\]{}<> ]*)")


def view(prompt: str, texts: Sequence[str]) -> list[str]:
    """One line a step, in the form above."""
    symbols = _BRACKET.findall(prompt)
    stack: list[str] = []
    due: list[str] | None = None  # the pops, then the closings, as written last
    done, lines = 0, []
    for text in texts:
        said, concludes, answer = text.partition("So the answer is")
        words: list[str] = []
        if read := _STACK.match(said):
            written = _BRACKET.findall(read[2])
            words += ["stack", *_beside(stack, written)]
            if read[1]:
                words += _read(symbols[done : done + 1], [read[1]])
                done += 1
            stack = written
        elif "reached the end" in said:
            written = _BRACKET.findall(said)
            words += ["end", *_beside(stack, written), *_read(symbols[done : done + 1], [])]
            stack = written
        elif "pop out" in said:
            due = stack[::-1] if "all the elements" in said else _BRACKET.findall(said)
            words += ["pops", *_beside(stack[::-1], due)]
        elif "we need" in said.lower():
            needed = _BRACKET.findall(said)
            words += ["need", *_beside(stack[::-1] if due is None else due, needed), *_turned(needed)]
            due = needed
        if concludes:
            given = _BRACKET.findall(answer)
            words += ["answer", *_beside(stack[::-1] if due is None else due, given), *_turned(given)]
            words += _read(symbols[done : done + 1], []) if due is None else []
        lines.append(" ".join(words) if words else (" ".join(re.findall(r"[a-z]+", text.lower())) or "nothing"))
    return lines


def _beside(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """The types of two rows of brackets, two letters a place, o where one of them has ended."""
    rows = [
        [_TYPE[bracket] for bracket in row] + ["o"] * (max(len(first), len(second)) - len(row))
        for row in (first, second)
    ]
    return [a + b for a, b in zip(*rows, strict=True)]


def _read(following: Sequence[str], said: Sequence[str]) -> list[str]:
    """The problem's next symbol beside the one read: open, close or end, then the types."""
    turns = ["".join("O" if symbol in _CLOSE else "C" for symbol in row) or "E" for row in (following, said)]
    return ["".join(turns), *(_beside(following, said) or ["oo"])]


def _turned(brackets: Sequence[str]) -> list[str]:
    """What stands where only closings belong: one word a bracket that opens."""
    return ["opens"] * sum(bracket in _CLOSE for bracket in brackets)


def attempt(prompt: str, rng: Rng, *, slip_share: float = 0.55, redraw: bool = True) -> list[str]:
    """A trace in the recorded form; with probability `slip_share` it has slips, one mostly, carried forward.

    A slip has a random place among the symbols that open or among those that close, and a random kind: symbols skipped
    (most often), repeated or misread, the trace ended early; an element of the stack lost, added, changed or left, the
    whole stack lost; an end that misquotes the stack, pops out of order, too few or too many, closings and answer
    likewise. What slips and still ends right, or comes to a closing that does not match, is drawn again at another
    place, nearly always: the one teaches nothing, the other lets the outcome be read off a later line. Without `redraw`
    the first draw stands, whatever comes of it.
    """
    symbols = _BRACKET.findall(prompt)
    due: list[str] = []
    for symbol in symbols:
        due = _after(due, symbol)
    kinds = (
        [max(0, int(kind)) for kind in rng.integers(-3, 13, size=1 + int(rng.random() < 0.2))]
        if rng.random() < slip_share
        else []
    )
    turn = "([{<" if rng.random() < 0.5 else ")]}>"
    for _ in range(40 if redraw else 1):
        lines, need, matched = _written(symbols, kinds, turn, rng)
        if not kinds or (matched and need != due[::-1]) or rng.random() < 0.03:
            break
    return lines


def _written(
    symbols: Sequence[str], kinds: Sequence[int], turn: str, rng: Rng
) -> tuple[list[str], list[str], bool]:  # fmt: skip
    """The lines, what the answer closes, and whether every closing matched the stack; slips at symbols of one turn."""
    places = [at for at, symbol in enumerate(symbols) if symbol in turn] or list(range(len(symbols)))
    kind_at = {places[int(rng.integers(len(places)))]: kind for kind in kinds if kind < 9}
    wrong = {("stack", "pops", "need", "answer")[kind - 9] for kind in kinds if kind >= 9}
    lines, stack, position, matched = list(_OPENING_LINES), list[str](), 0, True
    while position < len(symbols):
        symbol, kind = symbols[position], kind_at.pop(position, -1)
        if kind == 0:
            position += int(rng.integers(1, 4))
            if position >= len(symbols):
                break
            symbol = symbols[position]
        if kind == 1:
            symbol = str(rng.choice([other for other in "()[]{}<>" if other != symbol]))
        matched = matched and (kind >= 0 or symbol in _CLOSE or stack[-1:] == [_OPEN[symbol]])
        before, stack = stack, _after(stack, symbol)
        if kind == 2:
            stack = before
        elif kind == 3:
            stack = stack[: -int(rng.integers(1, 3))]
        elif kind >= 4:
            stack = changed(stack, rng) if kind < 8 else []
        lines.append(f"{symbol} ; stack: {' '.join(stack) or 'empty'}")
        if kind == 2 and rng.random() < 0.3:
            continue  # and the symbol is read once more
        position += 1
        if kind == 8 and rng.random() < 0.5:
            break
    ending, need = _ending(stack, wrong, rng)
    return [*lines, *ending], need, matched


def _ending(stack: list[str], wrong: set[str], rng: Rng) -> tuple[list[str], list[str]]:
    """The last lines, and what the answer closes."""
    stack = changed(stack, rng) if "stack" in wrong else stack
    lines = [f"Now, we have reached the end. The final stack is {_quoted([' '.join(stack)]) if stack else 'empty'}."]
    pops = changed(stack[::-1], rng) if "pops" in wrong else stack[::-1]
    need = [_CLOSE[bracket] for bracket in (changed(pops, rng) if "need" in wrong else pops)]
    closed = [_OPEN[bracket] for bracket in need]
    closed = changed(closed, rng) if "answer" in wrong else closed
    concluded = f"So the answer is {' '.join(_CLOSE[bracket] for bracket in closed)}".rstrip()
    form = rng.random()
    if not stack and form < 0.5:
        return [*lines, concluded], closed
    popping = f"We will need to pop out {_quoted(pops) or 'nothing'}{' one by one in that order' if pops else ''}."
    if form > 0.93:
        return [*lines, f"{popping} {concluded}"], closed
    return [*lines, popping, f"So, we need {_quoted(need) or 'nothing'}. {concluded}"], closed


def changed(row: Sequence[str], rng: Rng) -> list[str]:
    """Another row of brackets: turned round, or one bracket dropped, added, exchanged with its neighbour or made another."""
    kind, at = int(rng.integers(5)), int(rng.integers(max(len(row), 1)))
    other = "([{<"[int(rng.integers(4))]
    if kind == 0 and list(row) != list(row[::-1]):
        return list(row[::-1])
    if kind == 1 and len(row) > 1 and row[at] != row[at - 1]:
        new = list(row)
        new[at], new[at - 1] = new[at - 1], new[at]
        return new
    if kind == 2 and row:
        return [*row[:at], *row[at + 1 :]]
    if kind == 3 and row and row[at] != other:
        return [*row[:at], other, *row[at + 1 :]]
    return [*row[:at], other, *row[at:]] if rng.random() < 0.5 else [*row, other]


def _after(stack: list[str], symbol: str) -> list[str]:
    """The stack a symbol makes of it; a closing pops whatever is on top."""
    return [*stack, symbol] if symbol in _CLOSE else stack[:-1]
