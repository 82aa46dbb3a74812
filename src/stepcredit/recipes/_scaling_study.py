"""One seed of `recipes/scaling`: what each rival is taught, by whom it is judged, and what is kept of it on disk.

Finished cells lie under `out/cells/<key>/<seed>/`; the key is a digest of all that decides their numbers.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from stepcredit.core.layout import Layout
from stepcredit.core.protocols import Judge, Rng
from stepcredit.core.rng import rng
from stepcredit.core.types import Bools, Credit, Estimate, Record
from stepcredit.credit.hybrid import draw_labels, hybrid
from stepcredit.credit.value_drop import value_drop
from stepcredit.judge.implicit import Read
from stepcredit.recipes._arms import ArmResult, judged, load_results, measured, null_results, save_results
from stepcredit.recipes._fit import Backbone, Budget, Teaching, check_phases, fit_scorer, identifiability
from stepcredit.recipes._pools import text_of, until_first_error
from stepcredit.recipes._probes import Probes, chain_probes
from stepcredit.recipes._scaling_implicit import READS, Implicit, Tuned, judge_of, tuned
from stepcredit.recipes._scaling_world import (
    NUM_ATTEMPTS,
    Attempts,
    Setting,
    attempts_of,
    num_labels,
    num_steps,
    recovery_rate,
    restarted,
)

REVISION = 1  # raise it when code, or a default, that decides a cell's numbers changes
NULLS = "nulls"
NUM_LIST = (2, 8, 32)
Source = Literal[
    "outcomes", "oracle", "hybrid", "value_drop", "monte_carlo", "monte_carlo_hard", "relative_progress", "scan",
    "implicit_value", "implicit_reward",
]  # fmt: skip
RESTARTS = ("monte_carlo", "monte_carlo_hard", "relative_progress", "scan")
JudgeKind = Literal["lookup", "network"]


@dataclass(frozen=True)
class Rival:
    """A way to step scores. `share`: of attempts whose steps a person labels, where `source` uses any."""

    name: str
    teaching: Teaching
    source: Source = "outcomes"
    share: float = 0.0
    kind: str = "label-free"
    first: Teaching | None = None  # what teaches the judge whose values the labels are made of


@dataclass(frozen=True)
class Network:
    """The small backbone of the network judge, and of the language model it starts from."""

    hidden: int = 64
    layers: int = 2
    num_texts: int = 4000
    num_updates: int = 500


@dataclass
class Cells:
    """One seed in one setting. Attempts are made when first needed, and not where every cell is on disk."""

    seed: int
    setting: Setting
    max_attempts: int
    num_test: int
    judge: JudgeKind
    budget: Budget
    out: Path
    network: Network = field(default_factory=Network)
    progress: bool = False
    implicit: Implicit = field(default_factory=Implicit)
    _tuned: dict[int, Tuned] = field(default_factory=dict, init=False, repr=False)  # by attempts: two readings share it

    @functools.cached_property
    def folder(self) -> Path:
        """Where this seed's cells are kept."""
        parts = [REVISION, asdict(self.setting), self.max_attempts, self.num_test, self.judge, asdict(self.budget),
                 asdict(self.network) if self.judge == "network" else None]  # fmt: skip
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        return self.out / "cells" / key / str(self.seed)

    @functools.cached_property
    def attempts(self) -> Attempts:
        """Training problems for the largest study, and test problems."""
        return attempts_of(self.setting, self.max_attempts // NUM_ATTEMPTS, self.num_test, self.seed)

    @functools.cached_property
    def probes(self) -> Probes | None:
        """In the default world alone: the kinds of errors are that world's."""
        return None if self.setting.changed() else chain_probes()

    @functools.cached_property
    def policy(self) -> Path:
        """A language model of attempts of the largest study, no outcome read: what every network judge starts from."""
        from stepcredit.train.tiny import train_language_model

        task, net = self.setting.task, self.network
        texts = [text_of(r.tree.problem, list(r.tree.solution(leaf)), task.delimiter)
                 for r in self.attempts.train for leaf in r.tree.leaves][: net.num_texts]  # fmt: skip
        return train_language_model(texts, self.out / "cache", hidden=net.hidden, layers=net.layers,
                                    num_updates=net.num_updates, seed=self.seed, progress=self.progress)  # fmt: skip

    def result(self, rival: Rival, num_attempts: int) -> ArmResult:
        """A cell, read back where it is finished. Data that cannot teach is a result: `failed` says why."""
        knobs = asdict(rival) | ({"implicit": asdict(self.implicit)} if rival.source in READS else {})
        what = hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()[:8]
        path = self.folder / f"{rival.name}-{num_attempts}-{what}.json"
        known = load_results(path)
        if known is None:
            known = {rival.name: self._run(rival, num_attempts)}
            save_results(known, path)
        return known[rival.name]

    def nulls(self) -> dict[str, ArmResult]:
        """The trivial judges, read back where they are finished."""
        path = self.folder / f"{NULLS}.json"
        known = load_results(path)
        if known is None:
            known = null_results(self.attempts.test, seed=self.seed, num_list=NUM_LIST)
            save_results(known, path)
        return known

    def world(self) -> ArmResult:
        """What the training attempts are like, before the verifier's noise: shares that end right, hold a wrong step, recover."""
        path = self.folder / "world.json"
        known = load_results(path)
        if known is None:
            noiseless = replace(self.setting, fp=0.0, fn=0.0)
            clean = attempts_of(noiseless, self.max_attempts // NUM_ATTEMPTS, self.num_test, self.seed).train
            recovered, wrong = recovery_rate(clean)
            right = float(np.mean([r.tree.reward_N[list(r.tree.leaves)].mean() for r in clean]))
            shares, nan = {"recovered": recovered, "wrong": wrong, "right": right}, float("nan")
            known = {
                "world": ArmResult({name: Estimate(one, nan, nan, len(clean), "share") for name, one in shares.items()})
            }
            save_results(known, path)
        return known["world"]

    def forget(self) -> None:
        """Let the attempts go, which are large; they are made again when needed."""
        self.__dict__.pop("attempts", None)
        self._tuned.clear()

    def _run(self, rival: Rival, num_attempts: int) -> ArmResult:
        given = self.attempts.train[: num_attempts // NUM_ATTEMPTS]
        cost = {"attempts": float(num_attempts), "generated_steps": float(num_steps(given)), "human_labels": 0.0}
        teaching = self._warmed(rival.teaching)
        check_phases(teaching, self.budget.num_updates)  # a knob that is wrong is no result
        try:
            records, spent = self._taught_with(rival, given)
            cost |= spent
            if rival.source in READS:
                judge, lines, forwarded = self._implicit(records, READS[rival.source], num_attempts)
            else:
                judge, lines, forwarded = self._teach(records, teaching)
        except ValueError as error:
            return ArmResult({}, failed=str(error), cost=cost)
        return measured(rival.name, judge, self.attempts.test, seed=self.seed, num_list=NUM_LIST, lines=lines,
                        cost={**cost, "forwarded_tokens": forwarded}, probes=self.probes, num_resamples=2)  # fmt: skip

    def _warmed(self, teaching: Teaching) -> Teaching:
        """The filter warms up for a sixth of the updates, whatever their number."""
        return replace(teaching, warmup_updates=self.budget.num_updates // 6) if teaching.warmup_updates else teaching

    def _taught_with(self, rival: Rival, given: list[Record]) -> tuple[list[Record], dict[str, float]]:
        """The records a rival is taught with, and where their cost differs from that of sampling them."""
        if rival.source == "oracle":
            records = [until_first_error(record) for record in self._drawn(given, rival.share)]
            return records, {"human_labels": float(num_labels(records, "oracle"))}
        if rival.source in RESTARTS:
            records, steps = restarted(given, self.setting, rival.source, num_steps(given), self.seed)
            return records, {"generated_steps": float(steps)}
        if rival.source == "outcomes" or rival.source in READS:
            return given, {}
        assert rival.first is not None
        first, _, forwarded = self._teach(given, rival.first)
        if rival.source == "value_drop":
            return _dropped(given, first), {"first_forwarded_tokens": forwarded}
        records, labels = _corrected(given, first, rival.share, rng(self.seed, "scaling", "labels", str(rival.share)))
        return records, {"human_labels": labels, "first_forwarded_tokens": forwarded}

    def _drawn(self, given: Sequence[Record], share: float) -> list[Record]:
        """The records of a random share of the attempts, one at least; the others' labels left out."""
        truth = [record.credits["truth"] for record in given]
        used = draw_labels(
            [r.tree for r in given], truth, rng=rng(self.seed, "scaling", "labels", str(share)), share=share
        )
        return [replace(record, credits={"truth": _only(credit, use_N)})
                for record, credit, use_N in zip(given, truth, used, strict=True) if use_N.any()]  # fmt: skip

    def _teach(self, records: Sequence[Record], teaching: Teaching) -> tuple[Judge, list[str], float]:
        """A judge, what the diagnostics say of it, and the tokens it was trained on."""
        if self.judge == "network":
            done = fit_scorer(records, teaching=teaching, backbone=Backbone(str(self.policy)), budget=self.budget,
                              layout=Layout(marker="\n", show_problem=False), seed=self.seed, progress=self.progress)  # fmt: skip
            from stepcredit.judge.head import ScorerJudge

            return ScorerJudge(done.scorer), done.lines, float(done.fit.cost.forwarded_tokens)
        from stepcredit.recipes._lookup import fit_lookup

        table, fit = fit_lookup(records, teaching=teaching, budget=self.budget, seed=self.seed)
        lines = identifiability(records, table.judge, table.readout, teaching, self.seed)
        return table.judge, [*lines, *fit.warnings], float(fit.cost.forwarded_tokens)

    def _implicit(self, records: Sequence[Record], read: Read, num_attempts: int) -> tuple[Judge, list[str], float]:
        """The log-ratio of the network's start, tuned once for both readings."""
        assert self.judge == "network", "a table writes nothing, so it has no log-ratio"
        delimiter = self.setting.task.delimiter
        if num_attempts not in self._tuned:
            self._tuned[num_attempts] = tuned(records, self.policy, knobs=self.implicit, budget=self.budget,
                                              delimiter=delimiter, seed=self.seed, progress=self.progress)  # fmt: skip
        found = self._tuned[num_attempts]
        judge = judge_of(found, read, knobs=self.implicit, delimiter=delimiter)
        return judge, found.lines, found.forwarded_tokens


def _only(credit: Credit, use_N: Bools) -> Credit:
    values_N = credit.values_N.copy()
    values_N[~use_N] = float("nan")
    return replace(credit, values_N=values_N, weight_N=credit.weight_N * use_N)


def _told(records: Sequence[Record], judge: Judge) -> list[Credit]:
    """What a judge says of each step of a star by itself, as a value Credit."""
    found = []
    for record in judged(records, judge):
        value_N = np.full(record.tree.num_nodes, np.nan)
        for leaf, one in zip(record.tree.leaves, record.judgments, strict=True):
            value_N[[node for node in record.tree.path(leaf) if record.tree.steps[node].sampled]] = one.local_scores_S
        found.append(Credit(value_N, "value", (~np.isnan(value_N)).astype(np.float64), "judge"))
    return found


def _dropped(given: Sequence[Record], judge: Judge) -> list[Record]:
    """AutoPSV's labels: where the value that the first judge gives to the steps drops by more than half."""
    found = []
    for record, values in zip(given, _told(given, judge), strict=True):
        start = float(record.tree.reward_N[list(record.tree.leaves)].mean())
        credit = value_drop(record.tree, values=values, start=start)
        found.append(replace(record, credits={**record.credits, "value_drop": credit}))
    return found


def _corrected(given: Sequence[Record], judge: Judge, share: float, draw: Rng) -> tuple[list[Record], float]:
    """The first judge's labels corrected by the oracle's of a share of the attempts, and how many of those were read."""
    trees, truth = [record.tree for record in given], [record.credits["truth"] for record in given]
    state = draw.bit_generator.state
    made = hybrid(trees, structural=_told(given, judge), human=truth, rng=draw, share=share, so_far=False)
    draw.bit_generator.state = state
    labels = sum(int(use_N.sum()) for use_N in draw_labels(trees, truth, rng=draw, share=share))
    return [replace(r, credits={**r.credits, "hybrid": c}) for r, c in zip(given, made, strict=True)], float(labels)
