"""One seed of `recipes/sprm`: its policy and attempts, its arms, and what is kept of them on disk.

Finished arms are kept under `out/arms`, by a digest of all that decides an arm's numbers.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.core.filter_state import FilterCollapse
from stepcredit.core.layout import Layout
from stepcredit.core.protocols import Task
from stepcredit.core.rng import rng
from stepcredit.core.truth import verified, with_truth
from stepcredit.core.types import Problem, Record
from stepcredit.recipes._arms import attempts_shown, judged, null_results
from stepcredit.recipes._fit import Backbone, Budget, Teaching, fit_scorer
from stepcredit.recipes._pools import credited, text_of, until_first_error
from stepcredit.recipes._sprm_filter import sprm_filter
from stepcredit.recipes._sprm_measure import SprmResult, load, measure, save, score_gap
from stepcredit.recipes._sprm_task import with_repeats
from stepcredit.recipes._sprm_warm import warmed

REVISION = 1  # raise it when code that decides an arm's numbers changes
NULLS = "nulls"
REPEATS = 0.3  # share of results that the demonstrator repeats: attempts at a problem then differ in length
LOOKED_AT = 30  # test problems a frozen arm's curve is drawn from


@dataclass(frozen=True)
class Size:
    """What a size means. `joint` are the knobs of `train.joint.Grpo`."""

    num_demonstrations: int
    policy_updates: int
    num_train: int
    num_test: int
    num_train_attempts: int
    num_test_attempts: int
    num_updates: int
    warmup_updates: int
    every: int
    joint: dict[str, int]
    joint_warmup_updates: int
    num_layers: int = 4
    hidden: int = 128
    num_operations: tuple[int, int] = (3, 8)  # of a problem, least and most


@dataclass(frozen=True)
class Form:
    """An arm: a frozen policy with a taught head, or (no teaching) policy and head together.

    `gradient_scale` and `weighting` of the filter belong to the latter.
    """

    name: str
    teaching: Teaching | None = None
    gradient_scale: float = 0.0
    weighting: Literal["paper", "released"] = "paper"
    kind: str = "label-free"


@dataclass
class SprmStudy:
    """One seed. Its attempts are made when first needed, and not again where every arm is on disk."""

    plan: Size
    budget: Budget
    rates: dict[str, float]
    layer: int
    num_list: Sequence[int]
    seed: int
    out: Path
    progress: bool = False

    def path(self, form: Form | None = None) -> Path:
        """Where an arm is kept, the trivial judges where none is given: `out/arms/<key>/<seed>/<arm>-<key>.json`."""
        plan = {name: value for name, value in asdict(self.plan).items() if name != "every"}
        parts = [REVISION, plan, asdict(self.budget), self.rates, self.layer, REPEATS, list(self.num_list)]
        name = f"{form.name}-{_key(asdict(form))}" if form else NULLS
        return self.out / "arms" / _key(parts) / str(self.seed) / f"{name}.json"

    @functools.cached_property
    def task(self) -> Task:
        """The chain world with repeats."""
        least, most = self.plan.num_operations
        return with_repeats(registry.bind("tasks", "chain", min_ops=least, max_ops=most)(), REPEATS)

    @functools.cached_property
    def problems(self) -> tuple[list[Problem], list[Problem], list[Problem]]:
        """Disjoint problems: demonstrated, trained on, tested on."""
        plan = self.plan
        total = plan.num_demonstrations + plan.num_train + plan.num_test
        found = self.task.problems(total, rng(self.seed, "problems"))
        shown, rest = found[: plan.num_demonstrations], found[plan.num_demonstrations :]
        return shown, rest[: plan.num_train], rest[plan.num_train :]

    @functools.cached_property
    def policy(self) -> Path:
        """The folder of the policy that imitates the demonstrations, slips included; cached by content."""
        from stepcredit.train.tiny import train_language_model

        plan, demonstrations = self.plan, rng(self.seed, "demonstrations")
        texts = [text_of(p, self.task.demonstrate(p, demonstrations), self.task.delimiter) for p in self.problems[0]]
        return train_language_model(
            texts, self.out / "cache", layers=plan.num_layers, hidden=plan.hidden, num_updates=plan.policy_updates,
            seed=self.seed, progress=self.progress,
        )  # fmt: skip

    @functools.cached_property
    def train(self) -> list[Record]:
        """The first policy's attempts, for the heads on the frozen policy."""
        return self.attempts(self.problems[1], self.plan.num_train_attempts, "train")

    @functools.cached_property
    def test(self) -> list[Record]:
        """The first policy's attempts at the test problems."""
        return self.attempts(self.problems[2], self.plan.num_test_attempts, "test")

    def attempts(self, problems: Sequence[Problem], num: int, name: str, policy: Any = None) -> list[Record]:
        """Attempts with outcomes and step truth; every policy is given the same random numbers."""
        from stepcredit.policy.hf import hf
        from stepcredit.rollout.chains import chains

        trees = chains(problems, policy=policy or hf(str(self.policy)), rng=rng(self.seed, "attempts", name), num=num,
                       delimiter=self.task.delimiter, max_new_tokens=self.plan.joint["max_new_tokens"])  # fmt: skip
        return [with_truth(verified(Record(tree), self.task.verify), self.task) for tree in trees]

    def result(self, form: Form) -> SprmResult:
        """An arm's result, read back where it is finished. A collapsed filter is a result: `failed` says why."""
        path = self.path(form)
        known = load(path)
        if known is None:
            known = self._joint(form) if form.teaching is None else self._frozen(form.teaching, form.name)
            save(known, path)
        return known

    def nulls(self) -> dict[str, SprmResult]:
        """The trivial judges' results on the first policy's test attempts, read back where they are finished."""
        path = self.path()
        known = load(path)
        if known is None:
            made = null_results(self.test, seed=self.seed, num_list=[1, *self.num_list])
            flat = {f"{name}/{key}": one for name, of in made.items() for key, one in of.estimates.items()}
            known = SprmResult(flat)
            save(known, path)
        found: dict[str, dict[str, Any]] = {}
        for name, one in known.estimates.items():
            null, _, key = name.partition("/")
            found.setdefault(null, {})[key] = one
        return {null: SprmResult(estimates) for null, estimates in found.items()}

    def _frozen(self, teaching: Teaching, name: str) -> SprmResult:
        """The head alone, on the policy as it is."""
        from stepcredit.judge.head import ScorerJudge

        train, curve = self.train, list[dict[str, float]]()
        if teaching.credit == "oracle":
            train = [until_first_error(record) for record in train]
        elif teaching.credit is not None:
            train = credited(train, teaching.credit)

        def look(update: int, judge: Any) -> None:
            gap = score_gap(judged(self.test[:LOOKED_AT], judge), rng=rng(self.seed, "curve"), num_resamples=1)
            curve.append({"update": float(update), **{name: one.value for name, one in gap.items()}})

        try:
            scorer, done, lines = self._taught(teaching, train, look)
        except FilterCollapse as collapse:
            return SprmResult({}, failed=str(collapse), curve=curve)
        cost = {"forwarded_tokens": float(done.cost.forwarded_tokens), "seconds": done.cost.seconds}
        return self._measured(name, self.test, ScorerJudge(scorer), lines, cost, curve)

    def _taught(self, teaching: Teaching, train: Sequence[Record], look: Callable[[int, Any], None]) -> Any:
        """A scorer, its Fit and its sentences; the filter behind its own warm-up, everything else by `fit_scorer`."""
        from stepcredit.judge.head import ScorerJudge
        from stepcredit.train.prm import Objective, fit
        from stepcredit.train.samples import samples

        if teaching.self_supervised == "off":
            backbone = Backbone(str(self.policy), kind="shared_head", layer=self.layer, gradient_scale=0.0)
            taught = fit_scorer(train, teaching=teaching, backbone=backbone, budget=self.budget, layout=self._layout,
                                seed=self.seed, every=self.plan.every, on_update=look, progress=self.progress)  # fmt: skip
            return taught.scorer, taught.fit, taught.lines
        scorer = self._scorer(0.0)
        done = fit(
            scorer, samples(train, scorer.encode, max_tokens=scorer.manifest.max_tokens),
            objective=Objective(None, relabel=warmed(sprm_filter(teaching.self_supervised), teaching.warmup_updates)),
            num_updates=self.budget.num_updates, batch_size=self.budget.batch_size, seed=self.seed,
            token_budget=self.budget.token_budget, learning_rate=self.budget.learning_rate, pad_id=scorer.pad_id,
            every=self.plan.every, on_update=lambda update: look(update, ScorerJudge(scorer)), progress=self.progress,
        )  # fmt: skip
        return scorer, done, list(done.warnings)

    def _joint(self, form: Form) -> SprmResult:
        """Policy and head together; measured on the attempts of the policy that comes out, judged by its own head."""
        from stepcredit.judge.head import ScorerJudge
        from stepcredit.policy.hf import HFPolicy
        from stepcredit.train.joint import Grpo, joint
        from stepcredit.train.prm import Objective

        scorer = self._scorer(form.gradient_scale)
        relabel = warmed(sprm_filter(form.weighting), self.plan.joint_warmup_updates)
        grpo = Grpo(**self.plan.joint, **self.rates)  # type: ignore[arg-type]
        done = joint(scorer, self.problems[1], self.task.verify, objective=Objective(None, relabel=relabel), grpo=grpo,
                     seed=self.seed, on_collapse="note", progress=self.progress)  # fmt: skip
        policy = HFPolicy(scorer.model, scorer.tokenizer)
        records = self.attempts(self.problems[2], self.plan.num_test_attempts, "test", policy)
        cost = {name: float(value) for name, value in asdict(done.cost).items() if value}
        lines = [*done.lines, *([f"WARNING: {done.collapsed}"] if done.collapsed else [])]
        return self._measured(form.name, records, ScorerJudge(scorer), lines, cost, done.curve)

    def _scorer(self, gradient_scale: float) -> Any:
        """A fresh head on the first policy."""
        from stepcredit.judge.shared_head import SharedHeadScorer

        return SharedHeadScorer.create(
            self.policy, layout=self._layout, layer=self.layer, gradient_scale=gradient_scale,
            max_tokens=self.budget.max_tokens, seed=self.seed,
        )  # fmt: skip

    @property
    def _layout(self) -> Layout:
        return Layout(marker=self.task.delimiter)

    def _measured(
        self, name: str, records: Sequence[Record], judge: Any, lines: list[str], cost: dict[str, float],
        curve: list[dict[str, float]],
    ) -> SprmResult:  # fmt: skip
        scored = judged(records, judge)
        found = measure(scored, self.num_list, rng=rng(self.seed, "measure"))
        return replace(
            SprmResult(found, lines=lines, cost=cost, curve=curve), attempts=attempts_shown(scored[:2], name)
        )


def _key(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
