"""An attempt is right when the option letter it states is the gold one.

A stated choice is "(B)", "B", "B)" or "B.", in either case, or a letter in one of the forms with a mark followed by that
option's own text as the prompt lists it ("(B) blue ball"). Two letters, or a letter inside other text, are no choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stepcredit.core.protocols import Solution
from stepcredit.core.registry import register
from stepcredit.core.types import Outcome, Problem
from stepcredit.verify._extract import Extraction, gold_answer, outcomes, tidy

_STATED = re.compile(r"(?:\(([A-Za-z])\)|([A-Za-z])([).:]|$))\s*(.*)")


@register("verify", paper="ours")
def choice(
    problem: Problem, solutions: Sequence[Solution], *, extract: Extraction = "after_answer_is"
) -> list[Outcome]:
    """Reward 1 iff the stated letter is the gold letter, else 0. The outcome's answer is the letter, in upper case.

    Degenerate: nothing to extract is "unparsed"; an extracted text that is no single choice is wrong, not well-formed.
    Raises ValueError for a gold answer that is missing or no option letter.

    >>> from stepcredit.core.types import Step
    >>> said = [[Step(f"So the answer is {text}")] for text in ("(B)", "b.", "(A) or (B)", "(C)")]
    >>> [o.correct for o in choice(Problem("p", "(A) red (B) blue", "(B)"), said)]
    [True, True, False, False]
    """
    gold = _letter(gold_answer(problem), problem.prompt)
    if gold is None:
        raise ValueError(f"problem {problem.id!r}: the answer {problem.answer!r} is no option letter such as (A) or A")

    def same(answer: str) -> bool | None:
        stated = _letter(answer, problem.prompt)
        return None if stated is None else stated == gold

    return outcomes(problem, solutions, extract, same, "choice", form=lambda answer: _letter(answer, problem.prompt))


def _letter(answer: str, prompt: str) -> str | None:
    match = _STATED.fullmatch(answer)
    if match is None:
        return None
    letter = str(match[1] or match[2]).upper()
    if not match[4]:
        return letter
    listed = re.search(rf"^\s*\(?{letter}[).:]\s*(.+)$", prompt, re.MULTILINE)
    return letter if listed and tidy(listed[1]).casefold() == match[4].casefold() else None
