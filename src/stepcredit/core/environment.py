"""Worlds that answer: what an environment makes of a step that the policy wrote, given all that stands before it.

    (problem, steps s_1..s_t, rng) -> Reply:   s_t is a call and has a result;   s_t is the answer: the episode is over

An environment keeps no state. What state there is it works out from the path, by going through its calls in a fresh world, so
that branches of a tree share none and an episode can be continued from any node; calls whose recorded result says that they
failed changed nothing. The same problem, steps and state of the rng have the same reply.
Degenerate: a thought (`reason`) has no result, and the policy goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import numpy as np

from stepcredit.core.types import Problem, Step, Tree

TurnKind = Literal["reason", "tool_call", "answer"]
FAILED = "ERROR"  # what the result of a call that failed begins with


@dataclass(frozen=True)
class Reply:
    """What a step is, and what the environment writes behind it: the result of a call, nothing behind anything else.

    Raises ValueError for another kind, and for a call without a result or a result without a call.

    >>> Reply("tool_call", "42 rows").turn(Step("count"))[1]
    Step(text='42 rows', kind='tool_result', sampled=False, token_ids=None, logprobs=None, context=None)
    """

    kind: TurnKind
    result: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(TurnKind) or (self.kind == "tool_call") != (self.result is not None):
            raise ValueError(f"a reply of kind {self.kind!r} with the result {self.result!r}; allowed: "
                             "tool_call with a result, reason and answer without")  # fmt: skip

    def turn(self, step: Step) -> list[Step]:
        """The step as what it is, and the result behind it."""
        behind = [] if self.result is None else [Step(self.result, kind="tool_result", sampled=False)]
        return [replace(step, kind=self.kind), *behind]


class Environment(Protocol):
    """Answers the calls of episodes."""

    def __call__(self, episodes: Sequence[tuple[Problem, Sequence[Step]]], rng: np.random.Generator) -> list[Reply]:
        """One reply an episode, in order, to the last of its steps; those before it are its past, results included."""
        ...


def one_by_one(reply: Callable[[Problem, Sequence[Step], np.random.Generator], Reply]) -> Environment:
    """The environment that replies to one episode after the other."""

    def replies(episodes: Sequence[tuple[Problem, Sequence[Step]]], rng: np.random.Generator) -> list[Reply]:
        return [reply(problem, steps, rng) for problem, steps in episodes]

    return replies


def turn(environment: Environment, problem: Problem, steps: Sequence[Step], step: Step, rng: np.random.Generator) -> list[Step]:  # fmt: skip
    """A further step of one episode, as what it is, and its result: what is new behind `steps`."""
    (reply,) = environment([(problem, [*steps, step])], rng)
    return reply.turn(step)


def observed(environment: Environment, problem: Problem, steps: Sequence[Step], rng: np.random.Generator) -> list[Step]:
    """What the policy wrote, with the environment's results instead of any that stood there; nothing behind the answer."""
    seen: list[Step] = []
    for step in steps:
        if step.sampled:
            seen += turn(environment, problem, seen, step, rng)
            if seen[-1].kind == "answer":
                break
    return seen


def executed(steps: Sequence[Step]) -> list[str]:
    """What the policy wrote on a path and what did not fail: all but the calls whose result says so, as texts.

    A call without a result behind it, such as one whose results were never recorded, counts as carried out.

    >>> failed = [Step("put 3", kind="tool_call"), Step("ERROR busy", kind="tool_result", sampled=False)]
    >>> executed([*failed, Step("get 3", kind="tool_call"), Step("so")])
    ['get 3', 'so']
    """
    said = zip(steps, results(steps), strict=True)
    return [step.text for step, result in said if step.sampled and not failed(result)]


def failed(result: str | None) -> bool:
    """Whether a world says that it did not carry out a call; without a result it says nothing."""
    return result is not None and result.startswith(FAILED)


def results(steps: Sequence[Step]) -> list[str | None]:
    """What came back for each step of a path, None for nothing and for what the policy did not write.

    Calls that were made together, one right behind the other, have the results behind them in the same order.

    >>> together = [Step("put 3", kind="tool_call"), Step("put 4", kind="tool_call")]
    >>> behind = [Step(text, kind="tool_result", sampled=False) for text in ("ERROR busy", "ok")]
    >>> results([*together, *behind])
    ['ERROR busy', 'ok', None, None]
    """
    found: list[str | None] = [None] * len(steps)
    made: list[int] = []  # calls that wait for a result
    for place, step in enumerate(steps):
        if step.sampled:
            together = place > 0 and step.kind == "tool_call" and _is_call(steps[place - 1])
            made = [*made, place] if together else [place]
        elif made and step.kind != "prompt":
            found[made.pop(0)] = step.text
    return found


def _is_call(step: Step) -> bool:
    return step.sampled and step.kind == "tool_call"


def num_calls(tree: Tree) -> int:
    """How many calls were answered: the results in a tree, those of a shared prefix once. What was pruned is not counted."""
    return sum(step.kind == "tool_result" for step in tree.steps)
