"""One seed of `recipes/judge_search`: what each search finds with each judge, beside choosing at the tokens it took.

    best of N at T tokens    a pool of attempts, the first N of each problem, N such that their mean tokens are T; between two N
                             the line between their accuracies

So a search is compared at the generated tokens it was measured to take, whatever its knobs, and with the same judge.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepcredit.core.protocols import Judge, Rng, Solution
from stepcredit.core.rng import rng
from stepcredit.core.truth import verified
from stepcredit.core.types import Cost, Estimate, Floats, Judgment, Record, Tree
from stepcredit.recipes._alphallm_cells import Results, each, kept, worth
from stepcredit.recipes._alphallm_critics import Foreseen, Remembered
from stepcredit.recipes._alphallm_world import MAX_NEW_TOKENS, World, key_of, tokens_of
from stepcredit.recipes._arms import ArmResult
from stepcredit.search._stepwise import Found
from stepcredit.search.beam import beam
from stepcredit.search.best_of_n import best_of_n
from stepcredit.search.chunk_reset import chunk_reset
from stepcredit.search.guided_mcts import guided_mcts
from stepcredit.search.lookahead import lookahead
from stepcredit.search.majority import majority
from stepcredit.search.weighted_majority import weighted_majority

REVISION = 1  # raise it when code that decides a cell's numbers changes
JUDGE_NAMES = ("latent_chain", "outcome_broadcast", "oracle")
MAX_STEPS = 10
SEARCHES: dict[str, tuple[Callable[..., list[Found]], dict[str, Any]]] = {
    "beam 8/4": (beam, {"num": 8, "width": 4}),
    "beam 8/8": (beam, {"num": 8, "width": 8}),
    "lookahead 4/2": (lookahead, {"num": 4, "width": 2, "steps": 1}),
    "chunk_reset": (chunk_reset, {"num_tries": 5}),
    "chunk_reset, best": (chunk_reset, {"num_tries": 5, "threshold": 0.9, "exhausted": "best"}),
    "guided_mcts": (guided_mcts, {"num_searches": 40, "num_rollouts": 1, "min_children": 2, "max_children": 8,
                                  "root_min_children": 4, "root_max_children": 16, "importance": 4.0, "exploration": 0.1, "max_resamples": 1}),
}  # fmt: skip
CHOICES = ("best_of_n", "weighted_majority", "majority")


@dataclass
class Pool:
    """Attempts at the test problems with their answers, and what choosing among the first N is worth, for every N."""

    trees: list[Tree]

    @functools.cached_property
    def tokens_N(self) -> Floats:
        """Mean generated tokens of the first 1, 2, ... attempts of each problem."""
        tokens_PN = np.array([[tokens_of(tree, leaf) for leaf in tree.leaves] for tree in self.trees])
        return np.asarray(tokens_PN.cumsum(axis=1).mean(axis=0), dtype=np.float64)

    def chosen(self, how: str, judged: Sequence[Sequence[Judgment]], num: int, draw: Rng) -> list[Solution]:
        """The answers chosen among the first `num`."""
        if how == "majority":
            leaves = [majority(tree, rng=draw, num=num) for tree in self.trees]
        else:
            choose = best_of_n if how == "best_of_n" else weighted_majority
            leaves = [choose(tree, own, rng=draw, num=num) for tree, own in zip(self.trees, judged, strict=True)]
        return [tree.solution(leaf) for tree, leaf in zip(self.trees, leaves, strict=True)]


def at_tokens(tokens: float, tokens_N: Floats, accuracy_N: Floats) -> float:
    """The accuracy of choosing at so many tokens, on the line between two N; flat before the first and behind the last.

    >>> at_tokens(15.0, np.array([10.0, 20.0]), np.array([0.4, 0.6]))
    0.5
    """
    return float(np.interp(tokens, tokens_N, accuracy_N))


@dataclass
class Study:
    """One seed. Finished judges lie under `out/cells`."""

    world: World
    num_list: tuple[int, ...]
    budget: int

    def result(self, judge: str) -> Results:
        """All that is found with one judge: `method (judge)`; under "majority" what needs none."""
        knobs = {name: own for name, (_, own) in SEARCHES.items()}
        key = key_of([REVISION, self.world.parts, self.num_list, self.budget, knobs])
        path = self.world.out / "cells" / key / str(self.world.seed) / f"{judge}.json"
        return kept(path, functools.partial(self._run, judge), self.world.progress)

    @functools.cached_property
    def pool(self) -> Pool:
        """The policy's attempts at the test problems; the answers in their outcomes are what is voted on."""
        world = self.world
        trees = world.write(world.policy(), world.problems["test"], world.scale.num_attempts, "test attempts")
        return Pool([verified(Record(tree), world.task.verify).tree for tree in trees])

    def _run(self, name: str) -> Results:
        if name == "majority":
            return self._choices(name, [])[0]
        judge = self._judge(name)
        judged = [judge([(t.problem, t.solution(leaf)) for leaf in t.leaves]) for t in self.pool.trees]
        found, curves = self._choices(name, judged)
        for search in SEARCHES:
            found[f"{search} ({name})"] = self._search(search, name, curves)
        return found

    def _judge(self, name: str) -> Remembered:
        """Afresh: a search pays for what it asks."""
        from stepcredit.judge.head import IncrementalScorer

        scorer: Any = self.world.judge(name)
        return Remembered(IncrementalScorer(scorer.scorer))

    def _choices(self, name: str, judged: Sequence[Sequence[Judgment]]) -> tuple[Results, dict[str, Floats]]:
        """Choosing among the first N, for the N that are shown, and each way's accuracy for every N."""
        world, problems, pool = self.world, self.world.problems["test"], self.pool
        found: Results = {}
        curves: dict[str, Floats] = {}
        for how in ("majority",) if name == "majority" else CHOICES:
            accuracy = []
            for num in range(1, world.scale.num_attempts + 1):
                draw = rng(world.seed, "choose", how, num)
                estimates = worth(world.task, problems, pool.chosen(how, judged, num, draw))
                accuracy.append(estimates["accuracy"].value)
                if num in self.num_list and (how != "majority" or name == "majority"):
                    of = "" if how == "majority" else f" ({name})"
                    cost = {
                        "generated_tokens": float(pool.tokens_N[num - 1]),
                        "critic_calls": 0.0 if how == "majority" else float(num),
                    }
                    found[f"{how} of {num}{of}"] = ArmResult(estimates, cost=cost)
            curves[how] = np.array(accuracy)
        return found, curves

    def _search(self, search: str, name: str, curves: Mapping[str, Floats]) -> ArmResult:
        world, problems = self.world, self.world.problems["test"]
        method, knobs = SEARCHES[search]
        judge, policy = self._judge(name), world.policy()
        writer: Any = policy
        if method is guided_mcts:
            writer, knobs = (
                Foreseen(policy, judge),
                {**knobs, "token_budget": round(self.budget * self.pool.tokens_N[0])},
            )
        said: Judge = judge
        done = method(problems, policy=writer, judge=said, rng=rng(world.seed, "search", search, name), max_steps=MAX_STEPS,
                      max_new_tokens=MAX_NEW_TOKENS, **knobs)  # fmt: skip
        spent = Cost(
            generated_tokens=policy.cost.generated_tokens,
            forwarded_tokens=policy.cost.forwarded_tokens + judge.cost.forwarded_tokens,
            judge_calls=judge.cost.judge_calls,
        )
        estimates: dict[str, Estimate] = worth(world.task, problems, [one.solution for one in done])
        tokens = spent.generated_tokens / len(problems)
        for how, accuracy_N in curves.items():
            rival = at_tokens(tokens, self.pool.tokens_N, accuracy_N)
            gap, nan = estimates["accuracy"].value - rival, float("nan")
            estimates[f"minus {how}"] = Estimate(gap, nan, nan, len(problems), "difference in accuracy")
        return ArmResult(estimates, cost=each(len(problems), spent))
