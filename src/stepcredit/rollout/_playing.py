"""Playing episodes: all that are alive write a turn together, the environment replies to all of them, until none is alive.

An episode starts at any path of an earlier one; what was said and done there is in the path, and nothing else is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepcredit.core.environment import Environment
from stepcredit.core.log_ratios import encode
from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.types import Completion, Cost, Outcome, Problem, Step, Tree
from stepcredit.rollout._folding import Folding, Standing
from stepcredit.rollout._paths import TRUNCATED, Start, extended
from stepcredit.rollout._spent import clock
from stepcredit.rollout._writing import Writing, ask


@dataclass
class _Episode:
    """One being played: the path it started from and what is new, where it stands, and what it cost."""

    problem: Problem
    given: tuple[Step, ...]
    here: Standing
    new: list[Step] = field(default_factory=list)
    outcome: Outcome | None = None
    cost: Cost = field(default_factory=Cost)

    @property
    def steps(self) -> list[Step]:
        """The whole path."""
        return [*self.given, *self.new]

    @property
    def num_turns(self) -> int:
        """How many steps the policy has written."""
        return sum(step.sampled for step in self.steps)


@dataclass(frozen=True)
class Playing:
    """Who plays, in which world, and by which rules: a turn is closed by the delimiter or by the policy's end.

    Raises ValueError for `max_turns` below 1.
    """

    policy: Policy
    environment: Environment
    rng: Rng
    writing: Writing
    folding: Folding
    max_turns: int

    def __post_init__(self) -> None:
        if self.max_turns < 1:
            raise ValueError(f"max_turns is {self.max_turns}; allowed: 1 or more")


def played(trees: Sequence[Tree], starts: Sequence[Sequence[Start]], by: Playing) -> list[Tree]:
    """Each tree with an episode from each of its starts to its end, in their order; costs are on the trees as measured."""
    tokenizer = getattr(by.policy, "tokenizer", None)
    episodes = [[_begun(tree, node, by.writing, tokenizer) for node, _ in here]
                for tree, here in zip(trees, starts, strict=True)]  # fmt: skip
    alive = [episode for own in episodes for episode in own]
    while alive:
        alive = _round(alive, by, tokenizer)
    grown = []
    for tree, here, own in zip(trees, starts, episodes, strict=True):
        paths = [(start, episode.new, episode.outcome) for start, episode in zip(here, own, strict=True)]
        grown.append(extended(tree, paths, sum((episode.cost for episode in own), Cost())) if own else tree)
    return grown


def _begun(tree: Tree, node: int, writing: Writing, tokenizer: Any) -> _Episode:
    given = tree.solution(node)
    start = next((place for place, step in enumerate(given) if step.sampled), len(given))
    here = Standing.at(writing.prefix(tree.problem, given[:start]), tokenizer)
    return _Episode(tree.problem, given, here.behind(given[start:], writing, tokenizer))


def _round(alive: Sequence[_Episode], by: Playing, tokenizer: Any) -> list[_Episode]:
    """A turn of each, in one call of the policy and one of the environment; those that go on."""
    texts = [by.folding.text(one.problem, one.steps, one.here, by.writing) for one in alive]
    read = [None] * len(alive) if tokenizer is None else [tuple(ids) for ids in encode(tokenizer, texts)]
    groups, costs = ask(by.policy, texts, 1, by.rng, by.writing)
    replied = []
    for one, text, ids, (said,), cost in zip(alive, texts, read, groups, costs, strict=True):
        step = Step(said.text, token_ids=said.token_ids, logprobs=said.logprobs)  # a turn is all that was sampled
        # What the policy was given is the text of the path, token by token, or the step says what else it was.
        step = replace(step, context=text) if (text, ids) != (one.here.text, one.here.ids) else step
        one.new.append(step)
        one.cost += cost
        if said.finish == "length":
            one.outcome = TRUNCATED
        else:
            replied.append((one, _ended(said, by.policy)))
    began = clock(by.policy)
    replies = by.environment([(one.problem, one.steps) for one, _ in replied], by.rng) if replied else []
    seconds = (clock(by.policy) - began) / max(len(replied), 1)
    alive = []
    for (one, ended), reply in zip(replied, replies, strict=True):
        last = one.new.pop()
        turn = reply.turn(last)
        one.cost += Cost(seconds=seconds)
        over = reply.kind == "answer" or ended
        if not over and one.num_turns + 1 == by.max_turns:
            over, one.outcome = True, TRUNCATED
        one.new += turn[:1] if over else turn
        if not over:
            one.here = one.here.behind(turn, by.writing, tokenizer)
            alive.append(one)
    return alive


def _ended(completion: Completion, policy: Any) -> bool:
    """Whether it was the policy's end that closed a turn, not the delimiter; unknown, and no, where it does not say what it spelt."""
    ends: Callable[[Sequence[int]], list[int]] | None = getattr(policy, "token_ends", None)
    if completion.token_ids is None or ends is None:
        return False
    return not completion.token_ids or ends(completion.token_ids)[-1] <= len(completion.text)
