"""A policy that says what it is told, in order: for tests and for replaying recorded text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Completion, Floats


@register("policy", paper="ours")
def scripted(*, completions: Sequence[str] = (), logprobs: Mapping[str, float] | None = None) -> Scripted:
    """The policy that writes `completions` one after another; `logprobs` gives log p of a continuation, whatever precedes."""
    return Scripted(completions, logprobs or {})


class Scripted:
    """Answers from a list; `asked` keeps every prefix in the order it was asked for.

    Raises ValueError when the list is used up, or when asked for a log-probability it was not given.
    """

    def __init__(self, completions: Sequence[str], logprobs: Mapping[str, float]):
        self._completions = list(completions)
        self._logprobs = dict(logprobs)
        self.asked: list[str] = []

    def sample(
        self, prefixes: Sequence[str], num: int, rng: Rng, *, stop: Sequence[str] = (), max_new_tokens: int = 256
    ) -> list[list[Completion]]:
        """The next `num` texts for the first prefix, and so on, each cut before the first of `stop`; lengths are not limited."""
        return [[self._next(prefix, stop) for _ in range(num)] for prefix in prefixes]

    def logprob(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Floats:
        """The given log-probabilities, [len(prefixes)]."""
        for _, continuation in zip(prefixes, continuations, strict=True):
            if continuation not in self._logprobs:
                raise ValueError(
                    f"no log-probability for {continuation!r}; given: {', '.join(map(repr, self._logprobs)) or 'none'}"
                )
        return np.array([self._logprobs[continuation] for continuation in continuations], dtype=np.float64)

    def _next(self, prefix: str, stop: Sequence[str]) -> Completion:
        if len(self.asked) == len(self._completions):
            raise ValueError(f"the script has {len(self._completions)} completions and all are used")
        text = self._completions[len(self.asked)]
        self.asked.append(prefix)
        return Completion(text[: min((text.find(mark) for mark in stop if mark in text), default=len(text))])
