"""Teaching and measuring the arms of `recipes/first_mistakes`, and the run as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import stepcredit
from stepcredit.core.rng import rng
from stepcredit.core.stats import paired_difference
from stepcredit.core.tree import first_error
from stepcredit.core.types import Cost, Estimate, Floats, Record
from stepcredit.evaluate import nulls, predict_first_error, process
from stepcredit.evaluate.nulls import at_location, choose_location
from stepcredit.recipes import _mistakes
from stepcredit.recipes._mistakes import Kind
from stepcredit.recipes._mistakes_judge import LineJudge, Taught, fit_lines
from stepcredit.recipes._over_seeds import process_over

COLUMNS = {"accuracy": "first_error_accuracy", "F1": "processbench_f1", "step AUROC": "step_auroc"}
NUM_RESAMPLES = 1000
CONSTANT = "best constant guess"


@dataclass(frozen=True)
class Arm:
    """What a judge is taught and reads; `recorded` adds the outcomes of recorded traces of other problems."""

    taught: Taught
    recorded: bool = False
    plain: bool = False
    kind: Literal["label-free", "control", "oracle"] = "label-free"


@dataclass(frozen=True, eq=False)
class Judged:
    """The recorded traces with one fit's judgments, its number of weights, its accuracy on held-out attempts."""

    records: list[Record]
    num_parameters: int
    synthetic: float
    cost: Cost


@dataclass(frozen=True, eq=False)
class Bench:
    """What the arms of one task and seed share: recorded traces, synthetic attempts to teach on and to look at."""

    kind: Kind
    given: list[Record]
    attempts: list[Record]
    held_out: list[Record]
    seed: int


