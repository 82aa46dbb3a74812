"""Closing brackets with a stack: long traces in which almost every step is easy and one slip decides.

    prompt   ( < [ ( )
    attempt  We should process each input one by one and keep track of the stack configuration.
             stack: empty
             ( ; stack: (
             ...
             Now, we have reached the end. The final stack is "( < [".
             We will need to pop out "[", "<", "(" one by one in that order.
             So, we need "]", ">", ")". So the answer is ] > )

Problems are BIG-Bench's dyck_languages; traces have the form of BIG-Bench-Mistake (arXiv:2311.08516), whose recorded
traces the oracle reads too.
"""

from __future__ import annotations

import re

import numpy as np

from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.types import Floats, Problem
from stepcredit.tasks._trace import check_rates, happens, texts, trace_task

_NAME = "dyck"
_CLOSE = {"(": ")", "[": "]", "{": "}", "<": ">"}
_OPEN = {close: opening for opening, close in _CLOSE.items()}
_OPENING_LINES = ("We should process each input one by one and keep track of the stack configuration.", "stack: empty")
_BRACKETS = re.compile(r"[()\[\]{}<>]")


@register("tasks", paper="arXiv:2311.08516")
def dyck(
    *,
    min_symbols: int = 3,
    max_symbols: int = 24,
    max_open: int = 3,
    random_slip: float = 0.01,
    systematic_slip: float = 0.4,
) -> Task:
    """The Dyck task: complete a prefix of a balanced sequence that leaves 1 to `max_open` brackets open. Sizes are
    uniform, up to one symbol added to make the closed brackets pair.

    Slips, carried forward: with probability `random_slip` a step skips its symbol, pops one bracket too many or pushes
    another one; a popped or needed bracket at the end is left out. With probability `systematic_slip` the last of three
    closings in a row is skipped: all attempts share it.

    `label_steps`: a symbol's step is sound iff it reads the problem's next symbol and writes the stack that this makes
    of the one written before. The end is sound iff every symbol was read and the stack is as written; the pops iff they
    are that stack from the top; the answer iff it closes them. A closing that does not match the top of the written
    stack has no sound continuation: 0. After a misread symbol, reading goes on behind it if the step read the one after,
    else in step. A step that speaks of none of this is NaN.

    Raises ValueError for impossible sizes and rates that are no probabilities.
    """
    if not 1 <= max_open <= min_symbols <= max_symbols:
        raise ValueError(
            f"{_NAME}: {min_symbols} to {max_symbols} symbols, {max_open} open; expected 1 <= open <= min <= max"
        )
    check_rates(_NAME, random_slip=random_slip, systematic_slip=systematic_slip)

    def draw(rng: Rng) -> tuple[str, dict[str, int]]:
        num_open = int(rng.integers(1, max_open + 1))
        num_pairs = (int(rng.integers(min_symbols, max_symbols + 1)) - num_open + 1) // 2
        symbols = _sequence(num_open, num_pairs, rng)
        return " ".join(symbols), {"symbols": len(symbols), "open": num_open}

    def attempt(prompt: str, rng: Rng | None) -> list[str]:
        return _trace(_BRACKETS.findall(prompt), rng, random_slip, systematic_slip)

    return trace_task(_NAME, draw, attempt, label_steps, lambda text: "".join(text.split()))


def _sequence(num_open: int, num_pairs: int, rng: Rng) -> list[str]:
    """Opens and closes in random order; the stack never pops below what must stay open at the end."""
    opens, closes = num_open + num_pairs, num_pairs
    symbols: list[str] = []
    stack: list[str] = []
    while opens or closes:
        if opens and (not stack or not closes or rng.random() < 0.5):
            stack.append("([{<"[int(rng.integers(4))])
            symbols.append(stack[-1])
            opens -= 1
        else:
            symbols.append(_CLOSE[stack.pop()])
            closes -= 1
    return symbols


