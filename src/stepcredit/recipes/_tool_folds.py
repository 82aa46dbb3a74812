"""Longer tasks under a context limit: an episode that reaches it goes on from a memory, or ends there.

    folds      text above `limit` tokens -> the next turn is written behind the prompt, the calls left, the last that found something
    cut        text above `limit` tokens -> the episode is truncated, and costs no further token
    no limit   what the memory is measured against

Memory folding: ToolPO (DeepAgent), arXiv:2510.21618, section 3.2, where a language model writes three memories; here a function
writes what the demonstrator itself goes by, so that a fold loses nothing a demonstration used. The policy is the
language model of demonstrations, fine-tuned on them behind their prompts and behind each fold, so that one starts all three; were
it a language model of folded texts, it would write memories of its own as first turns.
Degenerate: below the limit the three are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from stepcredit.core.environment import failed, results
from stepcredit.core.log_ratios import encode
from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.rng import rng
from stepcredit.core.types import Completion, Problem, Step, Tree
from stepcredit.recipes._rl import Test
from stepcredit.recipes._tool_rl import ToolWorld
from stepcredit.rollout._folding import Folding, folded
from stepcredit.rollout._writing import Writing
from stepcredit.tasks._tool import OK, value_of
from stepcredit.train.grpo import Rollout

Limited = Literal["folds", "cut", "no limit"]


def progress(problem: Problem, steps: Sequence[Step]) -> list[str]:
    """What of the prompt's plan is left, a call having been found for each word; and the last call that found something.

    >>> call, busy = Step("get 3", kind="tool_call"), Step("ERROR busy", kind="tool_result", sampled=False)
    >>> found = Step("= 4", kind="tool_result", sampled=False)
    >>> progress(Problem("p", "from 3 get put 5"), [call, found, call, busy]), progress(Problem("p", "from 3 get"), [call, found])
    (['put 5', 'get 3', '= 4'], ['answer', 'get 3', '= 4'])
    """
    found = [(call.text, result) for call, result in zip(steps, results(steps), strict=True)
             if result is not None and not failed(result) and (value_of(result) or OK in result.split())]  # fmt: skip
    left = " ".join(problem.prompt.split()[2 + len(found) :])
    return [left or "answer", *(found[-1] if found else ())]


def told(
    problem: Problem, steps: Sequence[Step], limit: int, writing: Writing, tokenizer: Any
) -> list[tuple[str, str]]:
    """A demonstration behind its prompt, and behind each of its folds on to its end: none ends where the episode does not."""
    contexts = [step.context for step in folded(problem, steps, Folding(limit, progress), writing, tokenizer)]
    starts = {0: writing.prefix(problem, ())} | {place: text for place, text in enumerate(contexts) if text is not None}
    return [(text, "".join(step.text + writing.delimiter for step in steps[place:])) for place, text in starts.items()]


@dataclass(frozen=True)
class FoldWorld:
    """A world with tools, and how many tokens a policy may read. Raises ValueError for a limit below 1."""

    world: ToolWorld
    limit: int
    fold_updates: int = 300

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit is {self.limit}; allowed: 1 or more")

    def problems(self, seed: int) -> tuple[list[Problem], list[Problem]]:
        """To train on and to test on, as the world has them."""
        return self.world.problems(seed)

    def policy(self, seed: int, cache: Path) -> Path:
        """The folder of the language model of demonstrations, fine-tuned to go on from folds too."""
        from stepcredit.policy.hf import hf
        from stepcredit.train.sft import fine_tune

        task, draw, start = self.world.made(), rng(seed, "tools", "folds"), self.world.policy(seed, cache)
        reads: Any = hf(str(start))
        pairs = [pair for problem in self.world.shown(seed)
                 for pair in told(problem, task.demonstrate(problem, draw), self.limit, Writing(), reads.tokenizer)]  # fmt: skip
        return fine_tune(start, pairs, cache, num_updates=self.fold_updates, seed=seed, progress=False)

    def rollout(self, limited: str, *, num: int) -> Rollout:
        """Verified episodes under the limit. Raises ValueError for another way to keep it."""
        if limited not in get_args(Limited):
            raise ValueError(f"limited is {limited!r}; allowed: {', '.join(get_args(Limited))}")
        folds: dict[str, Any] = {"fold_after": self.limit, "fold": progress} if limited == "folds" else {}
        grow = self.world.rollout(num=num, **folds)
        if limited != "cut":
            return grow

        def cut(problems: Sequence[Problem], policy: Policy, draw: Rng) -> Sequence[Tree]:
            return grow(problems, Short(policy, self.limit), draw)

        return cut

    def test(self, problems: Sequence[Problem], seed: int, limited: str) -> Test:
        """The world's test, under the limit."""
        return self.world.test(problems, seed, grow=self.rollout(limited, num=self.world.num_tested))


class Short:
    """A policy that reads at most `limit` tokens: behind more it writes nothing, and is cut at its length."""

    def __init__(self, policy: Any, limit: int) -> None:
        self._policy, self._limit = policy, limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def sample(self, prefixes: Sequence[str], num: int, rng: Rng, **knobs: Any) -> list[list[Completion]]:
        """The policy's completions of what it can read."""
        read = [len(ids) <= self._limit for ids in encode(self._policy.tokenizer, list(prefixes))]
        given = [prefix for prefix, can in zip(prefixes, read, strict=True) if can]
        said = iter(self._policy.sample(given, num, rng, **knobs) if given else ())
        full = Completion("", token_ids=(), logprobs=(), finish="length")
        return [list(next(said)) if can else [full] * num for can in read]
