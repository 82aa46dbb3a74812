"""One seed of the rollout-label recipes: its writer, its attempts, what every arm teaches a judge, and what is kept on disk.

Finished cells lie under `out/cells/<key>/<seed>/`; the key is a digest of all that decides their numbers. Judges are
tables of step texts (`train/lookup`), so that the labels alone limit them, and several budgets are affordable.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from stepcredit.core.protocols import Judge, Policy
from stepcredit.core.rng import rng
from stepcredit.core.types import Estimate, Problem, Record
from stepcredit.recipes._arms import ArmResult, load_results, measured, null_results, save_results
from stepcredit.recipes._fit import Budget, Teaching
from stepcredit.recipes._lookup import fit_lookup
from stepcredit.recipes._rollout_labels_arms import ARMS, CHAIN, Labeller, blamed
from stepcredit.recipes._rollout_labels_grow import Growers, Rollouts
from stepcredit.recipes._rollout_labels_read import scores
from stepcredit.recipes._rollout_labels_world import (
    MAX_NEW_TOKENS,
    World,
    attempts_of,
    attempts_worth,
    first_errors,
    shares,
    writer,
)

REVISION = 1  # raise it when code, or a default, that decides a cell's numbers changes
NULLS, SAME, WORLD = "nulls", "same", "world"
NAN = float("nan")


@dataclass(frozen=True)
class Size:
    """What a size means. `budgets`: generated tokens that an arm may spend; `num_same`: attempts that all methods label."""

    world: World
    budgets: tuple[int, ...]
    num_test: int
    num_same: int
    num_updates: int
    num_attempts: int = 8
    num_test_attempts: int = 16
    rollouts: Rollouts = field(default_factory=Rollouts)

    @property
    def num_list(self) -> list[int]:
        """The N of best-of-N."""
        return [num for num in (1, 4, 16) if num <= self.num_test_attempts]


@dataclass
class Study:
    """One seed. What is sampled is made when first needed, and not where every cell is on disk."""

    plan: Size
    seed: int
    out: Path
    progress: bool = False

    @functools.cached_property
    def folder(self) -> Path:
        """Where this seed's cells are kept."""
        parts = json.dumps(
            [REVISION, asdict(self.plan), {name: asdict(arm) for name, arm in ARMS.items()}], sort_keys=True
        )
        return self.out / "cells" / hashlib.sha256(parts.encode()).hexdigest()[:12] / str(self.seed)

    def result(self, name: str, budget: int) -> ArmResult:
        """An arm at a budget of generated tokens, read back where it is finished."""
        return self._kept(f"{name}-{budget}", lambda: {name: self._run(name, budget)})[name]

    def nulls(self) -> dict[str, ArmResult]:
        """The trivial judges."""
        return self._kept(NULLS, lambda: null_results(self.test, seed=self.seed, num_list=self.plan.num_list))

    def same(self) -> dict[str, ArmResult]:
        """What every method says of the same wrong attempts, one a problem, and the tokens of its restarts an attempt."""
        return self._kept(SAME, self._same)

    def world(self) -> ArmResult:
        """What the test attempts are like (`_rollout_labels_world.shares`)."""
        return self._kept(WORLD, lambda: {WORLD: ArmResult(_estimates(shares(self.test), len(self.test), "share"))})[
            WORLD
        ]

    def forget(self) -> None:
        """Let go of what was sampled."""
        for name in ("policy", "test", "train", "labeller"):
            self.__dict__.pop(name, None)

    def _kept(self, name: str, make: Callable[[], dict[str, ArmResult]]) -> dict[str, ArmResult]:
        path = self.folder / f"{name}.json"
        known = load_results(path)
        if known is None:
            known = make()
            save_results(known, path)
            if self.progress:
                print(f"seed {self.seed}: {name}", flush=True)
        return known

    @functools.cached_property
    def problems(self) -> tuple[list[Problem], list[Problem], list[Problem]]:
        """To demonstrate, to test on, to label: as many as the largest budget could pay attempts for."""
        plan, world = self.plan, self.plan.world
        tokens = 4 if world.num_updates else 1  # a line has six; the exact writer's is one
        num_train = max(plan.budgets) // (plan.num_attempts * tokens * world.min_ops) + 2
        found = world.task.problems(
            world.num_demonstrations + plan.num_test + num_train, rng(self.seed, "rollout labels", "problems")
        )
        return found[: world.num_demonstrations], found[world.num_demonstrations : -num_train], found[-num_train:]

    @functools.cached_property
    def policy(self) -> Policy:
        """The writer of this seed."""
        return writer(self.plan.world, self.problems[0], self.seed, self.out / "cache")

    @functools.cached_property
    def test(self) -> list[Record]:
        """Attempts at the problems that judges are measured on."""
        plan = self.plan
        return attempts_of(plan.world.task, self.problems[1], self.policy, plan.num_test_attempts, self.seed, "test")

    @functools.cached_property
    def train(self) -> list[Record]:
        """Attempts worth the largest budget: what is labelled where no token is spent on anything else."""
        plan = self.plan
        return attempts_worth(plan.world.task, self.problems[2], self.policy, plan.num_attempts, max(plan.budgets),
                              self.seed, "train")  # fmt: skip

    @functools.cached_property
    def labeller(self) -> Labeller:
        """The arms."""
        plan = self.plan
        growers = Growers(plan.world.task, self.policy, self.seed, plan.rollouts, MAX_NEW_TOKENS)
        return Labeller(self.train, growers, max(plan.budgets), lambda records: self._table(records, CHAIN)[0])

    def _table(self, records: Sequence[Record], teaching: Teaching) -> tuple[Judge, float]:
        """A judge, and the tokens it was trained on."""
        budget = Budget(num_updates=self.plan.num_updates, batch_size=256, learning_rate=0.1)
        table, fit = fit_lookup(records, teaching=teaching, budget=budget, seed=self.seed)
        return table.judge, float(fit.cost.forwarded_tokens)

    def _run(self, name: str, budget: int) -> ArmResult:
        """Label, teach, measure. Labels that cannot teach (a budget too small for both kinds) are a result: `failed`."""
        try:
            made = self.labeller.labelled(name, budget)
        except ValueError as error:  # the attempts that half a budget pays cannot teach the chain
            return ArmResult({}, failed=str(error))
        num = sum(len(one.tree.leaves) for one in made.attempts)
        cost = {
            "attempts": float(num), "generated_tokens": float(made.cost.generated_tokens),
            "policy_forwarded_tokens": float(made.cost.forwarded_tokens), "verifier_calls": float(made.cost.verifier_calls),
        }  # fmt: skip
        try:
            judge, forwarded = self._table(made.records, ARMS[name].teaching)
        except ValueError as error:
            return ArmResult({}, failed=str(error), cost=cost)
        result = measured(name, judge, self.test, seed=self.seed, num_list=self.plan.num_list,
                          cost={**cost, "forwarded_tokens": forwarded}, num_resamples=2)  # fmt: skip
        places = blamed(made.attempts, judge) if name == "latent_chain" else made.places
        said = [(found, truth[leaf]) for truth, of in zip(map(first_errors, made.attempts), places, strict=True)
                for leaf, found in of.items()]  # fmt: skip
        labels = scores([found for found, _ in said], [due for _, due in said])
        paid = sum(one.tree.cost.generated_tokens for one in made.attempts)
        own = {**labels, "tokens_an_attempt": made.cost.generated_tokens / num, "attempts": float(num),
               "restart_tokens_an_attempt": (made.cost.generated_tokens - paid) / num}  # fmt: skip
        return replace(result, estimates=result.estimates | _estimates(own, num, "of labels"))

    def _same(self) -> dict[str, ArmResult]:
        """The first wrong attempt of each problem that has right and wrong ones, its first error known."""
        records: list[Record] = []
        leaves: list[int] = []
        truth: list[int] = []
        for record in self.test:
            reward_N, errors = record.tree.reward_N, first_errors(record)
            wrong = [leaf for leaf in record.tree.leaves if reward_N[leaf] <= 0.5 and errors[leaf] >= 0]
            if wrong and np.nansum(reward_N) > 0 and len(records) < self.plan.num_same:
                records.append(record)
                leaves.append(wrong[0])
                truth.append(errors[wrong[0]])
        if not records:
            raise ValueError(f"seed {self.seed}: no test problem has a right and a wrong attempt; give more problems")
        said = self.labeller.same(records, leaves, self.labeller.teach(self.train))
        return {
            name: ArmResult(_estimates({"label_error_accuracy": scores(found, truth)["label_error_accuracy"],
                                        "restart_tokens_an_attempt": tokens / len(records)}, len(records), "of labels"))
            for name, (found, tokens) in said.items()
        }  # fmt: skip


def _estimates(values: Mapping[str, float], num: int, unit: str) -> dict[str, Estimate]:
    """Numbers of one seed, without an interval: intervals are over seeds. What is not finite is left out."""
    return {name: Estimate(value, NAN, NAN, num, unit) for name, value in values.items() if math.isfinite(value)}
