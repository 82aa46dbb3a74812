"""Training the arms of `recipes/blocksworld_plans`: data, the shared language model, fits that survive a restart."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from stepcredit.core import registry
from stepcredit.core.layout import Layout
from stepcredit.core.protocols import Judge, Task
from stepcredit.core.rng import rng
from stepcredit.core.types import Cost, Judgment, Record
from stepcredit.data import read, write
from stepcredit.evaluate import process
from stepcredit.recipes import _plans
from stepcredit.recipes._fit import Backbone, Budget, Teaching, fit_scorer
from stepcredit.recipes._save import save_scorer

MAX_TOKENS = 1024


@dataclass(frozen=True)
class Size:
    """The budget, equal for every arm: `short_updates` on plans of at most `short_steps` steps, then `num_updates` on all."""

    num_plans: int
    num_updates: int
    short_plans: int
    short_updates: int
    lm_plans: int
    lm_updates: int
    short_steps: int = 5
    hidden: int = 64
    layers: int = 4
    batch_size: int = 64
    learning_rate: float = 2e-3
    lm_learning_rate: float = 3e-3
    every: int = 200
    num_watched: int = 500  # held-out synthetic plans behind the learning curves


@dataclass(frozen=True)
class Arm:
    """How a judge is taught and what it reads; `renamings` > 0 adds recorded plans, that many copies of each."""

    teaching: Teaching
    view: _plans.View = "state"
    kind: Literal["label-free", "control", "oracle"] = "label-free"
    renamings: int = 0


@dataclass(frozen=True, eq=False)
class Judged:
    """The recorded plans with one fit's judgments, its learning curve on held-out synthetic plans, lines and cost."""

    records: list[Record]
    curve: list[tuple[int, float]]
    lines: list[str]
    cost: Cost


