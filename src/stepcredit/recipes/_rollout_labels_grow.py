"""Restarts by each method, problem after problem, until a number of generated tokens is spent on attempts and restarts.

    math_shepherd   K restarts from every step of every attempt; `wrong_alone`: of the wrong attempts alone
    omegaprm        binary searches with K restarts a state, from a pool that begins with the wrong attempts
    adaptive        a sequential test of each wrong attempt, with the prior of a judge where one is given

Every method sees the same attempts in the same order, so what one labels is the beginning of what a cheaper one labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepcredit.core.change_point import Profile
from stepcredit.core.protocols import Judge, Policy, Task
from stepcredit.core.rng import rng
from stepcredit.core.truth import verified
from stepcredit.core.types import Cost, Record, Tree
from stepcredit.rollout.adaptive import adaptive
from stepcredit.rollout.bisect import bisect
from stepcredit.rollout.restart import restart

Leaves = Sequence[Sequence[int]] | None  # the attempts asked for, a list a tree
Grow = Callable[[Sequence[Tree], int], list[Tree]]  # trees of attempts, and the number of the block they are


@dataclass(frozen=True)
class Rollouts:
    """The methods' settings: restarts K, searches a problem, the stated error rate, what is known of recovery, a prior's doubt."""

    num: int = 8
    num_searches: int = 8
    error_rate: float = 0.05
    loose_rate: float = 0.4  # on seed 1 as often right as eight hard rollouts a step
    recovery: float = 0.0
    profile: Profile = "flat"
    doubt: float = 0.1


@dataclass(frozen=True)
class Growers:
    """One seed's policy and task, and how each method grows a block of trees with them."""

    task: Task
    policy: Policy
    seed: int
    rollouts: Rollouts
    max_new_tokens: int

    def math_shepherd(self, *, wrong_alone: bool = False, leaves: Leaves = None) -> Grow:
        """Restarts from every step of every attempt but its last, which is finished; or of the wrong ones, or of `leaves`."""

        def grow(trees: Sequence[Tree], block: int) -> list[Tree]:
            asked = leaves if leaves is not None else [_wrong(tree) for tree in trees] if wrong_alone else None
            nodes = None if asked is None else [_inner(tree, own) for tree, own in zip(trees, asked, strict=True)]
            given = self._given("math_shepherd", block, leaves, str(wrong_alone))
            verify = given.pop("verify")
            grown = restart(trees, num=self.rollouts.num, nodes=nodes, **given)
            return [verified(Record(tree), verify).tree for tree in grown]

        return grow

    def omegaprm(self, *, leaves: Leaves = None) -> Grow:
        """The paper's pool and selection rule, `num_searches` a problem; with `leaves`, one search of each problem's one."""

        def grow(trees: Sequence[Tree], block: int) -> list[Tree]:
            num_searches = self.rollouts.num_searches if leaves is None else 1
            found: list[Tree] = bisect(trees, num=self.rollouts.num, num_searches=num_searches, leaves=leaves,
                                       **self._given("omegaprm", block, leaves))  # fmt: skip
            return found

        return grow

    def adaptive(self, judge: Judge | None = None, *, leaves: Leaves = None, loose: bool = False) -> Grow:
        """Each wrong attempt (or of `leaves`) until its first error is sure enough; `loose`: at the larger stated rate."""

        def grow(trees: Sequence[Tree], block: int) -> list[Tree]:
            own, name = self.rollouts, "adaptive" if judge is None else "adaptive_judged"
            rate = own.loose_rate if loose else own.error_rate
            found: list[Tree] = adaptive(trees, error_rate=rate, recovery=own.recovery, profile=own.profile, judge=judge,
                                         doubt=own.doubt, leaves=leaves, **self._given(name, block, leaves))  # fmt: skip
            return found

        return grow

    def _given(self, name: str, block: int, leaves: Leaves, *more: str) -> dict[str, Any]:
        """What every method is given; draws of its own for each block, and for chosen attempts."""
        draw = rng(self.seed, "rollout labels", name, *more, "all" if leaves is None else "chosen", block)
        return {"policy": self.policy, "verify": self.task.verify, "rng": draw, "delimiter": self.task.delimiter,
                "max_new_tokens": self.max_new_tokens}  # fmt: skip


def grown_within(
    records: Sequence[Record], budget: int, grow: Grow, *, attempts_paid: bool = False, first: int = 8
) -> list[tuple[Record, Tree]]:  # fmt: skip
    """The first records with their grown trees, whose generated tokens together are within the budget; one at least.

    Where the attempts are paid already, restarts alone count. Blocks are as large as what is left is expected to pay for;
    what a block grew beyond the budget is thrown away.
    """
    found: list[tuple[Record, Tree]] = []
    spent, begin, size = 0, 0, first
    while begin < len(records):
        block = records[begin : begin + size]
        for record, tree in zip(block, grow([one.tree for one in block], begin), strict=True):
            spent += tree.cost.generated_tokens - (record.tree.cost.generated_tokens if attempts_paid else 0)
            if found and spent > budget:
                return found
            found.append((record, tree))
        begin += len(block)
        size = max(1, min(int(1.05 * (budget - spent) * len(found) / max(spent, 1)) + 1, 2 * begin + first))
    return found


def afforded(grown: Sequence[tuple[Record, Tree]], budget: int) -> list[tuple[Record, Tree]]:
    """The first of them that a smaller budget pays for, one at least."""
    spent, kept = 0, 0
    for _, tree in grown:
        spent += tree.cost.generated_tokens
        if kept and spent > budget:
            break
        kept += 1
    return list(grown[:kept])


def cost_of(trees: Sequence[Tree]) -> Cost:
    """What growing them took, attempts included; the verifier is asked once for every finished path."""
    total = sum((tree.cost for tree in trees), Cost())
    return replace(total, verifier_calls=sum(len(tree.leaves) for tree in trees))


def _wrong(tree: Tree) -> list[int]:
    reward_N = tree.reward_N
    return [leaf for leaf in tree.leaves if reward_N[leaf] <= 0.5]


def _inner(tree: Tree, leaves: Sequence[int]) -> list[int]:
    """The steps of these attempts but for the last of each."""
    return sorted({node for leaf in leaves for node in tree.path(leaf)[:-1] if tree.steps[node].sampled})
