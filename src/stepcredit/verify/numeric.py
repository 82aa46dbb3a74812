"""An attempt is right when the answer it states is the gold number, compared as exact rationals.

Read as one number: sign, thousands commas in groups of three, decimals, exponent, one fraction bar, a leading "$"
(or a pair around the number), a closing percent sign (divides by 100). Anything beside the number makes it no number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from stepcredit.core.protocols import Solution
from stepcredit.core.registry import register
from stepcredit.core.types import Outcome, Problem
from stepcredit.verify._extract import Extraction, gold_answer, outcomes

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
# three exponent digits at most: 1e999999999 would be a number with a billion digits
_NUMBER = re.compile(
    rf"\s*\$?\s*([+-]?)\s*\$?\s*({_DIGITS}?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{{1,3}})?)(?:\s*/\s*({_DIGITS}))?\s*(%?)\$?\s*"
)
_LONGEST = 500


@register("verify", paper="ours")
def numeric(
    problem: Problem,
    solutions: Sequence[Solution],
    *,
    extract: Extraction = "last_line",
    absolute: float = 0.0,
    relative: float = 0.0,
) -> list[Outcome]:
    """Reward 1 iff |answer - gold| <= max(absolute, relative * |gold|), else 0; exact by default (0.5 = 1/2 = 50%).

    The outcome's answer is the number in lowest terms.
    Degenerate: nothing to extract is "unparsed"; an extracted text that is not one number is wrong, not well-formed.
    Raises ValueError for a gold answer that is missing or no number, and for a tolerance below 0 or not finite.

    >>> from stepcredit.core.types import Step
    >>> [o.correct for o in numeric(Problem("p", "?", 1234), [[Step("1,234.0")], [Step("1234 or 5")], [Step("1235")]])]
    [True, False, False]
    """
    gold = number(gold_answer(problem))
    if gold is None:
        raise ValueError(f"problem {problem.id!r}: the answer {problem.answer!r} is not a number")
    if not (0.0 <= absolute < float("inf") and 0.0 <= relative < float("inf")):
        raise ValueError(f"tolerances are absolute={absolute}, relative={relative}; allowed: finite and not negative")
    margin = max(Fraction(absolute), Fraction(relative) * abs(gold))

    def near(answer: str) -> bool | None:
        value = number(answer)
        return None if value is None else abs(value - gold) <= margin

    return outcomes(problem, solutions, extract, near, "numeric", form=number)


def number(text: str) -> Fraction | None:
    """The rational number `text` is, or None if it is not one number.

    >>> number("-1,200.5"), number("3/4"), number("12 or 13")
    (Fraction(-2401, 2), Fraction(3, 4), None)
    """
    text = text.replace("\u2212", "-").replace("\\$", "$").replace("\\%", "%")
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or not re.match(r"[0-9]|\.[0-9]", match[2]):
        return None
    top, bottom = Fraction(match[2].replace(",", "")), Fraction((match[3] or "1").replace(",", ""))
    if bottom == 0:
        return None
    return (-1 if match[1] == "-" else 1) * top / bottom / (100 if match[4] else 1)
