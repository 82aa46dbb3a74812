"""AlphaLLM's loop: new problems, search, keep what the critic likes, fine-tune, again; and its controls at equal tokens.

    D_k = {attempt found for each new problem, if ORM(attempt) > gamma},   policy_(k+1) = policy_k fine-tuned on D_k

AlphaLLM, arXiv:2404.12253, section 4. Departs: the task makes up the new problems where the paper has the model imagine
them; critics and fast policy stay those of round 0 (they go stale, as in the paper's first rounds). Updates are equal in all
arms; how many attempts each keeps is told beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from stepcredit.core.protocols import Solution
from stepcredit.core.rng import rng
from stepcredit.core.stats import rate
from stepcredit.core.types import Cost, Estimate, Problem, Tree
from stepcredit.recipes._alphallm_cells import Results, each, kept, worth
from stepcredit.recipes._alphallm_ladder import RUNGS, WHOLE, Critics, Ladder, answer, ended, grown
from stepcredit.recipes._alphallm_task import text_of
from stepcredit.recipes._alphallm_world import World, affordable, key_of, tokens_of
from stepcredit.recipes._arms import ArmResult

REVISION = 1  # raise it when code that decides a loop's numbers changes
Source = Literal["mcts", "rerank", "unfiltered"]
SOURCES: dict[str, Source] = {"MCTS data": "mcts", "rerank data": "rerank", "unfiltered data": "unfiltered"}
Kept = list[tuple[Problem, Solution]]


@dataclass(frozen=True)
class Tuning:
    """How the loop searches (attempts' worth of tokens a problem), keeps and learns."""

    budget: int = 6
    gamma: float = 0.5
    num_updates: int = 60
    learning_rate: float = 5e-4


@dataclass
class Loop:
    """One seed. The finished arms lie beside its ladder's cells."""

    ladder: Ladder
    tuning: Tuning

    @property
    def world(self) -> World:
        """The seed's policies, problems and critics."""
        return self.ladder.world

    def result(self, name: str) -> Results:
        """One arm's rounds: greedy accuracy on the test problems as `round 0`, `round 1`, ... and the data it learnt from."""
        key = key_of([REVISION, vars(self.tuning)])
        path = self.ladder.folder / f"{name.replace(' ', '_')}-{key}.json"
        return kept(path, lambda: {name: self._run(SOURCES[name])}, self.world.progress)

    def _run(self, source: Source) -> ArmResult:
        from stepcredit.train.sft import fine_tune

        world, folder = self.world, self.world.policy_folder
        found: dict[str, Estimate] = {"round 0": self._greedy(folder)}
        spent = Cost()
        for number in range(1, world.scale.num_rounds + 1):
            data, cost = self._data(source, folder, number)
            spent += cost
            examples = [text_of(problem, steps) for problem, steps in data]
            if examples:
                folder = fine_tune(folder, examples, world.out / "cache", num_updates=self.tuning.num_updates,
                                   learning_rate=self.tuning.learning_rate, seed=world.seed, progress=False)  # fmt: skip
            found[f"round {number}"] = self._greedy(folder)
            num = world.scale.num_imagined
            found[f"kept in round {number}"] = rate(len(data), num, "share of new problems kept")
            if data:
                problems, answers = zip(*data, strict=True)
                found[f"right in round {number}"] = worth(world.task, problems, answers)["accuracy"]
        return ArmResult(found, cost=each(world.scale.num_imagined * world.scale.num_rounds, spent))

    def _greedy(self, folder: Path) -> Estimate:
        world = self.world
        trees = world.write(world.policy(folder, temperature=0.0), world.problems["test"], 1, "greedy")
        return worth(world.task, world.problems["test"], [tree.solution(tree.leaves[0]) for tree in trees])["accuracy"]

    def _data(self, source: Source, folder: Path, number: int) -> tuple[Kept, Cost]:
        """What is kept of a round's problems, and what it cost."""
        world, problems = self.world, self.world.problems[f"round {number}"]
        budget, critics = self.ladder.tokens(self.tuning.budget), Critics(world, folder)
        draw = rng(world.seed, "imagined", source, number)
        if source == "mcts":
            trees = grown(problems, RUNGS[WHOLE], critics, budget, draw)
            generated = sum(tree.cost.generated_tokens for tree in trees)
        else:
            trees = [
                _cut(tree, budget)
                for tree in world.write(critics.policy.policy, problems, 3 * self.tuning.budget, f"imagined {number}")
            ]
            generated = sum(tokens_of(tree, leaf) for tree in trees for leaf in tree.leaves)
        spent = Cost(generated_tokens=generated) + critics.forwarded
        if source == "unfiltered":
            return [(t.problem, t.solution(int(draw.choice(t.leaves)))) for t in trees], spent
        data = []
        for tree in trees:
            if source == "mcts" and not ended(tree).size:
                continue  # an unfinished search teaches nothing
            steps = tree.solution(answer(tree, draw)) if source == "mcts" else _best(tree, critics, draw)
            said = critics.orm([(tree.problem, steps)])[0]
            if said.status == "scored" and said.score > self.tuning.gamma:
                data.append((tree.problem, steps))
        return data, spent


def _cut(tree: Tree, budget: int) -> Tree:
    """The first attempts, as many as the budget pays for."""
    from stepcredit.core.tree import star

    leaves = tree.leaves[: affordable(tree, budget)]
    return star(tree.problem, [tree.solution(leaf) for leaf in leaves], [tree.outcomes[leaf] for leaf in leaves])


def _best(tree: Tree, critics: Critics, draw: np.random.Generator) -> Solution:
    """The attempt the outcome critic likes best."""
    from stepcredit.search.best_of_n import best_of_n

    judged = critics.orm([(tree.problem, tree.solution(leaf)) for leaf in tree.leaves])
    return tree.solution(best_of_n(tree, judged, rng=draw))
