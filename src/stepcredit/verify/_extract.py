"""Where in an attempt its answer stands: six stated rules, shared by every verifier.

An attempt's text is its sampled steps joined by newlines. No rule searches for the gold answer: what a rule returns
is compared whole, so a gold answer embedded in other text ("112", "not 12", "12 or 13") does not pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from stepcredit.core.protocols import Solution
from stepcredit.core.types import Outcome, Problem

Extraction = Literal["last_line", "after_answer_is", "hash", "boxed", "last_equals", "whole"]
Verdict = bool | None | Literal["timeout", "error"]

_MARK = {
    "after_answer_is": re.compile(r"\banswer is\b:?", re.IGNORECASE),
    "hash": re.compile(r"####"),
    "last_equals": re.compile(r"(?<![<>!=:])=(?!=)"),
}
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


def extract(text: str, rule: Extraction) -> str | None:
    r"""The answer that `text` states under `rule`, spaces and one closing full stop stripped; None if it states none.

    - last_line: the last line that is not blank.
    - after_answer_is: the rest of the line after the last "answer is" ("So the answer is (B)"), a colon skipped.
    - hash: the rest of the line after the last "####".
    - boxed: the last \boxed{...} with balanced braces. Other boxes on its line with another content make the answer
      ambiguous: the whole span from first to last box is returned, which equals no answer.
    - last_equals: the rest of the line after the last "=" (<=, >=, !=, == do not count).
    - whole: all of it.

    The last occurrence decides, even when nothing follows it (None): an earlier answer is not dug up.
    Raises ValueError for an unknown rule.

    >>> extract("2+3=5\nSo the answer is 5.", "after_answer_is"), extract("no answer", "hash")
    ('5', None)
    >>> extract(r"\boxed{\frac{1}{2}}", "boxed"), extract(r"\boxed{12} or \boxed{13}", "boxed")
    ('\\frac{1}{2}', '\\boxed{12} or \\boxed{13}')
    """
    if rule not in get_args(Extraction):
        raise ValueError(f"extraction rule {rule!r}; allowed: {', '.join(get_args(Extraction))}")
    if rule == "boxed":
        found = _last_box(text)
    elif rule == "whole":
        found = text
    elif rule == "last_line":
        found = text.rstrip().rsplit("\n", 1)[-1]
    else:
        marks = list(_MARK[rule].finditer(text))
        found = text[marks[-1].end() :].split("\n", 1)[0] if marks else None
    return tidy(found or "") or None


def tidy(answer: str) -> str:
    """Spaces collapsed, ends stripped, one closing full stop dropped."""
    return " ".join(answer.split()).removesuffix(".").rstrip()


def solution_text(solution: Solution) -> str:
    """The sampled steps joined by newlines."""
    return "\n".join(step.text for step in solution if step.sampled)


def gold_answer(problem: Problem) -> str:
    """The problem's answer as text. Raises ValueError, naming the problem, when it has none."""
    gold = "" if problem.answer is None else tidy(str(problem.answer))
    if not gold:
        raise ValueError(f"problem {problem.id!r} has no answer to verify against")
    return gold


def outcomes(
    problem: Problem, solutions: Sequence[Solution], rule: Extraction, decide: Callable[[str], Verdict], verifier: str,
    *, form: Callable[[str], object] = str,
) -> list[Outcome]:  # fmt: skip
    """One Outcome per solution. `decide(answer)` says right or wrong, None for an answer it cannot read, or how it failed.

    `form` writes an answer that could be read in one way, so that equal answers are one vote ("1,234" and "1234.0").
    Nothing to extract is "unparsed"; an answer stated but unreadable ("12 or 13" where a number is due) is scored 0 with
    `well_formed=False`: the attempt answered, and not rightly. A timeout or an error carries no reward.
    """
    found: list[Outcome] = []
    for solution in solutions:
        answer = extract(solution_text(solution), rule)
        if answer is None:
            found.append(Outcome(well_formed=False, status="unparsed", verifier=verifier))
            continue
        verdict: Any = decide(answer)
        if verdict in ("timeout", "error"):
            found.append(Outcome(answer=answer, status=verdict, verifier=verifier))
        else:
            right = verdict is True
            said = answer if verdict is None else str(form(answer))
            found.append(Outcome(float(right), right, verdict is not None, said, "scored", verifier))
    return found


def _last_box(text: str) -> str | None:
    spans = []  # (start of "\boxed", start of content, end of content)
    for match in _BOX.finditer(text):
        depth = 1
        for position in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0) * (text[position - 1] != "\\")
            if depth == 0:
                spans.append((match.start(), match.end(), position))
                break
    if not spans:
        return None
    outer = [s for s in spans if not any(o[1] <= s[0] and s[2] < o[2] for o in spans)]
    start, inner, end = outer[-1]
    beside = [s for s in outer if "\n" not in text[s[0] : start]]
    if len({tidy(text[s[1] : s[2]]) for s in beside}) > 1:
        return text[beside[0][0] : end + 1]
    return text[inner:end]
