"""Options: an attempt written a step at a time, and whether it ended there. What step-wise searches sample.

An option ends at the delimiter, or, with a `pattern`, at the first delimiter behind text that matches it (AlphaLLM,
arXiv:2404.12253, section 4.3: end of line, or of a line with a formula), or when `max_new_tokens` are written. A policy's completion does not say whether it
was the delimiter or its own end that stopped it. Where the policy says what its tokens spell (`token_ends`), the
attempt is over exactly when nothing is spelt behind the option's text. Elsewhere (a server) it is over when it writes
nothing: a blank line reads as an end there, and an end behind text is only seen by the `end_pattern` given for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.types import Completion, Cost, Step
from stepcredit.rollout._spent import generated
from stepcredit.rollout._writing import Writing

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Option:
    """A step, or None where the policy wrote nothing more; whether the attempt is over with it, or was cut there."""

    step: Step | None
    ended: bool = False
    cut: bool = False
    cost: Cost = field(default_factory=Cost)


def draw(policy: Policy, prefixes: Sequence[str], num: int, rng: Rng, writing: Writing) -> list[list[Option]]:
    """`num` options behind each prefix, [len(prefixes)][num], each with the tokens it took to write."""
    if not prefixes:
        return []
    stop = (writing.delimiter,)
    found = [
        [_option(policy, completion, writing) for completion in group]
        for group in policy.sample(prefixes, num, rng, stop=stop, max_new_tokens=writing.max_new_tokens)
    ]
    for _ in range(writing.max_new_tokens if writing.pattern else 0):
        short = [(p, n) for p, group in enumerate(found) for n, one in enumerate(group) if _goes_on(one, writing)]
        if not short:
            break
        begun = [prefixes[p] + _text(found[p][n]) + writing.delimiter for p, n in short]
        more = policy.sample(begun, 1, rng, stop=stop, max_new_tokens=writing.max_new_tokens)
        for (p, n), (completion,) in zip(short, more, strict=True):
            found[p][n] = _joined(found[p][n], _option(policy, completion, writing), writing)
    return found


def _option(policy: Any, completion: Completion, writing: Writing) -> Option:
    ids, ends = completion.token_ids, getattr(policy, "token_ends", None)
    cost = Cost(generated_tokens=generated(completion))
    marks = [(completion.text.find(mark), len(mark)) for mark in writing.stop if mark in completion.text]
    place, length = min(marks, default=(len(completion.text), 0))
    text = completion.text[:place]
    said = bool(marks) or bool(writing.end_pattern and re.search(writing.end_pattern, text))
    cut = completion.finish == "length" and not said
    if ids is None or ends is None:
        over = said or not (completion.text or cut)
    else:  # behind the text stands the delimiter, or nothing but special tokens
        over = said or (not cut and (not ids or ends(ids)[-1] <= len(completion.text)))
    if over and not text:
        return Option(None, True, False, cost)
    if ids is None or ends is None:
        return Option(Step(text), over, cut, cost)
    logprobs = completion.logprobs
    if marks:  # as a policy that stops at the mark: its tokens stay, those that begin behind it were paid for in vain
        num = sum(begin < place + length for begin in [0, *ends(ids)[:-1]])
        ids, logprobs = ids[:num], None if logprobs is None else logprobs[:num]
    return Option(Step(text, token_ids=ids, logprobs=logprobs), over, cut, cost)


def _goes_on(option: Option, writing: Writing) -> bool:
    full = option.cost.generated_tokens >= writing.max_new_tokens
    return not (option.ended or option.cut or full) and re.search(writing.pattern, _text(option)) is None


def _text(option: Option) -> str:
    return option.step.text if option.step is not None else ""


def _joined(first: Option, second: Option, writing: Writing) -> Option:
    """Two pieces of one option; where the second is nothing, the first ended the attempt."""
    assert first.step is not None
    step = first.step
    if second.step is not None:
        text = step.text + writing.delimiter + second.step.text
        ids = _behind(step.token_ids, second.step.token_ids)
        step = replace(step, text=text, token_ids=ids, logprobs=_behind(step.logprobs, second.step.logprobs))
    return Option(step, second.ended, second.cut, first.cost + second.cost)


def _behind(first: tuple[T, ...] | None, second: tuple[T, ...] | None) -> tuple[T, ...] | None:
    return None if first is None or second is None else first + second


def edit_distance(first: str, second: str) -> float:
    """Levenshtein distance over the longer length, in [0, 1]; two empty texts are equal.

    Normalised, so that short options are not all one state (a distance of 20 merges every line of arithmetic).

    >>> edit_distance("3+4=2", "3+4=1"), edit_distance("", ""), edit_distance("ab", "")
    (0.2, 0.0, 1.0)
    """
    if first == second:
        return 0.0
    if not first or not second:
        return 1.0
    row_M = np.arange(len(second) + 1)
    letters_M = np.array([ord(letter) for letter in second])
    for place, letter in enumerate(first):
        # Insertions chain along the row: d_j = min_i<=j (e_i + j - i), a running minimum of e - index.
        kept_M = np.minimum(row_M[1:] + 1, row_M[:-1] + (letters_M != ord(letter)))
        edge_M = np.concatenate([[place + 1], kept_M])
        row_M = np.minimum.accumulate(edge_M - np.arange(len(edge_M))) + np.arange(len(edge_M))
    return float(row_M[-1]) / max(len(first), len(second))
