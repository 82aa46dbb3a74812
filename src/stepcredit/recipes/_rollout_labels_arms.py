"""The arms of the rollout-label recipes: what each labels with a budget of generated tokens, and where it places errors.

Outcomes are free. Arms without rollouts spend everything on attempts; the others on fewer attempts and their restarts.
`adaptive_judged` spends half on attempts, whose outcomes teach a latent chain, and the other half on restarts where that
chain is in doubt; what nobody rolled out is labelled by the chain alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stepcredit.core.protocols import Judge
from stepcredit.core.types import Cost, Credit, Record, Tree
from stepcredit.credit.change_point import change_point
from stepcredit.credit.latent_chain import latent_chain
from stepcredit.recipes import _rollout_labels_read as read
from stepcredit.recipes._arms import Arm
from stepcredit.recipes._fit import Teaching
from stepcredit.recipes._pools import until_first_error
from stepcredit.recipes._rollout_labels_grow import Grow, Growers, afforded, cost_of, grown_within
from stepcredit.recipes._rollout_labels_read import Places
from stepcredit.recipes._rollout_labels_world import first_errors

LUCK = 0.02  # a broken chain ends right this often: one slip in six falls on the right number; known of the domain
CHAIN = Teaching("latent_chain", link="free", fp=LUCK)
BY_LABELS = Teaching(credit=read.LABELS, chain_labels=True)
ARMS = {
    arm.name: arm
    for arm in (
        Arm("oracle", Teaching(credit="oracle", chain_labels=True), "oracle"),
        Arm("outcome_broadcast", Teaching("broadcast"), "control"),
        Arm("latent_chain", CHAIN),
        Arm("math_shepherd_hard", BY_LABELS),
        Arm("math_shepherd_soft", Teaching(credit=read.LABELS)),
        Arm("math_shepherd_wrong", BY_LABELS),
        Arm("omegaprm", BY_LABELS),
        Arm("adaptive", BY_LABELS),
        Arm("adaptive_judged", BY_LABELS),
    )
}
Grown = list[tuple[Record, Tree]]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Records that teach, where errors were placed in the attempts paid for, those attempts, and what all of it cost."""

    records: list[Record]
    places: list[Places]
    attempts: list[Record]
    cost: Cost