def _trace(symbols: list[str], rng: Rng | None, random_slip: float, systematic_slip: float) -> list[str]:
    lines, stack, run = list(_OPENING_LINES), list[str](), 0
    for symbol in symbols:
        run = run + 1 if symbol in _OPEN else 0
        if run and run % 3 == 0 and happens(rng, systematic_slip):
            continue
        slip = int(rng.integers(3)) if rng is not None and happens(rng, random_slip) else -1
        if slip == 0:
            continue
        stack = _after(stack, symbol)
        if slip == 1:
            stack = stack[:-1]
        elif slip == 2 and rng is not None:
            stack = [*stack[:-1], "([{<"[int(rng.integers(4))]]
        lines.append(f"{symbol} ; stack: {' '.join(stack) or 'empty'}")
    pops = stack[::-1]
    lines.append(
        f"Now, we have reached the end. The final stack is {_quoted([' '.join(stack)]) if stack else 'empty'}."
    )
    if len(pops) > 1 and happens(rng, random_slip):
        pops = pops[:-1]
    lines.append(
        f"We will need to pop out {_quoted(pops)} one by one in that order."
        if pops
        else "We will need to pop out nothing."
    )
    need = [_CLOSE[symbol] for symbol in pops]
    if len(need) > 1 and happens(rng, random_slip):
        need = need[:-1]
    lines.append(
        f"So, we need {_quoted(need)}. So the answer is {' '.join(need)}"
        if need
        else "So, we need nothing. So the answer is"
    )
    return lines


def _quoted(words: list[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _after(stack: list[str], symbol: str) -> list[str]:
    """The stack a symbol makes of it; a closing pops whatever is on top."""
    return [*stack, symbol] if symbol in _CLOSE else stack[:-1]


def label_steps(problem: Problem, steps: Solution) -> Floats:
    """The oracle: 1 sound, 0 wrong, NaN unreadable, one per sampled step (see `dyck`)."""
    symbols = _BRACKETS.findall(problem.prompt)
    stack: list[str] = []
    pops: list[str] | None = None
    done, label_S = 0, []
    for index, text in enumerate(texts(steps)):
        said, _, answer = text.partition("So the answer is")
        concludes = "So the answer is" in text
        verdicts: list[bool] = []
        read = re.match(r"\s*([()\[\]{}<>]?) ?;? ?stack: ?(empty|[()\[\]{}<> ]*)", said)
        if read and not read[1]:
            written = _BRACKETS.findall(read[2])
            verdicts.append(written == stack and (index < 2 or ";" not in said))
            stack = written
        elif read:
            written, symbol = _BRACKETS.findall(read[2]), read[1]
            matches = symbol in _CLOSE or (bool(stack) and _CLOSE.get(stack[-1]) == symbol)
            is_next = done < len(symbols) and symbols[done] == symbol
            verdicts.append(is_next and matches and written == _after(stack, symbol))
            done += 2 if not is_next and symbols[done + 1 : done + 2] == [symbol] else 1
            stack = written
        elif "reached the end" in said:
            written = _BRACKETS.findall(said)
            verdicts.append(done >= len(symbols) and written == stack)
            stack = written
        elif "pop out" in said:
            pops = stack[::-1] if "all the elements" in said else _BRACKETS.findall(said)
            verdicts.append(pops == stack[::-1])
        elif "we need" in said.lower():
            verdicts.append(
                [_OPEN.get(close, "") for close in _BRACKETS.findall(said)] == (stack[::-1] if pops is None else pops)
            )
        elif said.startswith(_OPENING_LINES[0][:10]):
            verdicts.append(True)
        if concludes:
            due = [_CLOSE.get(symbol, "") for symbol in (stack[::-1] if pops is None else pops)]
            verdicts.append(done >= len(symbols) and _BRACKETS.findall(answer) == due)
        label_S.append(float(all(verdicts)) if verdicts else np.nan)
    return np.array(label_S, dtype=np.float64)
