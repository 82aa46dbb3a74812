"""Critics in the place of a verifier, asked in batches: what lets a search run without the gold answers.

`Remembered` asks a judge once of each attempt. `Foreseen` is a policy whose finished attempts are put to such a judge as
they are written, all of a call together, since a search asks of finished attempts problem by problem. `as_verifier` is the
critic in a verifier's shape: its score is the reward, and nothing is said of correct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepcredit.core.protocols import Judge, Policy, Rng, Solution, Verifier
from stepcredit.core.types import Completion, Cost, Floats, Judgment, Outcome, Problem, Step
from stepcredit.rollout._spent import judging, spent

CRITIC = "critic"  # the verifier's name in the outcomes of a search


class Remembered:
    """A Judge that answers a second time from memory; `cost` is what asking has cost, and judgments say nothing of it.

    Attempts are the same where prompts and texts of steps are.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge, self.cost = judge, Cost()
        self._known: dict[tuple[str, ...], Judgment] = {}

    def __call__(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        """One judgment per attempt, in order; those not known are asked for in one call."""
        keys = [(problem.prompt, *(step.text for step in steps)) for problem, steps in attempts]
        new = {key: attempt for key, attempt in zip(keys, attempts, strict=True) if key not in self._known}
        for key, said in zip(new, self.judge(list(new.values())) if new else [], strict=True):
            self.cost += judging(said)
            self._known[key] = replace(said, cost=Cost(judge_calls=1))
        return [self._known[key] for key in keys]


class Foreseen:
    """A policy, with a judge that is asked of every attempt the policy finishes, before anybody else asks.

    Prefixes are those of `rollout`: the prompt and the steps so far, each closed by a newline.
    """

    def __init__(self, policy: Policy, judge: Remembered) -> None:
        self.policy, self.judge = policy, judge
        ends = getattr(policy, "token_ends", None)
        if ends is None:
            raise ValueError(
                "a policy that does not say what its tokens spell (token_ends) does not show what it finishes"
            )
        self.token_ends = ends

    @property
    def cost(self) -> Cost:
        """What the policy has spent."""
        return spent(self.policy)

    def sample(
        self, prefixes: Sequence[str], num: int, rng: Rng, *, stop: Sequence[str] = (), max_new_tokens: int = 256
    ) -> list[list[Completion]]:
        """As the policy's."""
        groups = self.policy.sample(prefixes, num, rng, stop=stop, max_new_tokens=max_new_tokens)
        written = [
            prefix + one.text
            for prefix, group in zip(prefixes, groups, strict=True)
            for one in group
            if one.finish == "stop" and (not one.token_ids or self.token_ends(one.token_ids)[-1] <= len(one.text))
        ]
        self.judge([attempt_of(text) for text in written])
        return groups

    def logprob(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Floats:
        """As the policy's."""
        return self.policy.logprob(prefixes, continuations)


def attempt_of(text: str) -> tuple[Problem, tuple[Step, ...]]:
    r"""The attempt that a text holds, prompt first; an empty last line is none.

    >>> attempt_of("3 +4\n3+4=0\n")[1]
    (Step(text='3+4=0', kind='reason', sampled=True, token_ids=None, logprobs=None, context=None),)
    """
    prompt, *lines = text.removesuffix("\n").split("\n")
    return Problem(prompt, prompt), tuple(Step(line) for line in lines) or (Step(""),)


def as_verifier(critic: Judge) -> Verifier:
    """Outcomes whose reward is the critic's score, in [0, 1]; an attempt it cannot score is "abstained"."""

    def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        said = critic([(problem, solution) for solution in solutions])
        return [
            Outcome(reward=one.score, verifier=CRITIC)
            if one.status == "scored"
            else Outcome(status="abstained", verifier=CRITIC)
            for one in said
        ]

    return verify
