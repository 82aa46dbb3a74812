"""What a policy goes on from in a long episode: its text so far, or a memory of it that is shorter.

A path is told in segments. A step with a `context` starts one: it was sampled behind that text, the whole of it. The steps after
it whose context is None continue the segment, each behind the text of those before it. The first segment starts at the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepcredit.core.environment import failed, results
from stepcredit.core.log_ratios import encode
from stepcredit.core.types import Problem, Step
from stepcredit.rollout._writing import Writing

Fold = Callable[[Problem, Sequence[Step]], Sequence[str]]  # what is remembered of an episode, line by line
NOTHING = "none"  # how a result begins or ends that found nothing


def last_facts(problem: Problem, steps: Sequence[Step], *, num: int = 2) -> list[str]:
    """The last `num` calls that found something, and what they found: a call, its result, the next call.

    A result that is empty, begins with ERROR, or begins or ends with "none" is no fact.

    >>> call, nothing = Step("s ada boss", kind="tool_call"), Step("= none", kind="tool_result", sampled=False)
    >>> found = Step("ben", kind="tool_result", sampled=False)
    >>> last_facts(Problem("p", "?"), [call, found, call, nothing], num=1)
    ['s ada boss', 'ben']
    """
    turns = [(step.text, result) for step, result in zip(steps, results(steps), strict=True)
             if result is not None and _is_fact(result)]  # fmt: skip
    return [text for one in turns[len(turns) - min(num, len(turns)) :] for text in one]


def _is_fact(result: str) -> bool:
    words = result.split()
    return bool(words) and not failed(result) and NOTHING not in (words[0], words[-1])


@dataclass(frozen=True)
class Standing:
    """The text a policy goes on from, and, where it says what its tokens are, the tokens that a trainer would read there.

    `ids` are those of the segment's start and of the steps since: as sampled where they are known, else of text and delimiter.
    """

    text: str
    ids: tuple[int, ...] | None

    @classmethod
    def at(cls, text: str, tokenizer: Any) -> Standing:
        """At the start of a segment."""
        return cls(text, None if tokenizer is None else tuple(encode(tokenizer, [text])[0]))

    def behind(self, steps: Sequence[Step], writing: Writing, tokenizer: Any) -> Standing:
        """After these steps; one with a context starts anew."""
        here = self
        for step in steps:
            if step.context is not None:
                here = Standing.at(step.context, tokenizer)
            closed, ids = step.text + writing.delimiter, None
            if here.ids is not None:
                own = step.token_ids
                if own is None:
                    own = tokenizer(closed, add_special_tokens=False, verbose=False)["input_ids"]
                ids = (*here.ids, *own)
            here = Standing(here.text + closed, ids)
        return here


@dataclass(frozen=True)
class Folding:
    """When an episode is folded: where its text has more than `after` tokens, None for never; and how.

    Tokens are the policy's where it has a tokenizer, else words. Raises ValueError for a length below 1.
    """

    after: int | None
    fold: Fold

    def __post_init__(self) -> None:
        if self.after is not None and self.after < 1:
            raise ValueError(f"fold_after is {self.after}; allowed: 1 or more, or None")

    def text(self, problem: Problem, steps: Sequence[Step], here: Standing, writing: Writing) -> str:
        """What the policy goes on from: the text it stands at, or the prompt and what is remembered."""
        length = len(here.text.split()) if here.ids is None else len(here.ids)
        if self.after is None or not steps or length <= self.after:
            return here.text
        memory = self.fold(problem, steps)
        return problem.prompt + writing.prompt_end + "".join(line + writing.delimiter for line in memory)


def folded(
    problem: Problem, steps: Sequence[Step], folding: Folding, writing: Writing, tokenizer: Any = None
) -> list[Step]:
    """An episode that was written without folds, such as a demonstration, with the contexts that folding would have given it."""
    here, found = Standing.at(writing.prefix(problem, ()), tokenizer), list[Step]()
    for step in steps:
        text = folding.text(problem, found, here, writing) if step.sampled else here.text
        found.append(step if text == here.text else replace(step, context=text))
        here = here.behind(found[-1:], writing, tokenizer)
    return found


def segments(problem: Problem, steps: Sequence[Step], writing: Writing) -> list[str]:
    """The text of each segment of a path, from its start on: what a policy is fitted to where episodes are folded."""
    found = [writing.prefix(problem, ())]
    for step in steps:
        if step.context is not None:
            found.append(step.context)
        found[-1] += step.text + writing.delimiter
    return found
