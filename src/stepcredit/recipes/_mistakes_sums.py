"""Attempts at multistep arithmetic with slips of many kinds, for `recipes/first_mistakes`: rewriting as people do it.

An expression is worked out one operation at a time or several at once, with or without putting brackets about what goes
next, with "- -n" left or turned to "+ n". Whatever is written is carried forward.
"""

from __future__ import annotations

from itertools import pairwise

from stepcredit.core.protocols import Rng
from stepcredit.recipes._mistakes_arithmetic import tokens
from stepcredit.tasks.arithmetic import lettered


class _Writer:
    """One attempt: draws slips at a rate of its own, which is 0 in sound attempts."""

    def __init__(self, rng: Rng, slip_share: float, rate: float) -> None:
        self.rng, self.rate = rng, rate if rng.random() < slip_share else 0.0

    def slips(self, share: float = 1.0) -> bool:
        return bool(self.rng.random() < self.rate * share)

    def number(self, right: int) -> str:
        """A wrong number near `right`, or with its sign or a digit wrong."""
        kind = int(self.rng.integers(4))
        if kind == 0 and right:
            return str(-right)
        if kind == 1:
            return str(right + int(self.rng.choice([-1, 1])) * 10 * int(self.rng.integers(1, 4)))
        return str(right + int(self.rng.choice([-1, 1])) * int(self.rng.integers(1, 13)))

    def result(self, a: str, sign: str, b: str) -> str:
        x, y = int(a), int(b)
        right = x + y if sign == "+" else x - y if sign == "-" else x * y
        if not self.slips():
            return str(right)
        others = [x + y, x - y, y - x, -x - y, x * y, -x * y, abs(x) + abs(y), abs(x) - abs(y)]
        wrong = [other for other in others if other != right]
        return str(self.rng.choice(wrong)) if wrong and self.rng.random() < 0.5 else self.number(right)

    def reduced(self, row: list[str]) -> tuple[list[str], int]:
        """One operation carried out, and where; by precedence, but for a slip."""
        signs = [i for i in range(1, len(row) - 1) if row[i] in "-+*" and _number(row[i - 1]) and _number(row[i + 1])]
        sound = [i for i in signs if row[i] == "*" and row[i - 2 : i - 1] != ["*"]]
        sums = [i for i in signs if row[i] != "*" and row[i + 2 : i + 3] != ["*"]]
        sound += [i for i in sums if i < 2 or row[i - 2] == "("]
        at = int(self.rng.choice(signs if self.slips(0.7) else sound[:2] if self.rng.random() < 0.8 else sound))
        made = self.result(row[at - 1], row[at], row[at + 1])
        return _unwrapped([*row[: at - 1], made, *row[at + 2 :]]), at

    def chain(self, row: list[str], outer: bool) -> list[str]:
        """The rewritings after an expression, as written; the last is one number."""
        shown: list[str] = []
        hurry, turns = float(self.rng.choice([0.0, 0.3, 0.8])), bool(self.rng.random() < 0.3)
        while len(row) > 1:
            if turns and any(a in "-+" and b.startswith("-") and b[1:] for a, b in pairwise(row)):
                row, turns = self.turned(row), False
                if self.rng.random() < 0.7:  # else with the next operation
                    shown.append(self.text(row, outer))
                    continue
            after, at = self.reduced(row)
            if len(row) > 3 and row[at - 2 : at - 1] + row[at + 2 : at + 3] != ["(", ")"] and self.rng.random() < 0.25:
                bracketed = [*row[: at - 1], "(", *row[at - 1 : at + 2], ")", *row[at + 2 :]]
                shown.append(self.text(bracketed, outer))
            row = after
            while len(row) > 1 and self.rng.random() < hurry:
                row = self.reduced(row)[0]
            if len(row) > 1 and self.slips(0.5):
                row = self.miscopied(row)
            shown.append(self.text(row, outer))
        return shown

    def turned(self, row: list[str]) -> list[str]:
        """A "- -n" as "+ n" and a "+ -n" as "- n"; a slip leaves the sign and drops the minus."""
        made = list(row)
        for i in range(len(row) - 1):
            if row[i] in "-+" and row[i + 1].startswith("-") and len(row[i + 1]) > 1:
                made[i] = row[i] if self.slips() else "+" if row[i] == "-" else "-"
                made[i + 1] = row[i + 1][1:]
        return made

    def miscopied(self, row: list[str]) -> list[str]:
        """A number or a sign of the row made another."""
        at = int(self.rng.integers(len(row)))
        if _number(row[at]):
            return [*row[:at], self.number(int(row[at])), *row[at + 1 :]]
        if row[at] in "-+*":
            return [*row[:at], str(self.rng.choice([s for s in "-+*" if s != row[at]])), *row[at + 1 :]]
        return row

    def text(self, row: list[str], outer: bool) -> str:
        shown = "".join(
            token if token == ")" else f" {token}" if i and row[i - 1] != "(" else token for i, token in enumerate(row)
        )
        return f"({shown})" if outer and len(row) > 1 else shown


def attempt(prompt: str, rng: Rng, *, slip_share: float = 0.6, rate: float = 0.1) -> list[str]:
    """A trace in the recorded form; a share of attempts slips, at `rate` an operation, and carries it forward.

    Slips: a result near the right one, of another operation, or with its sign or a digit wrong; an operation before its
    turn; a minus lost; a number or sign miscopied, in any expression, from the problem, to the formula or to the answer.
    """
    writer = _Writer(rng, slip_share, rate)
    groups, letters, bare = lettered(prompt)
    row = tokens(bare)
    given = [writer.miscopied(tokens(group)) if writer.slips(0.3) else tokens(group) for group in groups]
    if writer.slips(0.3):
        row = writer.miscopied(row) if rng.random() < 0.5 else [{"A": "B", "B": "A"}.get(token, token) for token in row]
    shown = writer.text(row, rng.random() < 0.4 and len(groups) == 2)
    named = [f"{letter} = {writer.text(group, True)}" for letter, group in zip(letters, given, strict=True)]
    where = " and ".join(named) if rng.random() < 0.5 else ", ".join(named[:-1]) + ", and " + named[-1]
    lines, value_of = [f'This equation can be written as "{shown}", where {where}.'], dict[str, str]()
    for letter, group in zip(letters, given, strict=True):
        start = writer.miscopied(group) if writer.slips(0.3) else group
        chain = writer.chain(start, True)
        lines.append(f"Let's calculate {letter} = {writer.text(start, True)} = {' = '.join(chain)}.")
        value_of[letter] = chain[-1]
    filled = [value_of.get(token, token) for token in row]
    filled = writer.miscopied(filled) if writer.slips(0.5) else filled
    chain = [writer.text(filled, False), *writer.chain(filled, False)]
    answer = writer.number(int(chain[-1])) if writer.slips(0.3) else chain[-1]
    return [*lines, f"Then, the final equation is {shown} = {' = '.join(chain)}. So the answer is {answer}"]


def _number(token: str) -> bool:
    return token.lstrip("-").isdigit()


def _unwrapped(row: list[str]) -> list[str]:
    """Without brackets around single numbers."""
    found: list[str] = []
    for token in row:
        found.append(token)
        while len(found) > 2 and found[-1] == ")" and found[-3] == "(":
            found[-3:] = [found[-2]]
    return found
