"""A rollout that goes on where it was killed: run again from its start, its calls answered from a file as far as it goes.

    grown = rollout(what it is given, what its rng draws, what policy, verifier, judge and environment answer)

so the answers, and the state of the rng behind each of the policy's and the environment's, are all there is to keep: the
tree is the one that an uninterrupted run grows, with the same cost, and nothing that was answered is asked or paid again.
A large call of the policy is asked in pieces, each kept by itself: a kill loses the piece in flight.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from stepcredit.core.environment import Environment, Reply
from stepcredit.core.protocols import Judge, Policy, Rng, Solution, Verifier
from stepcredit.core.types import Completion, Cost, Floats, Judgment, Outcome, Problem
from stepcredit.rollout._log import Log, digest
from stepcredit.rollout._spent import spent

P = ParamSpec("P")
R = TypeVar("R")
PIECE = 256  # completions asked for at once, where the policy does not say how many it writes together (`batch_size`)
_VERSION = 1


def resumable(*, longer: Collection[str] = ()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function its keyword `folder`: what it asked is kept there as it is answered, and the same call goes on from it.

    The file is named by the hash of the function's name, what it is given and the state of its rng; of knobs all but those
    in `longer`, which say how long to go on, so that raising these goes on too. It cannot know the policy, the verifier,
    the judge or the environment: one folder for each. They must be there again: the policy is still asked what its tokens
    spell. Resources are told by their annotations, as in `core/registry`.
    With a folder the policy is asked in pieces: where it draws for all it is asked together (`policy/hf`), a call larger
    than its batch draws otherwise than without. The same folder is for one process at a time.
    Raises ValueError for a folder that is a file, and where what is kept was asked for otherwise, as by a policy with another
    `batch_size`; TypeError for problems whose answer or meta is nothing that JSON can hold.
    """

    def lift(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        resource = {name: str(p.annotation).removesuffix(" | None") for name, p in signature.parameters.items()}

        @functools.wraps(function)
        def kept(*given: P.args, **named: P.kwargs) -> R:
            if named.get("folder") is None:
                return function(*given, **named)
            bound = signature.bind(*given, **named)
            bound.apply_defaults()
            left_out = {"folder", *longer, *(name for name, what in resource.items() if what in WRAPPERS)}
            made_of = {
                name: value.bit_generator.state if resource[name] == "Rng" else value
                for name, value in bound.arguments.items()
                if name not in left_out
            }
            asked = digest([_VERSION, function.__name__, made_of])
            log = Log(_made(str(named["folder"])) / f"{function.__name__}-{asked}.jsonl")
            wrapped: dict[int, Any] = {}  # one for each: that two critics are the same judge stays so
            for name, value in bound.arguments.items():
                if resource[name] in WRAPPERS and value is not None:
                    own = wrapped.setdefault(id(value), WRAPPERS[resource[name]](value, log))
                    bound.arguments[name] = own
            return function(*bound.args, **bound.kwargs)

        return kept

    return lift


class KeptPolicy:
    """A policy whose completions are kept; the rng is left as the policy left it, asked or not."""

    def __init__(self, policy: Policy, log: Log) -> None:
        self._policy, self._log, self.cost = policy, log, Cost()
        self._piece = int(getattr(policy, "batch_size", PIECE))

    @property
    def replayed_seconds(self) -> float:
        """The time that what was answered from the file once took, of all that is kept there."""
        return self._log.replayed_seconds

    def sample(
        self, prefixes: Sequence[str], num: int, rng: Rng, *, stop: Sequence[str] = (), max_new_tokens: int = 256
    ) -> list[list[Completion]]:
        """As the policy's, in pieces."""
        found: list[list[Completion]] = [[] for _ in prefixes]
        for places, each in _pieces(len(prefixes), num, self._piece):
            own = [prefixes[place] for place in places]
            state = rng.bit_generator.state

            def write(own: list[str] = own, each: int = each) -> dict[str, Any]:
                before = spent(self._policy)
                groups = self._policy.sample(own, each, rng, stop=stop, max_new_tokens=max_new_tokens)
                after = spent(self._policy)
                return {
                    "groups": [[[c.text, c.token_ids, c.logprobs, c.finish] for c in group] for group in groups],
                    "generated": after.generated_tokens - before.generated_tokens,
                    "forwarded": after.forwarded_tokens - before.forwarded_tokens,
                    "rng": rng.bit_generator.state,
                }

            answer = self._log.answered(["sample", own, each, list(stop), max_new_tokens, state], write)
            rng.bit_generator.state = _like(state, answer["rng"])
            self.cost += Cost(answer["generated"], answer["forwarded"])
            for place, group in zip(places, answer["groups"], strict=True):
                found[place] += [_completion(*row) for row in group]
        return found

    def logprob(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Floats:
        """The policy's own, which is not kept: the same question has the same answer."""
        return self._policy.logprob(prefixes, continuations)

    def __getattr__(self, name: str) -> Any:
        """What else the policy can say, such as what its tokens spell."""
        return getattr(self._policy, name)


def _verifier(verify: Verifier, log: Log) -> Verifier:
    def decide(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        asked = ["verify", problem, [_texts(solution) for solution in solutions]]
        rows = log.answered(
            asked, lambda: [dataclasses.asdict(outcome) for outcome in verify(problem, solutions)], sync=False
        )
        return [Outcome(**row) for row in rows]

    return decide


def _judge(judge: Judge, log: Log) -> Judge:
    def judged(attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        asked = ["judge", [(problem, _texts(solution)) for problem, solution in attempts]]
        rows = log.answered(asked, lambda: [_row(judgment) for judgment in judge(attempts)])
        return [Judgment(**{**row, "cost": Cost(**row["cost"])}) for row in rows]

    return judged


def _environment(environment: Environment, log: Log) -> Environment:
    def replied(episodes: Sequence[tuple[Problem, Solution]], rng: Rng) -> list[Reply]:
        state = rng.bit_generator.state

        def reply() -> dict[str, Any]:
            rows = [[one.kind, one.result] for one in environment(episodes, rng)]
            return {"replies": rows, "rng": rng.bit_generator.state}

        asked = ["environment", [(problem, _texts(steps)) for problem, steps in episodes], state]
        answer = log.answered(asked, reply)
        rng.bit_generator.state = _like(state, answer["rng"])
        return [Reply(*row) for row in answer["replies"]]

    return replied


WRAPPERS: Mapping[str, Callable[[Any, Log], Any]] = {
    "Policy": KeptPolicy, "Verifier": _verifier, "Judge": _judge, "Environment": _environment,
}  # fmt: skip


def _made(folder: str) -> Path:
    place = Path(folder).expanduser()
    if place.exists() and not place.is_dir():
        raise ValueError(f"folder {folder!r} is a file; allowed: a folder, made where there is none")
    place.mkdir(parents=True, exist_ok=True)
    return place


def _pieces(num_prefixes: int, num: int, most: int) -> Iterator[tuple[range, int]]:
    """Which prefixes to ask for together, and how many completions of each: at most `most` in all, or one prefix's."""
    width = max(1, most // num)
    for begin in range(0, num_prefixes, width):
        places = range(begin, min(begin + width, num_prefixes))
        for done in range(0, num, most):
            yield places, min(most, num - done)


def _texts(solution: Solution) -> list[tuple[str, bool]]:
    return [(step.text, step.sampled) for step in solution]


def _completion(text: str, token_ids: list[int] | None, logprobs: list[float] | None, finish: Any) -> Completion:
    ids, logs = None if token_ids is None else tuple(token_ids), None if logprobs is None else tuple(logprobs)
    return Completion(text, ids, logs, finish)


def _row(judgment: Judgment) -> dict[str, Any]:
    row = {each.name: getattr(judgment, each.name) for each in dataclasses.fields(judgment)}
    return {**row, "cost": dataclasses.asdict(judgment.cost)}


def _like(state: Any, kept: Any) -> Any:
    """The state of a bit generator from JSON: arrays where `state` has arrays."""
    if isinstance(state, Mapping):
        return {name: _like(value, kept[name]) for name, value in state.items()}
    return np.array(kept, dtype=state.dtype) if isinstance(state, np.ndarray) else kept
