"""Multistep arithmetic: groups worked out one by one, then put together; a slip in any group spoils the answer.

    prompt   ((2 * 3 - -4) - (5 + 1 * 2)) =
    attempt  This equation can be written as "A - B", where A = (2 * 3 - -4) and B = (5 + 1 * 2).
             Let's calculate A = (2 * 3 - -4) = (6 - -4) = 10.
             Let's calculate B = (5 + 1 * 2) = (5 + 2) = 7.
             Then, the final equation is A - B = 10 - 7 = 3. So the answer is 3

Problems are BIG-Bench's multistep_arithmetic; traces have the form of BIG-Bench-Mistake (arXiv:2311.08516), whose
recorded traces the oracle reads too.
"""

from __future__ import annotations

import re

import numpy as np

from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.types import Floats, Problem
from stepcredit.tasks._expressions import evaluate, parse, same_form
from stepcredit.tasks._trace import check_rates, happens, texts, trace_task

_NAME = "arithmetic"
_GROUP = re.compile(r"\((-?\d+(?: [-+*] -?\d+)+)\)")


@register("tasks", paper="arXiv:2311.08516")
def arithmetic(
    *,
    min_terms: int = 2,
    max_terms: int = 4,
    four_groups: float = 0.6,
    random_slip: float = 0.03,
    systematic_slip: float = 0.3,
) -> Task:
    """The multistep-arithmetic task: two groups, or with probability `four_groups` two pairs of them, of numbers -9..9.

    Slips, carried forward: with probability `random_slip` an operation's result is off by 1 to 10 or has the wrong
    sign. With probability `systematic_slip` "- -n" is worked out as "- n": all attempts share it.

    `label_steps`: the first step is sound iff its formula with its groups written out is the problem, whatever the
    numbers; "Let's calculate" iff it starts from the group of its letter and all its expressions have one value; the
    last iff its formula is the first step's and all its expressions, with the values written for the letters, have one
    value, which is also the answer. Expressions that cannot be read are passed over; a step in which none can is NaN.

    Raises ValueError for impossible sizes and rates that are no probabilities.
    """
    if not 2 <= min_terms <= max_terms:
        raise ValueError(f"{_NAME}: groups of {min_terms} to {max_terms} numbers; expected 2 <= min <= max")
    check_rates(_NAME, four_groups=four_groups, random_slip=random_slip, systematic_slip=systematic_slip)

    def draw(rng: Rng) -> tuple[str, dict[str, int]]:
        num_groups = 4 if rng.random() < four_groups else 2
        groups = []
        for _ in range(num_groups):
            terms = [str(rng.integers(-9, 10)) for _ in range(int(rng.integers(min_terms, max_terms + 1)))]
            groups.append("(" + "".join(f"{term} {_sign(rng)} " for term in terms[:-1]) + terms[-1] + ")")
        pairs = [f"({groups[i]} {_sign(rng)} {groups[i + 1]})" for i in range(0, num_groups, 2)]
        prompt = (f"({pairs[0]} {_sign(rng)} {pairs[1]})" if num_groups == 4 else pairs[0]) + " ="
        return prompt, {"groups": num_groups}

    def attempt(prompt: str, rng: Rng | None) -> list[str]:
        return _trace(prompt, rng, random_slip, systematic_slip)

    return trace_task(_NAME, draw, attempt, label_steps)


def lettered(prompt: str) -> tuple[list[str], str, str]:
    """The innermost groups of a prompt, a letter each, and the formula of letters without its outer brackets.

    >>> lettered("((1 + 2) * (3 - 4)) =")
    (['1 + 2', '3 - 4'], 'AB', 'A * B')
    """
    groups = _GROUP.findall(prompt)
    letters = "ABCDEFGH"[: len(groups)]
    formula = prompt.rstrip(" =")
    for letter, group in zip(letters, groups, strict=True):
        formula = formula.replace(f"({group})", letter, 1)
    return groups, letters, formula[1:-1]


def _sign(rng: Rng) -> str:
    return "+-*"[int(rng.integers(3))]


