"""One seed of `recipes/outcome_prm`: its attempts, its arms, and what is kept of them on disk.

Finished arms lie under `out/arms/<key>/<seed>/<arm>.json`; the key is a digest of all that decides an arm's numbers.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stepcredit.core import registry
from stepcredit.core.layout import Layout
from stepcredit.recipes._arms import Arm, ArmResult, load_results, null_results, run_arm, save_results
from stepcredit.recipes._fit import Backbone, Budget
from stepcredit.recipes._pools import Pools, credited, make_pools, until_first_error
from stepcredit.recipes._probes import Probes, chain_probes

REVISION = 3  # raise it when code, or a default, that decides an arm's numbers changes
NULLS = "nulls"


@dataclass(frozen=True)
class Size:
    """What a size means. The demo fits eight minutes on two cores."""

    num_demonstrations: int
    policy_updates: int
    num_train: int
    num_test: int
    num_attempts: int
    num_updates: int
    every: int
    arms: tuple[str, ...]

    @property
    def num_list(self) -> list[int]:
        """The N of best-of-N."""
        return [n for n in (1, 2, 4, 8, 16) if n <= self.num_attempts]


@dataclass
class Study:
    """One seed. Its attempts are made when first needed, and not again where they are on disk."""

    plan: Size
    budget: Budget
    layout: Layout
    chance: float
    arms: Mapping[str, Arm]
    seed: int
    out: Path
    progress: bool = False

    @functools.cached_property
    def folder(self) -> Path:
        """Where this seed's finished arms are kept."""
        plan = {name: value for name, value in asdict(self.plan).items() if name not in ("arms", "every")}
        arms = {name: [arm.kind, _set(arm.teaching)] for name, arm in self.arms.items()}
        parts = [REVISION, plan, _set(self.budget), _set(self.layout), self.chance, arms]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        return self.out / "arms" / key / str(self.seed)

    @functools.cached_property
    def pools(self) -> Pools:
        """The attempts of this seed."""
        plan = self.plan
        return make_pools(
            registry.bind("tasks", "chain")(), seed=self.seed, num_demonstrations=plan.num_demonstrations,
            policy_updates=plan.policy_updates, num_train=plan.num_train, num_test=plan.num_test,
            num_attempts=plan.num_attempts, cache=self.out / "cache", progress=self.progress,
        )  # fmt: skip

    @functools.cached_property
    def probes(self) -> Probes:
        """The same for every seed."""
        return chain_probes()

    def result(self, name: str) -> ArmResult:
        """An arm's result, read back where it is finished."""
        path = self.folder / f"{name}.json"
        known = load_results(path)
        if known is None:
            known = {name: self._run(self.arms[name])}
            save_results(known, path)
        return known[name]

    def nulls(self) -> dict[str, ArmResult]:
        """The trivial judges' results, read back where they are finished."""
        path = self.folder / f"{NULLS}.json"
        known = load_results(path)
        if known is None:
            known = null_results(self.pools.test, seed=self.seed, num_list=self.plan.num_list)
            save_results(known, path)
        return known

    def _run(self, arm: Arm) -> ArmResult:
        train = self.pools.train
        if arm.teaching.credit == "oracle":
            train = [until_first_error(record) for record in train]
        elif arm.teaching.credit is not None:
            train = credited(train, arm.teaching.credit, fp=self.chance)
        return run_arm(
            arm, train, self.pools.test, backbone=Backbone(str(self.pools.policy)), budget=self.budget, seed=self.seed,
            num_list=self.plan.num_list, layout=self.layout, every=self.plan.every, shown=4, probes=self.probes,
            progress=self.progress,
        )  # fmt: skip


def _set(settings: Any) -> dict[str, Any]:
    """The settings that differ from their defaults: a new knob, left alone, changes no key."""
    given = {field.name: (getattr(settings, field.name), field.default) for field in fields(settings)}
    return {name: value for name, (value, default) in given.items() if value != default}


def results_of(studies: Sequence[Study], names: Sequence[str]) -> dict[str, list[ArmResult]]:
    """Each arm's result per seed, seed by seed. The name "nulls" stands for all the trivial judges."""
    found: dict[str, list[ArmResult]] = {name: [] for name in names if name != NULLS}
    for study in studies:
        for name in names:
            for arm, result in (study.nulls() if name == NULLS else {name: study.result(name)}).items():
                found.setdefault(arm, []).append(result)
        study.__dict__.pop("pools", None)  # a seed's attempts are large, and done with
    return found
