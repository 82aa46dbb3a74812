"""An attempt is right when the answer it states is the gold answer, character by character.

Both sides have spaces collapsed and one closing full stop dropped, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepcredit.core.protocols import Solution
from stepcredit.core.registry import register
from stepcredit.core.types import Outcome, Problem
from stepcredit.verify._extract import Extraction, gold_answer, outcomes


@register("verify", paper="ours")
def exact(
    problem: Problem, solutions: Sequence[Solution], *, extract: Extraction = "last_line", ignore_case: bool = False
) -> list[Outcome]:
    """Reward 1 iff the extracted answer equals `str(problem.answer)`, else 0.

    Degenerate: an attempt that states no answer is "unparsed" and has no reward.
    Raises ValueError for a problem without answer or an unknown extraction rule (see `_extract.extract`).

    >>> from stepcredit.core.types import Step
    >>> [o.correct for o in exact(Problem("p", "2+3=?", "5"), [[Step("5")], [Step("not 5")], [Step("")]])]
    [True, False, None]
    """
    gold = gold_answer(problem)

    def same(answer: str) -> bool:
        return answer.casefold() == gold.casefold() if ignore_case else answer == gold

    return outcomes(problem, solutions, extract, same, "exact")