def _trace(prompt: str, rng: Rng | None, random_slip: float, systematic_slip: float) -> list[str]:
    """Raises ValueError for a prompt that does not nest groups of numbers in pairs, like the generated ones."""

    def result(a: int, sign: str, b: int) -> int:
        if sign == "-" and b < 0 and happens(rng, systematic_slip):
            return a + b
        right = a + b if sign == "+" else a - b if sign == "-" else a * b
        if rng is None or not happens(rng, random_slip):
            return right
        return -right if right and rng.random() < 0.5 else right + int(rng.choice([-1, 1])) * int(rng.integers(1, 11))

    def worked(words: list[str]) -> list[list[str]]:
        """The rewritings of one flat group: all products first, then one sum at a time; its last is one number."""
        lines, flat = [], words[:1]
        for sign, term in zip(words[1::2], words[2::2], strict=True):
            flat = [*flat[:-1], str(result(int(flat[-1]), sign, int(term)))] if sign == "*" else [*flat, sign, term]
        if len(flat) < len(words):
            lines.append(flat)
        while len(flat) > 1:
            flat = [str(result(int(flat[0]), flat[1], int(flat[2]))), *flat[3:]]
            lines.append(flat)
        return lines

    groups, letters, formula = lettered(prompt)
    if not re.fullmatch(r"[A-H] [-+*] [A-H]|\([A-H] [-+*] [A-H]\) [-+*] \([A-H] [-+*] [A-H]\)", formula):
        raise ValueError(f"{_NAME}: cannot write a trace for {prompt[:80]!r}: not two groups, or two pairs of groups")
    named = [f"{letter} = ({group})" for letter, group in zip(letters, groups, strict=True)]
    where = " and ".join(named) if len(named) == 2 else ", ".join(named[:-1]) + ", and " + named[-1]
    lines = [f'This equation can be written as "{formula}", where {where}.']
    written = formula
    for letter, group in zip(letters, groups, strict=True):
        rewritings = worked(group.split())
        shown = [f"({' '.join(words)})" if len(words) > 1 else words[0] for words in rewritings]
        lines.append(f"Let's calculate {letter} = ({group}) = {' = '.join(shown)}.")
        written = written.replace(letter, rewritings[-1][0])
    chain = [written]
    if len(groups) == 4:
        values = [worked(pair.split())[-1][0] for pair in _GROUP.findall(written)]
        outer = formula[formula.index(")") + 2]
        chain.append(f"({values[0]}) {outer} ({values[1]})")
        answer = str(result(int(values[0]), outer, int(values[1])))
    else:
        answer = worked(written.split())[-1][0]
    lines.append(f"Then, the final equation is {formula} = {' = '.join([*chain, answer])}. So the answer is {answer}")
    return lines


def label_steps(problem: Problem, steps: Solution) -> Floats:
    """The oracle: 1 sound, 0 wrong, NaN unreadable, one per sampled step (see `arithmetic`)."""
    whole = problem.prompt.strip().rstrip("=").strip()
    formula, group_of, value_of, label_S = "", dict[str, str](), dict[str, int](), []
    for text in texts(steps):
        told, _, answer = text.partition("So the answer is")
        verdicts: list[bool] = []
        if opening := re.search(r'written as "?([^"]+?)"?,? where (.+)', told):
            formula = opening[1]
            group_of = {
                m[1]: m[2] for m in re.finditer(r"\b([A-Z]) = (.+?)(?=,? and [A-Z] = |, [A-Z] = |\.?\s*$)", opening[2])
            }
            verdicts.append(same_form(formula, whole, definitions=group_of))
        elif part := re.search(r"calculate ([A-Z]) = (.+)", told):
            values = _values(part[2], value_of)
            if values:
                due = evaluate(parse(group_of.get(part[1], "")), value_of)
                verdicts.append(len({*values, *([] if due is None else [due])}) == 1)
                value_of[part[1]] = values[-1]
        elif last := re.search(r"final equation is (.+)", told):
            values = _values(last[1], value_of)
            said = evaluate(parse(answer), {})
            if values:
                named = last[1].split("=")[0]
                kept = not re.search("[A-Z]", named) or same_form(named, formula)
                verdicts.append(kept and len({*values, *([] if said is None else [said])}) == 1)
        label_S.append(float(all(verdicts)) if verdicts else np.nan)
    return np.array(label_S, dtype=np.float64)


def _values(chain: str, value_of: dict[str, int]) -> list[int]:
    values = [evaluate(parse(part), value_of) for part in chain.split("=")]
    return [value for value in values if value is not None]