@dataclass(eq=False)
class Labeller:
    """Labels the first of `train` that a budget pays for; `most` is the largest budget, `teach` makes a chain judge."""

    train: Sequence[Record]
    growers: Growers
    most: int
    teach: Callable[[Sequence[Record]], Judge]
    _grown: dict[str, Grown] = field(default_factory=dict)

    def labelled(self, name: str, budget: int) -> Labelled:
        """An arm's labels at a budget of generated tokens."""
        if name in ("oracle", "outcome_broadcast", "latent_chain"):
            given = [record for record, _ in afforded([(one, one.tree) for one in self.train], budget)]
            records = [until_first_error(record) for record in given] if name == "oracle" else given
            places = [first_errors(one) if name == "oracle" else broadcast(one.tree) for one in given]
            return Labelled(records, list(places), given, cost_of([one.tree for one in given]))
        if name == "adaptive_judged":
            return self._judged(budget)
        if name.startswith("math_shepherd"):
            alone = name.endswith("wrong")
            grown = self._within("wrong" if alone else "every", self.growers.math_shepherd(wrong_alone=alone), budget)
            return _read(grown, *(_SOFT if name.endswith("soft") else _HARD_WRONG if alone else _HARD))
        if name == "omegaprm":
            return _read(self._within(name, self.growers.omegaprm(), budget), read.states, _searched)
        grown = self._within(name, self.growers.adaptive(), budget)
        return _believed(grown, self._credits([tree for _, tree in grown]))

    def same(
        self, records: Sequence[Record], leaves: Sequence[int], judge: Judge
    ) -> dict[str, tuple[list[int | None], int]]:
        """First errors of one wrong attempt a record by every method, and the tokens that all of its restarts took."""
        trees, own = [record.tree for record in records], [[leaf] for leaf in leaves]
        grown = {
            "math_shepherd": self.growers.math_shepherd(leaves=own)(trees, 0), "omegaprm": self.growers.omegaprm(leaves=own)(trees, 0),
            "adaptive_loose": self.growers.adaptive(leaves=own, loose=True)(trees, 0),
            "adaptive": self.growers.adaptive(leaves=own)(trees, 0), "adaptive_judged": self.growers.adaptive(judge, leaves=own)(trees, 0),
        }  # fmt: skip
        found: dict[str, list[Places]] = {
            "math_shepherd_hard": [read.hard(tree) for tree in grown["math_shepherd"]],
            "math_shepherd_soft": [read.soft(tree) for tree in grown["math_shepherd"]],
            "omegaprm": [read.states(tree) for tree in grown["omegaprm"]],
        }
        for name, prior in (("adaptive_loose", None), ("adaptive", None), ("adaptive_judged", judge)):
            credits = self._credits(grown[name], prior)
            found[name] = [read.posterior(tree, one.values_N) for tree, one in zip(grown[name], credits, strict=True)]
        found["latent_chain"] = blamed(records, judge)
        found["first step"] = [dict.fromkeys(tree.leaves, 0) for tree in trees]
        found["last step"] = [{leaf: len(read.sampled(tree, leaf)) - 1 for leaf in tree.leaves} for tree in trees]
        paid = sum(tree.cost.generated_tokens for tree in trees)
        tokens = {name: sum(tree.cost.generated_tokens for tree in made) - paid for name, made in grown.items()}
        tokens |= dict.fromkeys(("math_shepherd_hard", "math_shepherd_soft"), tokens["math_shepherd"])
        return {name: ([one[leaf] for one, leaf in zip(places, leaves, strict=True)], tokens.get(name, 0))
                for name, places in found.items()}  # fmt: skip

    def _within(self, name: str, grow: Grow, budget: int) -> Grown:
        """Grown to the largest budget once; smaller ones pay for the first of it."""
        if name not in self._grown:
            self._grown[name] = grown_within(self.train, self.most, grow)
        return afforded(self._grown[name], budget)

    def _judged(self, budget: int) -> Labelled:
        given = [record for record, _ in afforded([(one, one.tree) for one in self.train], budget // 2)]
        judge = self.teach(given)
        paid = sum(one.tree.cost.generated_tokens for one in given)
        grown = grown_within(given, budget - paid, self.growers.adaptive(judge), attempts_paid=True)
        grown += [(record, record.tree) for record in given[len(grown) :]]
        return _believed(grown, self._credits([tree for _, tree in grown], judge))

    def _credits(self, trees: Sequence[Tree], judge: Judge | None = None) -> list[Credit]:
        own = self.growers.rollouts
        found: list[Credit] = change_point(
            trees, recovery=own.recovery, profile=own.profile, judge=judge, doubt=own.doubt
        )
        return found


def broadcast(tree: Tree) -> Places:
    """Outcome broadcast calls the first step of a wrong attempt wrong."""
    reward_N = tree.reward_N
    return {leaf: None if np.isnan(reward_N[leaf]) else -1 if reward_N[leaf] > 0.5 else 0 for leaf in tree.leaves}


def blamed(records: Sequence[Record], judge: Judge) -> list[Places]:
    """Where a chain judge that is told the outcome puts the blame for a wrong attempt."""
    found: list[Places] = []
    for record in records:
        tree = record.tree
        sound_N = latent_chain(tree, judge=judge, link="free", read="first_error", fp=LUCK).values_N
        reward_N = tree.reward_N
        found.append({leaf: None if np.isnan(reward_N[leaf]) else -1 if reward_N[leaf] > 0.5 else
                      int(np.argmin(sound_N[read.sampled(tree, leaf)])) for leaf in tree.leaves})  # fmt: skip
    return found


def _cut(record: Record, tree: Tree, credit: Credit) -> Record:
    """The attempts alone, with the labels of their steps."""
    return replace(record, credits={**record.credits, read.LABELS: read.cut(credit, record.tree.num_nodes)})


def _searched(record: Record, tree: Tree, places: Places) -> Record:
    """Attempts and rollouts: states of both are labelled."""
    return Record(tree, {read.LABELS: read.tree_labels(tree)})


Reader = Callable[[Tree], Places]
Taught = Callable[[Record, Tree, Places], Record]
_HARD: tuple[Reader, Taught] = (
    read.hard,
    lambda record, tree, places: _cut(record, tree, read.hard_labels(tree, places)),
)
_SOFT: tuple[Reader, Taught] = (read.soft, lambda record, tree, places: _cut(record, tree, read.soft_labels(tree)))
_HARD_WRONG: tuple[Reader, Taught] = (read.hard_where_wrong, _HARD[1])


def _read(grown: Grown, reader: Reader, taught: Taught) -> Labelled:
    places = [reader(tree) for _, tree in grown]
    records = [taught(record, tree, of) for (record, tree), of in zip(grown, places, strict=True)]
    return Labelled(records, places, [record for record, _ in grown], cost_of([tree for _, tree in grown]))


def _believed(grown: Grown, credits: Sequence[Credit]) -> Labelled:
    """Labels of a posterior."""
    places = [read.posterior(tree, credit.values_N) for (_, tree), credit in zip(grown, credits, strict=True)]
    records = [_cut(record, tree, read.chain_labels(tree, credit.values_N))
               for (record, tree), credit in zip(grown, credits, strict=True)]  # fmt: skip
    return Labelled(records, places, [record for record, _ in grown], cost_of([tree for _, tree in grown]))
