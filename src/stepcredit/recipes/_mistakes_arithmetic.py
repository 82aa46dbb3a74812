"""Arithmetic traces for `recipes/first_mistakes`: what a judge reads of a step, one line for each rewriting.

    step     Let's calculate A = (-9 - 7 * -5 - 6) = (-9 - (7 * -5) - 6) = (-9 + 35 - 6) = 20.
    lines    start 10:1~1 9:0~0 7:5~5 -~- ...      the expression it starts from, beside the group of its letter
             group -*-~-(*)- -(*)-                 brackets alone changed: the signs before and after, and about each pair
             -n*n>+n  10:-5*7>5 9:-4*7>8 ...       what changed from one expression to the next, as in a text diff
             n+n-n>n  10:1,4,5>0 ...

Numbers stand as their remainders (by 10, 9 and 7, or smaller ones where a change takes in more numbers), both sides of a
change in one word, a sum as its terms with their signs: nothing is worked out, no result is computed or compared; which
words are sound is the judge's to learn, a table of sums and products in each modulus. Beside a change stand its signs
to the left and right, since a product goes first. The first step is read as its formula with the groups written
out, beside the problem; the last as its formula beside the first step's, then with the values written for the letters,
then its rewritings, and the last number beside the answer. What cannot be read is left out; a step with nothing to read
keeps its own words. Writer of attempts: `_mistakes_sums`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

_DEFINED = re.compile(r"\b([A-Z]) = (.+?)(?=,? and [A-Z] = |, (?:and )?[A-Z] = |\.?\s*$)")


def view(prompt: str, texts: Sequence[str]) -> list[str]:
    """The lines of each step, one under the other."""
    whole, formula = tokens(prompt.rstrip(" =")), list[str]()
    group_of, value_of, steps = dict[str, list[str]](), dict[str, list[str]](), list[str]()
    for text in texts:
        told, concludes, answer = text.partition("So the answer is")
        lines: list[str] = []
        if opening := re.search(r'written as "?([^"]+?)"?,? where (.+)', told):
            formula = tokens(opening[1])
            group_of = {letter: tokens(body) for letter, body in _DEFINED.findall(opening[2])}
            lines.append(_copy("whole", whole, _written_out(formula, group_of)))
        elif part := re.search(r"calculate ([A-Z]) = (.+)", told):
            chain = _chain(part[2])
            lines.append(
                _copy("start", _written_out(group_of.get(part[1], []), value_of), _written_out(chain[0], value_of))
            )
            lines += [line for a, b in pairwise(chain) for line in changes(a, b)]
            value_of[part[1]] = chain[-1]
        elif last := re.search(r"final equation is (.+)", told):
            chain = _chain(last[1])
            if any(token.isupper() for token in chain[0]):
                lines.append(_copy("formula", formula, chain[0]))
            filled = [_written_out(chain[0], value_of), *chain[1:]]
            lines += [_copy("filled", *filled[:2])] if len(filled) > 1 else []
            lines += [line for a, b in pairwise(filled) for line in changes(a, b)]
            if concludes:
                lines.append(_copy("answer", filled[-1], tokens(answer)))
        steps.append("\n".join(lines) if lines else (" ".join(re.findall(r"[a-z]+", text.lower())) or "nothing"))
    return steps


def tokens(text: str) -> list[str]:
    """Numbers with their sign, letters, signs and brackets; no brackets around one number or around the whole."""
    found: list[str] = []
    for token in re.findall(r"\d+|[A-Z]|[-+*()]", text.replace("×", "*").replace("−", "-")):
        if token.isdigit() and found[-1:] == ["-"] and (len(found) == 1 or found[-2] in "-+*("):
            found[-1] = "-" + token
        else:
            found.append(token)
        while len(found) > 2 and found[-1] == ")" and found[-3] == "(":
            found[-3:] = [found[-2]]
    return found[1:-1] if len(found) > 2 and found[0] == "(" and _closes(found) == len(found) - 1 else found


def _closes(found: Sequence[str]) -> int:
    """Where the bracket that opens at 0 is closed."""
    depth = 0
    for at, token in enumerate(found):
        depth += (token == "(") - (token == ")")
        if depth == 0:
            return at
    return -1


def _chain(text: str) -> list[list[str]]:
    return [found for part in text.split("=") if (found := tokens(part))] or [[]]


def _written_out(formula: Sequence[str], meaning: Mapping[str, Sequence[str]]) -> list[str]:
    """The formula with what its letters stand for, in brackets where that is more than a number."""
    found: list[str] = []
    for token in formula:
        body = meaning.get(token, [token])
        found += body if len(body) == 1 else ["(", *body, ")"]
    return found


def _is_number(token: str) -> bool:
    return token.lstrip("-").isdigit()


def _shape(found: Sequence[str]) -> str:
    return "".join(token if token in "-+*()" else "" for token in found)


def _copy(name: str, first: Sequence[str], second: Sequence[str]) -> str:
    """Two expressions place by place, brackets apart: remainders beside remainders, signs beside signs."""
    rows = [[token for token in row if token not in "()"] for row in (first, second)]
    words = [name, f"{name}:{_shape(first)}~{_shape(second)}"]
    for at in range(max(map(len, rows))):
        a, b = (row[at] if at < len(row) else "o" for row in rows)
        if _is_number(a) and _is_number(b):
            words += [f"{m}:{int(a) % m}~{int(b) % m}" for m in (10, 9, 7)]
        else:
            words.append("~".join("n" if _is_number(token) else token for token in (a, b)))
    return " ".join(words)


def changes(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """One line for each place in which the second expression differs from the first."""
    rows = [[(at, token) for at, token in enumerate(row) if token not in "()"] for row in (first, second)]
    plain = [[token for _, token in row] for row in rows]
    if [t for t in plain[0] if _is_number(t)] == [t for t in plain[1] if _is_number(t)]:
        return [" ".join(["group", f"{_shape(first)}~{_shape(second)}", *_about_brackets(second)])]
    found = []
    for a, b, c, d in _blocks(plain[0], plain[1]):
        left, right = rows[0][a][0] if a < len(rows[0]) else 0, rows[0][b - 1][0] if b else 0
        before = first[left - 1] if left else "("
        after = first[right + 1] if right + 1 < len(first) else ")"
        there = rows[1][c][0] if c < len(rows[1]) else 0, rows[1][d - 1][0] if d else 0
        whole = first[left : right + 1], second[there[0] : there[1] + 1]
        old, new = whole if _nested(whole) else (plain[0][a:b], plain[1][c:d])
        found.append(_change(old, new, before, after))
    return found


def _blocks(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Where two rows differ: [a, b) of the first against [c, d) of the second, each from a number to a number."""
    found: list[tuple[int, int, int, int]] = []
    for what, a, b, c, d in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if what == "equal":
            continue
        while (a > 0 and c > 0) and not (_starts(first, a, b) and _starts(second, c, d)):
            a, c = a - 1, c - 1
        while (b < len(first) and d < len(second)) and not (_ends(first, a, b) and _ends(second, c, d)):
            b, d = b + 1, d + 1
        if found and (a < found[-1][1] or c < found[-1][3]):
            a, c, _ = found[-1][0], found[-1][2], found.pop()
        found.append((a, b, c, d))
    return found


