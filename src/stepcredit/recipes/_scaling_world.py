"""The world of `recipes/scaling`: attempts of a writer whose values are known, the noise of outcomes, what things cost.

Attempts are written by `policy/tabular`, so that sampling costs nothing and every knob of the world is exact. Costs are
counted in the two currencies of the comparison: steps generated, and steps labelled by a person (here: the oracle).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Policy, Rng, Task
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error, with_outcomes
from stepcredit.core.truth import verified, with_truth
from stepcredit.core.types import Credit, Record, Tree
from stepcredit.credit.relative_progress import relative_progress
from stepcredit.rollout.chains import chains
from stepcredit.rollout.restart import restart

NUM_ATTEMPTS = 16  # of a training problem
NUM_TEST_ATTEMPTS = 32
NUM_RESTARTS, NUM_RESTARTED = 4, 4  # rollouts from each step, of the first attempts of a problem


@dataclass(frozen=True)
class Setting:
    """A world: what decides how much an outcome says of a step. `fp`, `fn`: the verifier's noise on training outcomes.

    `zero_share`: of multiplications, those by zero, which absorb whatever was wrong before.
    """

    min_ops: int = 3
    max_ops: int = 8
    zero_share: float = 0.5
    random_slip: float = 0.06
    systematic_slip: float = 0.6
    fp: float = 0.0
    fn: float = 0.0

    @property
    def task(self) -> Task:
        """The chain task in this world."""
        made: Task = registry.bind("tasks", "chain", min_ops=self.min_ops, max_ops=self.max_ops, zero_share=self.zero_share,
                             **self._slips)()  # fmt: skip
        return made

    @property
    def policy(self) -> Policy:
        """The writer."""
        made: Policy = registry.bind("policy", "tabular", **self._slips)()
        return made

    @property
    def _slips(self) -> dict[str, float]:
        return {"random_slip": self.random_slip, "systematic_slip": self.systematic_slip}

    def changed(self) -> dict[str, Any]:
        """The knobs that differ from the default world."""
        plain = asdict(Setting())
        return {name: value for name, value in asdict(self).items() if value != plain[name]}


@dataclass(frozen=True, eq=False)
class Attempts:
    """Training and test records, problems disjoint; the first n problems of `train` are what a smaller study sees."""

    train: list[Record]
    test: list[Record]


def attempts_of(setting: Setting, num_train: int, num_test: int, seed: int) -> Attempts:
    """Sampled, verified, with the oracle's truth beside; the training outcomes flipped at the verifier's rates."""
    task = setting.task
    problems = task.problems(
        num_test + num_train, rng(seed, "scaling", "problems")
    )  # the tests are the same at any size
    sides = []
    for name, some, num in (
        ("test", problems[:num_test], NUM_TEST_ATTEMPTS),
        ("train", problems[num_test:], NUM_ATTEMPTS),
    ):
        trees = chains(some, policy=setting.policy, rng=rng(seed, "scaling", name), num=num)
        sides.append([with_truth(verified(Record(tree), task.verify), task) for tree in trees])
    test, train = sides
    return Attempts(noisy(train, setting, rng(seed, "scaling", "noise")), test)


def noisy(records: Sequence[Record], setting: Setting, draw: Rng) -> list[Record]:
    """Each right outcome turned wrong with chance `fn`, each wrong one right with chance `fp`."""
    return [_flipped(record, setting, draw) for record in records]


def _flipped(record: Record, setting: Setting, draw: Rng) -> Record:
    if setting.fp == setting.fn == 0:
        return record
    flipped = {}
    for leaf in record.tree.leaves:
        outcome = record.tree.outcomes[leaf]
        if outcome is not None and outcome.status == "scored":
            right = outcome.reward > 0.5
            right ^= bool(draw.random() < (setting.fn if right else setting.fp))
            flipped[leaf] = replace(outcome, reward=float(right), correct=right)
    return replace(record, tree=with_outcomes(record.tree, flipped))


def recovery_rate(records: Sequence[Record]) -> tuple[float, float]:
    """Share of attempts with a wrong step that end right all the same, and share of attempts with a wrong step."""
    ends, wrong = [], 0
    for record in records:
        reward_N, truth_N = record.tree.reward_N, record.credits["truth"].values_N
        for leaf in record.tree.leaves:
            if first_error(truth_N[list(record.tree.path(leaf))]) >= 0:
                ends.append(reward_N[leaf] > 0.5)
                wrong += 1
    total = sum(len(record.tree.leaves) for record in records)
    return (float(np.mean(ends)) if ends else float("nan")), wrong / max(total, 1)


def num_steps(records: Sequence[Record]) -> int:
    """Steps the policy wrote."""
    return sum(int(record.tree.sampled_N.sum()) for record in records)


def num_labels(records: Sequence[Record], credit: str) -> int:
    """Steps that carry a label."""
    return sum(int((record.credits[credit].weight_N > 0).sum()) for record in records)


def restarted(
    records: Sequence[Record], setting: Setting, method: str, budget: int, seed: int
) -> tuple[list[Record], int]:
    """Records with the credit of restarts, and the steps it took: at most `budget`, and one problem at least.

    Each problem's first four attempts, four restarts from each of their steps, their outcomes as noisy as any.
    """
    task, found, spent = setting.task, list[Record](), 0
    draw, noise = rng(seed, "scaling", "restart"), rng(seed, "scaling", "restart", "noise")
    old: list[Record] = []
    for record in records:
        first = _first(record, NUM_RESTARTED)
        (tree,) = restart([first.tree], policy=setting.policy, rng=draw, num=NUM_RESTARTS)
        num = tree.num_nodes - 1
        if found and spent + num > budget:
            break
        spent += num
        fresh = verified(Record(tree), task.verify).tree
        known = {leaf: first.tree.outcomes[leaf] for leaf in first.tree.leaves}
        again = _flipped(Record(fresh), setting, noise).tree
        grown = with_outcomes(again, {leaf: one for leaf, one in known.items() if one is not None})
        old.append(first)
        found.append(Record(grown))
    credits = _read(method, [record.tree for record in found])
    return [
        replace(record, credits={**record.credits, method: _cut(credit, record.tree.num_nodes)})
        for record, credit in zip(old, credits, strict=True)
    ], spent  # fmt: skip


def _read(method: str, trees: Sequence[Tree]) -> list[Credit]:
    """The credit of restarts by the name of its reading."""
    if method == "monte_carlo_hard":
        return list(registry.bind("credit", "monte_carlo", soft=False)(trees))
    if method == "relative_progress":
        values = registry.bind("credit", "monte_carlo")(trees)
        return [relative_progress(tree, values=value, after="none") for tree, value in zip(trees, values, strict=True)]
    return list(registry.bind("credit", method)(trees))


def _first(record: Record, num: int) -> Record:
    """The first attempts of a star; their nodes come first."""
    tree = record.tree
    assert tree.group_N is not None
    last = int(np.flatnonzero(tree.group_N < num)[-1]) + 1
    small = replace(tree, steps=tree.steps[:last], parent_N=tree.parent_N[:last], outcomes=tree.outcomes[:last],
                    group_N=tree.group_N[:last])  # fmt: skip
    return Record(small, {name: _cut(credit, last) for name, credit in record.credits.items()})


def _cut(credit: Credit, num: int) -> Credit:
    return replace(credit, values_N=credit.values_N[:num], weight_N=credit.weight_N[:num])