def bench(kind: Kind, folder: Path, share: float, seed: int) -> Bench:
    """`share` of the kind's number of attempts, at least 20, and a twentieth of that to look at."""
    given, num = _mistakes.recorded(folder / kind.file), max(20, int(share * kind.num_attempts))
    avoid = _mistakes.prompts(given)
    attempts, held_out = (
        _mistakes.synthetic(n, kind, avoid=avoid, rng=rng(seed, kind.task, name))
        for name, n in (("attempts", num), ("held out", max(20, num // 20)))
    )
    return Bench(kind, given, attempts, held_out, seed)


def judged(on: Bench, arm: Arm) -> Judged:
    """Teach one arm on the synthetic attempts and judge the recorded traces.

    With `recorded`, two judges: each is also taught by the outcomes of one half of the problems, and judges the other.
    """
    attempts, seen, looked_at = (
        _mistakes.viewed(records, on.kind, plain=arm.plain) for records in (on.attempts, on.given, on.held_out)
    )

    def taught(extra: Sequence[Record]) -> LineJudge:
        longest = min(on.kind.longest, 2) if arm.plain else on.kind.longest
        return fit_lines([*attempts, *extra], taught=arm.taught, fp=on.kind.luck, longest=longest)

    if arm.recorded:
        own = _mistakes.halves(on.given, rng(on.seed, "halves"))[0]
        inside = [record.tree.problem.id in own for record in on.given]
        judge, other = (
            taught([r for r, here in zip(seen, inside, strict=True) if here == half]) for half in (True, False)
        )
        found = [b if here else a for a, b, here in zip(judge(seen), other(seen), inside, strict=True)]
        cost = judge.cost + other.cost
    else:
        judge = taught([])
        found, cost = judge(seen), judge.cost
    known = [replace(r, judgments=(j,)) for r, j in zip(on.held_out, judge(looked_at), strict=True)]
    there = process(known, rng=rng(0, "held out"), num_resamples=1)["first_error_accuracy"].value
    records = [replace(record, judgments=(one,)) for record, one in zip(on.given, found, strict=True)]
    return Judged(records, judge.num_parameters, there, cost)


Fits = Mapping[str, Mapping[str, Sequence[Judged]]]  # by task and arm, one a seed


def run_of(
    fits: Fits, arms: Mapping[str, Arm], seeds: Sequence[int], expectation: str, config: Mapping[str, Any]
) -> dict[str, Any]:
    """The run dict (schema: `report.write_report`) from every task's and arm's fits."""
    measured: dict[str, dict[str, dict[str, Estimate]]] = {}
    for task, of_arm in fits.items():
        runs = {name: [fit.records for fit in of] for name, of in of_arm.items()}
        plain = next(iter(runs.values()))[0]
        runs |= {
            name: [records] for name, records in nulls(plain, rng=rng(0, "nulls"))[0].items() if name != "majority"
        }
        constant = at_location(plain, choose_location(plain, {r.tree.problem.id for r in plain}))
        runs |= {CONSTANT: [constant]}
        for name, copies in runs.items():
            found = process_over(copies, rng=rng(0, "process", task), num_resamples=NUM_RESAMPLES)
            found["gain over constant"] = _gain(copies, constant)
            measured.setdefault(name, {})[task] = found
    rows, results = [], []
    for name, of_task in measured.items():
        role = arms[name].kind if name in arms else "null"
        cells = {
            f"{task}: {c}": asdict(found[k])
            for task, found in of_task.items()
            for c, k in COLUMNS.items()
            if k in found
        }
        mean = _mean([found["first_error_accuracy"] for found in of_task.values()])
        cost = sum((fit.cost for of_arm in fits.values() for fit in of_arm.get(name, ())), Cost())
        rows.append(
            {
                "arm": name,
                "kind": role,
                "cells": {"mean accuracy": asdict(mean), **cells},
                "cost": asdict(cost) if name in arms else {},
            }
        )
        results.append({"name": f"{name}: mean accuracy", "arm": name, "control": role != "label-free", **asdict(mean)})
        results += [{"name": f"{name}, {task}: {key}", "arm": name, "control": role != "label-free", **asdict(one)}
                    for task, found in of_task.items() for key, one in found.items()]  # fmt: skip
    columns = ["mean accuracy", *(f"{task}: {c}" for task in fits for c in COLUMNS)]
    first = next(iter(arms))
    return {
        "title": "First mistakes of PaLM 2, found from outcomes", "version": stepcredit.__version__, "seeds": list(seeds),
        "expectation": expectation, "summary": _summary(fits, measured, first), "config": {**config, "arms": {n: asdict(a) for n, a in arms.items()}},
        "cost": asdict(sum((f.cost for of_arm in fits.values() for of in of_arm.values() for f in of), Cost())),
        "results": results, "table": {"columns": columns, "rows": rows},
        "attempts": [_shown(task, record) for task, of in fits.items() for record in of[first][0].records[:: max(1, len(of[first][0].records) // 3)]],
    }  # fmt: skip


def _hit(records: Sequence[Record]) -> Floats:
    truth = [first_error(r.credits["truth"].values_N[r.tree.sampled_N]) for r in records]
    return np.array(
        [predict_first_error(r.judgments[0]) == t for r, t in zip(records, truth, strict=True)], dtype=np.float64
    )


def _gain(copies: Sequence[Sequence[Record]], constant: Sequence[Record]) -> Estimate:
    """Accuracy less that of the best constant guess on the same traces, mean over seeds, by problem."""
    hit_A = np.mean([_hit(copy) for copy in copies], axis=0)
    ids = [record.tree.problem.id for record in constant]
    return paired_difference(
        hit_A, _hit(constant), "difference in accuracy", ids, rng=rng(0, "gain"), num_resamples=NUM_RESAMPLES
    )


def _mean(of: Sequence[Estimate]) -> Estimate:
    """Mean over tasks, whose traces are independent: variances add. n is the tasks."""
    value = float(np.mean([one.value for one in of]))
    half = float(np.sqrt(sum((one.high - one.low) ** 2 for one in of))) / 2 / len(of)
    return Estimate(value, value - half, value + half, len(of), "accuracy, mean over tasks")


def _summary(fits: Fits, measured: Mapping[str, Mapping[str, Mapping[str, Estimate]]], first: str) -> list[str]:
    found = []
    for task, of_arm in fits.items():
        accuracy, gain = (measured[first][task][key] for key in ("first_error_accuracy", "gain over constant"))
        by_seed = ", ".join(f"{_hit(fit.records).mean():.3f}" for fit in of_arm[first])
        held_out = ", ".join(f"{name} {np.mean([fit.synthetic for fit in of]):.3f}" for name, of in of_arm.items())
        found.append(
            f"{task}: {first} finds {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}] of {accuracy.n} first mistakes or their "
            f"absence, {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over the best constant guess; by seed {by_seed}. "
            f"On held-out synthetic attempts: {held_out}. At most {max(fit.num_parameters for of in of_arm.values() for fit in of)} weights."
        )
    found.append(
        "Published on all rows of five tasks: GPT-4 .529 at best, GPT-3.5 .148; intervals here are over problems."
    )
    return found


def _shown(task: str, record: Record) -> dict[str, Any]:
    tree, judgment = record.tree, record.judgments[0]
    truth_N, outcome = record.credits["truth"].values_N, tree.outcomes[tree.leaves[0]]
    return {
        "problem": f"{task}: {tree.problem.prompt}", "outcome": {"correct": None if outcome is None else outcome.correct},
        "score": judgment.score, "first_error_predicted": predict_first_error(judgment),
        "steps": [{"text": tree.steps[node].text, "score": float(score), "truth": None if np.isnan(truth_N[node]) else float(truth_N[node])}
                  for node, score in zip(tree.path(tree.leaves[0]), judgment.step_scores_S, strict=True)],
    }  # fmt: skip