def _nested(sides: Sequence[Sequence[str]]) -> bool:
    """Whether either side has a pair of brackets inside."""
    return any("(" in side and ")" in side for side in sides)


def _starts(row: Sequence[str], a: int, b: int) -> bool:
    return a < b and row[a] not in "-+*"


def _ends(row: Sequence[str], a: int, b: int) -> bool:
    return a < b and row[b - 1] not in "-+*"


def _change(first: Sequence[str], second: Sequence[str], before: str, after: str) -> str:
    """The change as words: its signs, those beside it, and both sides in the remainders of several moduli."""
    numbers = sum(_is_number(token) for token in [*first, *second]) - 1
    sides = ["".join("n" if _is_number(token) else token for token in side) for side in (first, second)]
    shape = f"{sides[0]}>{sides[1]}"
    words = [shape, f"{before}{shape}", f"{shape}{after}"]
    written = _in_order if any(token in "()" for token in [*first, *second]) else _as_terms
    for m in (10, 9, 7) if numbers < 3 or (numbers == 3 and "*" not in shape) else (7, 5, 3) if numbers < 5 else (3, 2):
        words.append(f"{m}:{written(first, before, m)}>{written(second, before, m)}")
    return " ".join(words)


def _in_order(side: Sequence[str], before: str, modulus: int) -> str:
    return before.strip("(+") + "".join(str(int(t) % modulus) if _is_number(t) else t for t in side)


def _as_terms(side: Sequence[str], before: str, modulus: int) -> str:
    """A sum as its terms, whatever their order: a number with the sign before it, a product with its factors in order."""
    terms: list[list[str]] = [["-" if before == "-" else "+"]]
    for token in side:
        if token in ("+", "-"):
            terms.append([token])
        elif token != "*":
            terms[-1].append(token)
    found = []
    for sign, *factors in terms:
        if len(factors) == 1 and _is_number(factors[0]):
            found.append(str((-1 if sign == "-" else 1) * int(factors[0]) % modulus))
        else:
            parts = sorted(str(int(t) % modulus) if _is_number(t) else t for t in factors)
            found.append(sign.strip("+") + "*".join(parts))
    return ("*" if before == "*" else "") + ",".join(sorted(found))


def _about_brackets(found: Sequence[str]) -> list[str]:
    """Each innermost pair of brackets with its signs: the one before, those inside, the one after."""
    signs = _shape(found)
    return [f"{m[1]}({m[2]}){m[3]}" for m in re.finditer(r"([-+*]?)\(([-+*]+)\)(?=([-+*]?))", signs)]
