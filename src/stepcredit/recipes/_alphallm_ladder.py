"""The rungs of AlphaLLM's ladder on the test problems of one seed, at equal generated tokens.

    greedy, one attempt | self-consistency, rerank: attempts until the budget is reached | MCTS: searches until it is

The budget is in generated tokens a problem, options that repeat and fast rollouts counted; greedy and one attempt cannot
spend it. No gold answer reaches a search or a choice: a finished attempt is worth what the outcome critic says of it.
All rungs answer alike: the attempt the policy has finished that the outcome critic likes best, ties drawn. Fast rollouts are
another model's text: they tell a state's worth and are no answers. A search that sits down on an end it likes leaves tokens
unspent, so the budget is a bound, and what was taken stands in the cost.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.rng import rng
from stepcredit.core.stats import rate
from stepcredit.core.types import Cost, Ints, Problem, Tree
from stepcredit.recipes._alphallm_cells import Results, each, kept, worth
from stepcredit.recipes._alphallm_critics import Foreseen, Remembered, as_verifier
from stepcredit.recipes._alphallm_world import JUDGES, MAX_NEW_TOKENS, World, affordable, key_of, tokens_of
from stepcredit.recipes._arms import ArmResult
from stepcredit.search.best_of_n import best_of_n
from stepcredit.search.majority import majority

REVISION = 2  # raise it when code that decides a rung's numbers changes
EXPLORATION = 0.1  # at the paper's 1.0 a search of so few tokens stays shallow and finishes nothing
FIXED = {
    "min_children": 3,
    "max_children": 3,
    "root_min_children": 3,
    "root_max_children": 3,
    "exploration": EXPLORATION,
}
ADAPTIVE = {"min_children": 2, "max_children": 8, "root_min_children": 4, "root_max_children": 16, "importance": 4.0,
            "exploration": EXPLORATION}  # fmt: skip
MAX_SEARCHES = 160
MAX_RESAMPLES = 1  # of an option that repeats: a second try is worth its tokens where options are few, a sixth is not
PLAIN = ("greedy", "one attempt", "self-consistency", "ORM rerank", "pass at budget")


@dataclass(frozen=True)
class Rung:
    """What a search has: children by importance, the process critic, fast rollouts, merged options."""

    adaptive: bool = False
    prm: bool = False
    rollouts: int = 0
    merge: bool = False


RUNGS = {
    "vanilla MCTS": Rung(),
    "+ adaptive children": Rung(adaptive=True),
    "+ PRM": Rung(adaptive=True, prm=True),
    "+ fast-rollout ORM": Rung(adaptive=True, prm=True, rollouts=1),
    "+ state merge": Rung(adaptive=True, prm=True, rollouts=1, merge=True),
}
WHOLE = "+ state merge"
FINISHED = "found an end"  # share of problems at which a search has finished an attempt; elsewhere its answer is none


class Critics:
    """The three critics of a search, each asked once of an attempt, and the policies whose attempts they are asked about."""

    def __init__(self, world: World, folder: Path | None = None) -> None:
        self.value, self.prm, self.orm = (Remembered(world.judge(name)) for name in ("value", "prm", "orm"))
        self.policy = Foreseen(world.policy(folder), self.orm)
        self.fast = Foreseen(world.policy(world.fast_folder), self.orm)

    @property
    def forwarded(self) -> Cost:
        """All that was read, by policies and critics, and how often critics were asked."""
        spent = [self.policy.cost, self.fast.cost, self.value.cost, self.prm.cost, self.orm.cost]
        return Cost(forwarded_tokens=sum(one.forwarded_tokens for one in spent),
                    judge_calls=sum(one.judge_calls for one in spent))  # fmt: skip


def grown(problems: Sequence[Problem | Tree], rung: Rung, critics: Critics, budget: int, draw: Rng) -> list[Tree]:
    """A search of each problem by one rung; rewards in the trees are the outcome critic's."""
    from stepcredit.rollout.mcts import mcts

    knobs: dict[str, Any] = dict(ADAPTIVE if rung.adaptive else FIXED)
    return mcts(
        problems, policy=critics.policy, verify=as_verifier(critics.orm), rng=draw, fast=critics.fast, value=critics.value,
        prm=critics.prm if rung.prm else None, num_rollouts=rung.rollouts, num_searches=MAX_SEARCHES, token_budget=budget,
        merge_distance=0.0 if rung.merge else -1.0, max_resamples=MAX_RESAMPLES, max_steps=10, max_new_tokens=MAX_NEW_TOKENS, **knobs,
    )  # fmt: skip


def ended(tree: Tree) -> Ints:
    """The leaves at which the search itself has finished an attempt; those of fast rollouts are none."""
    leaves = np.array(tree.leaves)
    own_L = tree.group_N[leaves] == 0 if tree.group_N is not None else np.ones(len(leaves), dtype=np.bool_)
    found: Ints = leaves[own_L & ~np.isnan(tree.reward_N[leaves])]
    return found


def answer(tree: Tree, draw: Rng) -> int:
    """The finished leaf with the highest reward, equals drawn; any of the search's own leaves where none is finished."""
    among = ended(tree)
    if among.size:
        reward_L = tree.reward_N[among]
        among = among[reward_L == reward_L.max()]
    else:
        leaves = np.array(tree.leaves)
        among = leaves if tree.group_N is None else leaves[tree.group_N[leaves] == 0]
        among = among if among.size else leaves
    return int(among[draw.integers(len(among))])


