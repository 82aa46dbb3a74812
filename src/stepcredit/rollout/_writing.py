"""How attempts are written: what stands before a step and what ends it, what is asked of a policy, and what that cost.

Shared by all rollouts and by the searches that write a step at a time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.types import Completion, Cost, Problem, Step
from stepcredit.rollout._spent import clock, generated, shares, spent


@dataclass(frozen=True)
class Writing:
    r"""An attempt's text: the prompt, `prompt_end`, and its steps, each closed by the delimiter; it ends before a `stop`.

    `max_new_tokens` is the length of one completion. Where an attempt is written a step at a time, a step goes on until
    `pattern` is found in it, and the attempt ends with a step that `end_pattern` is found in.
    Raises ValueError for empty strings, `max_new_tokens` below 1, or a pattern that is no regular expression.

    >>> Writing().prefix(Problem("p", "2+3=?"), [Step("so")])
    '2+3=?\nso\n'
    """

    delimiter: str = "\n"
    prompt_end: str = "\n"
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 256
    pattern: str = ""
    end_pattern: str = ""

    def __post_init__(self) -> None:
        if not self.delimiter or not all(self.stop) or self.max_new_tokens < 1:
            raise ValueError(f"delimiter {self.delimiter!r}, stop {list(self.stop)}, max_new_tokens {self.max_new_tokens}; "
                             "allowed: strings that are not empty, 1 or more")  # fmt: skip
        for name in ("pattern", "end_pattern"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise ValueError(f"{name} {getattr(self, name)!r} is no regular expression: {error}") from error

    def prefix(self, problem: Problem, steps: Sequence[Step]) -> str:
        """The text a policy goes on from: prompt, its end, and the steps, each closed by the delimiter."""
        return problem.prompt + self.prompt_end + "".join(step.text + self.delimiter for step in steps)

    def steps(self, completion: Completion, policy: Any) -> list[Step]:
        """A completion's steps: the pieces between delimiters, without an empty one at the end.

        Where the policy says what its tokens spell (a method `token_ends`), each step carries its token ids and
        log-probabilities: a token belongs to the step it begins in, a delimiter to the step it ends, and what stands
        behind the text to the last step. Degenerate: no text is one step with the text "".
        """
        pieces = completion.text.split(self.delimiter)
        if len(pieces) > 1 and not pieces[-1]:
            pieces.pop()
        ends: Callable[[Sequence[int]], list[int]] | None = getattr(policy, "token_ends", None)
        if completion.token_ids is None or ends is None:
            return [Step(piece) for piece in pieces]
        edges = [0]  # step s holds characters [edges[s], edges[s + 1])
        for piece in pieces[:-1]:
            edges.append(edges[-1] + len(piece) + len(self.delimiter))
        ids, logprobs = completion.token_ids, completion.logprobs
        begins = [0, *ends(ids)[:-1]]
        owner_T = [min(bisect_right(edges, begin) - 1, len(pieces) - 1) for begin in begins]
        steps = []
        for index, piece in enumerate(pieces):
            own = [place for place, owner in enumerate(owner_T) if owner == index]
            steps.append(Step(piece, token_ids=tuple(ids[t] for t in own),
                              logprobs=None if logprobs is None else tuple(logprobs[t] for t in own)))  # fmt: skip
        return steps


def by_steps(delimiter: str, prompt_end: str, stop: Sequence[str], max_new_tokens: int, *, pattern: str = "",
             end_pattern: str = "") -> Writing:  # fmt: skip
    """As `Writing`, for attempts written a step at a time: ValueError for a stop that no step could contain."""
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens, pattern, end_pattern)
    if unseen := [mark for mark in writing.stop if delimiter in mark]:
        raise ValueError(f"stop {unseen[0]!r} holds the delimiter {delimiter!r}: no step could contain it")
    return writing


def ask(policy: Policy, prefixes: Sequence[str], num: int, rng: Rng, writing: Writing) -> tuple[list[list[Completion]], list[Cost]]:  # fmt: skip
    """`num` completions of each prefix, all in one call, and what each prefix cost, [len(prefixes)] both.

    Generated tokens are as measured; what the policy forwarded, and the time, is divided evenly. No prefixes, no call.
    """
    if not prefixes:
        return [], []
    before, began = spent(policy).forwarded_tokens, clock(policy)
    groups = policy.sample(prefixes, num, rng, stop=writing.stop, max_new_tokens=writing.max_new_tokens)
    seconds = (clock(policy) - began) / len(prefixes)
    forwarded = shares(spent(policy).forwarded_tokens - before, len(prefixes))
    costs = [
        Cost(sum(generated(one) for one in group), share, seconds=seconds)
        for group, share in zip(groups, forwarded, strict=True)
    ]
    return [list(group) for group in groups], costs
