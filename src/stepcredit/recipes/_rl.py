"""Reinforcement learning arms side by side: one policy, several ways to give credit, equal generated tokens.

An arm is trained by `train/grpo` from the same policy folder until its token budget is spent, is tested on problems that
nobody trained on, and is kept on disk, so that an interrupted study goes on. What testing generates is not on the budget.
Rows of the curve hold the tokens generated so far and whatever the test says there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit import __version__
from stepcredit.core.protocols import Policy, Rng, Verifier
from stepcredit.core.rng import rng
from stepcredit.core.stats import clustered_mean, over_seeds
from stepcredit.core.types import Estimate, Floats, Problem, Tree
from stepcredit.recipes._arms import ArmResult, as_cell, combined, load_results, result_rows, save_results
from stepcredit.train.grpo import CreditFn, Rollout, Settings, grpo
from stepcredit.train.policy_samples import Rules

Test = Callable[[Any], Mapping[str, Estimate]]


@dataclass(frozen=True)
class RlArm:
    """One way to train: how trees grow, how they are credited, what an update is. `problems` stand in for the study's own."""

    rollout: Rollout
    credit: CreditFn
    settings: Settings
    rules: Rules = field(default_factory=Rules)
    problems: Sequence[Problem] | None = None


def train_arm(
    policy_folder: str | Path, problems: Sequence[Problem], arm: RlArm, *, test: Test, seed: int, every: int = 0,
    save_to: str | Path | None = None,
) -> ArmResult:  # fmt: skip
    """Train from `policy_folder`, test before, every `every` updates, and after; the last test is the arm's estimates.

    `curve` holds a row a batch of the trainer, those at which it was tested with the test's values besides, under their names.
    With `save_to` the trained policy is written there. Raises ValueError where `every` falls between batches.
    """
    from stepcredit.policy.hf import hf

    per_batch = arm.settings.num_mini_batches * arm.settings.num_iterations
    if every % per_batch:
        raise ValueError(
            f"every is {every}; allowed: multiples of the {per_batch} updates of a batch, whose tokens a test belongs to"
        )
    policy: Any = hf(str(policy_folder))
    curve: list[dict[str, float]] = [{"update": 0.0, "tokens": 0.0, **_values(test(policy))}]
    tested: dict[int, dict[str, float]] = {}

    def look(update: int) -> None:
        tested[update] = _values(test(policy))

    done = grpo(policy, arm.problems or problems, rollout=arm.rollout, credit=arm.credit, settings=arm.settings,
                rules=arm.rules, seed=seed, on_update=look, every=every)  # fmt: skip
    final = dict(test(policy))
    for row in done.curve:
        # A row is written before the batch's updates: what was tested after the last of them belongs to its tokens.
        last = int(row["update"]) + per_batch - 1
        curve.append({**{f"train {name}": value for name, value in row.items() if name not in ("update", "tokens")},
                      "update": float(last), "tokens": row["tokens"], **tested.get(last, {})})  # fmt: skip
    curve[-1] |= _values(final)
    if save_to is not None:
        policy.model.save_pretrained(save_to)
        policy.tokenizer.save_pretrained(save_to)
    return ArmResult(final, curve=curve, cost={name: float(value) for name, value in asdict(done.cost).items()})


def success(problems: Sequence[Problem], rollout: Rollout, *, seed: int, name: str = "success") -> Test:
    """A test: the share of right attempts at held-out problems, interval over problems; and tokens an attempt.

    An attempt that is truncated or cannot be read is wrong. The same draws whenever it is asked, with any policy.
    """

    def test(policy: Policy) -> dict[str, Estimate]:
        trees = rollout(problems, policy, rng(seed, "rl", "test"))
        right = np.array([np.mean([correct(tree, leaf) for leaf in tree.leaves]) for tree in trees])
        length = np.array([np.mean([tokens_of(tree, leaf) for leaf in tree.leaves]) for tree in trees])
        draw = rng(seed, "rl", "test", "interval")
        return {name: clustered_mean(right, "share of right attempts", rng=draw, num_resamples=500),
                "tokens an attempt": clustered_mean(length, "tokens", rng=draw, num_resamples=500)}  # fmt: skip

    return test


def correct(tree: Tree, leaf: int) -> bool:
    """Whether the attempt that ends at this leaf is scored right."""
    outcome = tree.outcomes[leaf]
    return outcome is not None and outcome.status == "scored" and outcome.reward > 0.5


def tokens_of(tree: Tree, leaf: int) -> int:
    """Tokens that the policy wrote of an attempt."""
    return sum(len(tree.steps[node].token_ids or ()) for node in tree.path(leaf) if tree.steps[node].sampled)


