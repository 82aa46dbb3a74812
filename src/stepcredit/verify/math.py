"""An attempt is right when the answer it states is mathematically the gold one, by Hugging Face's math-verify.

math-verify finds an expression anywhere in a text and compares symbolically. Here it sees only the extracted answer, as
one formula, so it cannot pick the gold answer out of a sentence. What it ignores it ignores here too: units, percent and
degree signs after a number, the base of a numeral, the left side of "x = 12".

It guards itself by SIGALRM, which exists in a main thread only; from any other thread the batch goes to a child process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence

from stepcredit.core.protocols import Solution
from stepcredit.core.registry import register
from stepcredit.core.types import Outcome, Problem
from stepcredit.verify._extract import Extraction, Verdict, gold_answer, outcomes, solution_text
from stepcredit.verify._extract import extract as extracted

_STARTUP = 60.0  # seconds a child may take to import sympy on a busy machine
_OUTER = re.compile(r"\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\\,|\\ |\{,\})(?=[0-9]{3}(?![0-9]))")
_SEVERAL = re.compile(r"(?<!\\)\$|\\[()\[\]]|\\boxed|[0-9](?:\s|\\,|\\ |\\q?quad)+[0-9]")


@register("verify", paper="https://github.com/huggingface/Math-Verify")
def math(
    problem: Problem, solutions: Sequence[Solution], *, extract: Extraction = "boxed", timeout: int = 5
) -> list[Outcome]:
    r"""Reward 1 iff math-verify calls the extracted answer equal to the gold one, else 0.

    `timeout`: whole seconds for reading and again for comparing one answer; past it the status is "timeout", and an
    exception inside math-verify is status "error": neither has a reward.
    Degenerate: nothing to extract is "unparsed". An answer that is no single formula (unreadable LaTeX, prose between
    two formulas, two numbers side by side, which math-verify would add) is wrong, not well-formed.
    Raises ValueError for a gold answer that is missing or cannot be read, and for a timeout under 1.

    >>> from stepcredit.core.types import Step
    >>> said = [[Step(r"\boxed{0.5}")], [Step(r"\boxed{1/3}")], [Step("1/2")]]
    >>> [o.correct for o in math(Problem("p", "?", r"\frac{1}{2}"), said)]
    [True, False, None]
    """
    if timeout < 1:
        raise ValueError(f"timeout is {timeout}; allowed: whole seconds from 1")
    gold = gold_answer(problem)
    answers = [a for a in (extracted(solution_text(s), extract) for s in solutions) if a is not None]
    answers = list(dict.fromkeys([gold, *answers]))  # the gold one first: it must be readable
    here = threading.current_thread() is threading.main_thread()
    verdicts = decide(gold, answers, timeout) if here else _decide_in_child(gold, answers, timeout)
    verdict_of = dict(zip(answers, verdicts, strict=True))
    if verdict_of[gold] not in (True, "timeout"):
        raise ValueError(f"problem {problem.id!r}: math-verify cannot read the answer {problem.answer!r}")
    return outcomes(problem, solutions, extract, verdict_of.__getitem__, "math")


def decide(gold: str, answers: Sequence[str], timeout: int) -> list[Verdict]:
    """One verdict per answer: right, wrong, None where it cannot be read, or how it failed. Main thread only."""
    from math_verify import LatexExtractionConfig, parse, verify
    from math_verify.errors import TimeoutException

    def read(answer: str) -> list[object]:
        formula = _formula(answer)
        if formula is None:
            return []
        config = (LatexExtractionConfig(),)
        options = {"fallback_mode": "no_fallback", "parsing_timeout": timeout, "raise_on_error": True}
        return list(parse(f"${formula}$", extraction_config=config, **options))

    verdicts: list[Verdict] = []
    for answer in answers:
        try:
            parsed, wanted = read(answer), read(gold)
            same = verify(wanted, parsed, timeout_seconds=timeout, raise_on_error=True) if parsed else None
            verdicts.append(None if same is None else bool(same))
        except TimeoutException:
            verdicts.append("timeout")
        except Exception:  # sympy raises of every kind on model-written formulas
            verdicts.append("error")
    return verdicts


def _formula(answer: str) -> str | None:
    """The inside of one pair of math delimiters, or the answer itself; None where it is not one formula."""
    outer = _OUTER.fullmatch(answer)
    inner = next(part for part in outer.groups() if part is not None) if outer else answer
    inner = _THOUSANDS.sub("", inner)
    return None if _SEVERAL.search(inner) else inner


def _decide_in_child(gold: str, answers: Sequence[str], timeout: int) -> list[Verdict]:
    request = json.dumps({"gold": gold, "answers": list(answers), "timeout": timeout})
    limit = _STARTUP + 3.0 * timeout * len(answers)
    command = [sys.executable, "-m", "stepcredit.verify._math_child"]
    try:
        child = subprocess.run(command, input=request, capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired:
        return ["timeout"] * len(answers)
    except subprocess.CalledProcessError as broken:
        raise RuntimeError(f"the math-verify process failed: {broken.stderr[-500:]}") from broken
    verdicts: list[Verdict] = json.loads(child.stdout)
    return verdicts