class Bench:
    """What the arms share: the recorded plans, the halves of their problems, the language model of each view."""

    def __init__(self, source: Path, size: Size, out: Path, progress: bool = False) -> None:
        self.size, self.out, self.progress = size, out, progress
        self.task: Task = registry.get("tasks", "blocksworld").function()
        self.recorded = _plans.recorded(source, self.task)
        self.halves = _plans.halves(self.recorded, rng(0, "halves"))
        self.avoid = _plans.prompts(self.recorded)
        self._language_models: dict[_plans.View, Path] = {}

    def judged(self, name: str, arm: Arm, seed: int) -> Judged:
        """The fit of one arm with one seed: from `out` where it has been done, else trained and put there."""
        folder = self.out / f"{name.replace(',', '').replace(' ', '_')}-{seed}"
        facts, plans = folder / "fit.json", folder / "judged.jsonl"
        key = json.loads(json.dumps({"arm": asdict(arm), "size": asdict(self.size), "seed": seed}))
        if facts.is_file() and (kept := json.loads(facts.read_text()))["key"] == key:
            curve, cost = [(int(u), float(f1)) for u, f1 in kept["curve"]], Cost(**kept["cost"])
            return Judged(list(read(plans)), curve, kept["lines"], cost)
        folder.mkdir(parents=True, exist_ok=True)
        facts.unlink(missing_ok=True)
        done = self._train(arm, seed, folder)
        write(plans, done.records)
        partial = facts.with_suffix(".partial")
        partial.write_text(
            json.dumps({"key": key, "curve": done.curve, "lines": done.lines, "cost": asdict(done.cost)})
        )
        os.replace(partial, facts)
        return done

    def _train(self, arm: Arm, seed: int, folder: Path) -> Judged:
        if not arm.renamings:
            return self._fit(arm, seed, [], self.recorded, folder / "scorer")
        found = []
        for half, (own, other) in enumerate((self.halves, self.halves[::-1])):
            test = [record for record in self.recorded if record.tree.problem.id in other]
            train = [record for record in self.recorded if record.tree.problem.id in own]
            extra = _plans.renamed(
                train, arm.renamings, self.task, avoid=_plans.prompts(test), rng=rng(seed, "names", half)
            )
            found.append(self._fit(arm, seed, extra, test, folder / f"scorer-{half}"))
        first, second = ({id_of(r): r for r in part.records} for part in found)
        both = [first.get(id_of(r)) or second[id_of(r)] for r in self.recorded]
        return Judged(both, found[0].curve, found[0].lines, found[0].cost + found[1].cost)

    def _fit(self, arm: Arm, seed: int, extra: Sequence[Record], test: Sequence[Record], folder: Path) -> Judged:
        from stepcredit.judge.head import ScorerJudge

        size, watched = self.size, self._made(arm, "watched", 0, self.size.num_watched)
        given = _plans.viewed(extra, self.task, arm.view)
        brief = [record for record in given if record.tree.sampled_N.sum() <= size.short_steps]
        short = [*brief, *self._made(arm, "short", seed, size.short_plans - len(brief), size.short_steps)]
        every = [*given, *self._made(arm, "plans", seed, size.num_plans - len(given))]
        budget = Budget(size.num_updates, size.batch_size, 32768, size.learning_rate, max_tokens=MAX_TOKENS)
        path, cost = self._language_model(arm), Cost()
        curve: list[tuple[int, float]] = []
        for plans, num_updates, before in (
            (short, size.short_updates, 0),
            (every, size.num_updates, size.short_updates),
        ):

            def watch(update: int, judge: Judge, before: int = before) -> None:
                found = process(judged_by(judge, watched, watched), rng=rng(0, "watch"), num_resamples=1)
                curve.append((before + update, found["processbench_f1"].value))

            fitted = fit_scorer(plans, teaching=arm.teaching, backbone=Backbone(str(path)), seed=seed, every=size.every,
                                budget=replace(budget, num_updates=num_updates), on_update=watch,
                                progress=self.progress, diagnose=plans is every)  # fmt: skip
            path, cost = save_scorer(fitted.scorer, folder), cost + fitted.fit.cost
        records = judged_by(ScorerJudge(fitted.scorer), _plans.viewed(test, self.task, arm.view), test)
        return Judged(records, curve, fitted.lines, cost)

    def _made(self, arm: Arm, name: str, seed: int, num: int, max_steps: int | None = None) -> list[Record]:
        made = _plans.synthetic(
            max(num, 0), self.task, avoid=self.avoid, rng=rng(seed, "plans", name), max_steps=max_steps
        )
        return _plans.viewed(made, self.task, arm.view)

    def _language_model(self, arm: Arm) -> Path:
        """Trained once per view on the texts of synthetic plans; it never sees an outcome, nor a recorded plan."""
        from stepcredit.train.tiny import train_language_model

        size, layout = self.size, Layout()
        if arm.view in self._language_models:
            return self._language_models[arm.view]
        made = self._made(arm, "language model", 0, size.lm_plans)
        texts = [layout.render(record.tree.problem, record.tree.solution(record.tree.leaves[0]))[0] for record in made]
        self._language_models[arm.view] = train_language_model(
            texts, self.out / "language_model", extra_tokens=[layout.marker], hidden=size.hidden, layers=size.layers,
            max_positions=MAX_TOKENS, num_updates=size.lm_updates, learning_rate=size.lm_learning_rate,
            precision="float32", progress=self.progress,
        )  # fmt: skip
        return self._language_models[arm.view]


def judged_by(judge: Judge, seen: Sequence[Record], records: Sequence[Record]) -> list[Record]:
    """`records` with the judgments of the same attempts as the judge `seen` them."""
    pairs = [(r.tree.problem, r.tree.solution(r.tree.leaves[0])) for r in seen]
    found: list[Judgment] = judge(pairs)
    return [replace(record, judgments=(one,)) for record, one in zip(records, found, strict=True)]


def id_of(record: Record) -> tuple[str, str]:
    """Which recorded attempt this is: the problem and the model that wrote it."""
    return record.tree.problem.id, str(record.tree.problem.meta["model"])