def verified_rollout(rollout: Callable[..., Sequence[Tree]], verify: Verifier, **knobs: Any) -> Rollout:
    """A registered rollout with its knobs, whose leaves are verified: what the trainer asks for."""
    from stepcredit.rollout._verified import verified

    def grow(problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        return [verified(tree, verify) for tree in rollout(problems, policy=policy, rng=draw, **knobs)]

    return grow


@dataclass(frozen=True)
class Cells:
    """Finished arms of a study, under `out/arms/<digest of what decides their numbers>/<seed>/<arm>.json`."""

    out: Path
    decides: Any

    def result(self, name: str, seed: int, run: Callable[[], ArmResult]) -> ArmResult:
        """An arm's result, read back where it is finished."""
        key = hashlib.sha256(json.dumps(self.decides, sort_keys=True, default=str).encode()).hexdigest()[:12]
        path = self.out / "arms" / key / str(seed) / f"{name.replace('/', '_')}.json"
        known = load_results(path)
        if known is None:
            known = {name: run()}
            save_results(known, path)
        return known[name]


def paired(first: Sequence[ArmResult], second: Sequence[ArmResult], column: str, unit: str, *, other: str | None = None) -> Estimate:  # fmt: skip
    """First minus second, seed by seed, t-interval over seeds; `other` is the second's column where it differs."""
    return over_seeds([a.estimates[column].value - b.estimates[other or column].value
                       for a, b in zip(first, second, strict=True)], unit)  # fmt: skip


def before_and_after(one: ArmResult, column: str = "success") -> str:
    """What an arm was tested at before and after training, with the tests' intervals.

    >>> start = {"success": 0.3, "success low": 0.2, "success high": 0.4}
    >>> before_and_after(ArmResult({"success": Estimate(0.5, 0.4, 0.6, 9, "share")}, curve=[start]))
    '0.300 [0.200, 0.400] to 0.500 [0.400, 0.600]'
    """
    start, end = one.curve[0], one.estimates[column]
    low, high = start.get(f"{column} low"), start.get(f"{column} high")
    within = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return f"{start[column]:.3f}{within} to {end.value:.3f} [{end.low:.3f}, {end.high:.3f}]"


def mean_cost(found: Sequence[ArmResult]) -> dict[str, float]:
    """The mean cost of an arm over its seeds."""
    return {name: float(np.mean([one.cost[name] for one in found])) for name in found[0].cost}


def run_of(
    found: Mapping[str, Sequence[ArmResult]], kinds: Mapping[str, str], columns: Sequence[str], *, title: str,
    seeds: Sequence[int], expectation: str, config: Mapping[str, Any], curve: str = "success",
    summary: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The run dict (schema: `report.write_report`): the table over seeds, and `curve` against generated tokens.

    `kinds`: of each arm, as the report has them (label-free, control, null, oracle).
    """
    rows = [{"arm": name, "kind": kinds[name], "cost": mean_cost(of), "note": "",
             "cells": {c: cell for c in columns if (cell := as_cell(combined(of, c))) is not None}}
            for name, of in found.items()]  # fmt: skip
    return {
        "title": title, "seeds": list(seeds), "config": dict(config), "version": __version__, "expectation": expectation,
        "summary": list(summary), "table": {"columns": list(columns), "rows": rows},
        "results": result_rows(found, kinds, columns), "curves": _against_tokens(found, kinds, curve),
    }  # fmt: skip


def _against_tokens(found: Mapping[str, Sequence[ArmResult]], kinds: Mapping[str, str], column: str) -> dict[str, Any]:
    """Mean over seeds of a tested number on a grid of generated tokens, between tests by straight lines, each arm to its own end.

    The band is the t-interval over seeds, with one seed the test's own.
    """
    points = {name: [_points(one, column) for one in of] for name, of in found.items()}
    points = {name: of for name, of in points.items() if all(len(x) > 1 for x, _ in of)}
    if not points:
        return {}
    ends = {name: min(x[-1] for x, _ in of) for name, of in points.items()}
    longest, level = max(ends.values()), min(ends.values()) > 0.9 * max(ends.values())
    grid = np.linspace(0.0, min(ends.values()) if level else longest, 11 if level else 33)
    if not level:
        grid = np.union1d(grid, list(ends.values()))
    series = []
    for name, of in points.items():
        within = grid <= ends[name]
        drawn_S3P = np.stack([np.stack([np.interp(grid, x, y) for y in ys]) for x, ys in of])
        value, low, high = _band(drawn_S3P)
        lines = {key: [float(y) if ok and np.isfinite(y) else None for y, ok in zip(line, within, strict=True)]
                 for key, line in (("y", value), ("low", low), ("high", high))}  # fmt: skip
        kept = {key: line for key, line in lines.items() if key == "y" or any(one is not None for one in line)}
        series.append({"name": name, "style": {"label-free": "arm"}.get(kinds[name], kinds[name]), **kept})
    return {f"{column} against generated tokens": {"x": grid.tolist(), "series": series}}


def _band(drawn_S3P: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, low and high a point; `drawn_S3P` holds each seed's value, low and high."""
    if len(drawn_S3P) == 1:
        return drawn_S3P[0, 0], drawn_S3P[0, 1], drawn_S3P[0, 2]
    told = [over_seeds(list(at), "") for at in drawn_S3P[:, 0].T]
    return (np.array([one.value for one in told]), np.array([one.low for one in told]), np.array([one.high for one in told]))  # fmt: skip


def _points(one: ArmResult, column: str) -> tuple[list[float], list[list[float]]]:
    rows = [row for row in one.curve if column in row]
    nan = float("nan")
    return [row["tokens"] for row in rows], [[row.get(name, nan) for row in rows] for name in (column, f"{column} low", f"{column} high")]  # fmt: skip


def _values(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Each number under its name, its interval under "name low" and "name high" where there is one."""
    ends = {f"{name} {end}": value for name, one in estimates.items()
            for end, value in (("low", one.low), ("high", one.high)) if np.isfinite(value)}  # fmt: skip
    return {name: one.value for name, one in estimates.items()} | ends