@dataclass
class Ladder:
    """One seed's rungs, at budgets of so many mean attempts. Finished rungs lie under `out/cells`."""

    world: World
    budgets: tuple[int, ...]

    @property
    def folder(self) -> Path:
        """Where this seed's cells are kept."""
        rungs = [[name, vars(rung)] for name, rung in RUNGS.items()]
        judges = {name: asdict(teaching) for name, teaching in JUDGES.items()}
        key = key_of(
            [REVISION, self.world.parts, judges, self.budgets, rungs, FIXED, ADAPTIVE, MAX_SEARCHES, MAX_RESAMPLES]
        )
        return self.world.out / "cells" / key / str(self.world.seed)

    def result(self, name: str) -> Results:
        """One rung by name, or "plain": all that only sample. One result a budget, under `name at budget`."""
        make = self._plain if name == "plain" else functools.partial(self._searched, name)
        return kept(self.folder / f"{name.replace(' ', '_')}.json", make, self.world.progress)

    @functools.cached_property
    def attempt_tokens(self) -> float:
        """Mean generated tokens of the policy's attempts at some training problems: what a budget counts in."""
        trees = self.world.write(self.world.policy(), self.world.problems["train"][:100], 4, "lengths")
        return float(np.mean([tokens_of(tree, leaf) for tree in trees for leaf in tree.leaves]))

    def tokens(self, budget: int) -> int:
        """A budget in generated tokens a problem."""
        return round(budget * self.attempt_tokens)

    def _searched(self, name: str) -> Results:
        critics, problems = Critics(self.world), self.world.problems["test"]
        trees: Sequence[Problem | Tree] = problems
        found: Results = {}
        for budget in self.budgets:  # a larger search goes on from the smaller
            grew = grown(trees, RUNGS[name], critics, self.tokens(budget), rng(self.world.seed, "search", name, budget))
            draw = rng(self.world.seed, "answer", name, budget)
            answers = [tree.solution(answer(tree, draw)) for tree in grew]
            spent = Cost(generated_tokens=sum(tree.cost.generated_tokens for tree in grew)) + critics.forwarded
            done = rate(sum(bool(ended(tree).size) for tree in grew), len(grew), FINISHED)
            found[at(name, budget)] = ArmResult({**worth(self.world.task, problems, answers), FINISHED: done},
                                                cost=each(len(problems), spent))  # fmt: skip
            trees = grew
        return found

    def _plain(self) -> Results:
        world, problems = self.world, self.world.problems["test"]
        policy = world.policy()
        trees = world.write(policy, problems, world.scale.num_attempts, "test attempts")
        spent = policy.cost
        shared = spent.forwarded_tokens / len(problems)
        orm = Remembered(world.judge("orm"))
        judged = [orm([(tree.problem, tree.solution(leaf)) for leaf in tree.leaves]) for tree in trees]
        read = orm.cost.forwarded_tokens / sum(len(tree.leaves) for tree in trees)
        found: Results = {}
        for budget in self.budgets:
            nums = [affordable(tree, self.tokens(budget)) for tree in trees]
            draws = {name: rng(world.seed, "choose", name, budget) for name in PLAIN}
            votes = [_with_answers(tree, world.task) for tree in trees]
            picked = {
                "self-consistency": [majority(t, rng=draws["self-consistency"], num=n) for t, n in zip(votes, nums, strict=True)],
                "ORM rerank": [best_of_n(t, j, rng=draws["ORM rerank"], num=n) for t, j, n in zip(trees, judged, nums, strict=True)],
                "pass at budget": [_right(t, n) for t, n in zip(votes, nums, strict=True)],
            }  # fmt: skip
            generated = np.mean(
                [sum(tokens_of(t, leaf) for leaf in t.leaves[:n]) for t, n in zip(trees, nums, strict=True)]
            )
            for name, leaves in picked.items():
                calls = float(np.mean(nums)) if name == "ORM rerank" else 0.0
                cost = {"generated_tokens": float(generated), "forwarded_tokens": shared + calls * read, "critic_calls": calls,
                        "verifier_calls": float(np.mean(nums)) if name == "pass at budget" else 0.0}  # fmt: skip
                answers = [t.solution(leaf) for t, leaf in zip(trees, leaves, strict=True)]
                found[at(name, budget)] = ArmResult(worth(world.task, problems, answers), cost=cost)
        greedy = world.policy(temperature=0.0)
        first = [tree.solution(tree.leaves[0]) for tree in trees]
        likely = [tree.solution(tree.leaves[0]) for tree in world.write(greedy, problems, 1, "greedy")]
        found["one attempt"] = ArmResult(worth(world.task, problems, first), cost={
            "generated_tokens": float(np.mean([tokens_of(t, t.leaves[0]) for t in trees])), "forwarded_tokens": shared})  # fmt: skip
        found["greedy"] = ArmResult(worth(world.task, problems, likely), cost=each(len(problems), greedy.cost))
        return found


def at(name: str, budget: int) -> str:
    """How a rung is named at a budget of so many attempts."""
    return f"{name} at {budget}"


def _with_answers(tree: Tree, task: Any) -> Tree:
    from stepcredit.core.truth import verified
    from stepcredit.core.types import Record

    return verified(Record(tree), task.verify).tree


def _right(tree: Tree, num: int) -> int:
    """An attempt that is right among the first `num`, else the first: the verifier's choice."""
    right = [leaf for leaf in tree.leaves[:num] if (outcome := tree.outcomes[leaf]) is not None and outcome.correct]
    return right[0] if right else tree.leaves[0]
