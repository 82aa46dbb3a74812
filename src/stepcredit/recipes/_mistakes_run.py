"""Teaching and measuring the arms of `recipes/first_mistakes`, and the run as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import stepcredit
from stepcredit.core.rng import rng
from stepcredit.core.stats import paired_difference
from stepcredit.core.tree import first_error
from stepcredit.core.types import Cost, Estimate, Floats, Record
from stepcredit.evaluate import nulls, predict_first_error
from stepcredit.evaluate.nulls import at_location, choose_location
from stepcredit.recipes._mistakes_arms import Arm, Judged
from stepcredit.recipes._over_seeds import process_over

COLUMNS = {"accuracy": "first_error_accuracy", "F1": "processbench_f1", "step AUROC": "step_auroc"}
NUM_RESAMPLES = 1000
CONSTANT = "best constant guess"

Fits = Mapping[str, Mapping[str, Sequence[Judged]]]  # by task and arm, one a seed


def run_of(
    fits: Fits, arms: Mapping[str, Arm], seeds: Sequence[int], expectation: str, config: Mapping[str, Any]
) -> dict[str, Any]:
    """The run dict (schema: `report.write_report`) from every task's and arm's fits."""
    measured: dict[str, dict[str, dict[str, Estimate]]] = {}
    first = next(iter(arms))
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
            found["gain over constant"] = _gain(copies, [constant])
            if name in arms and name != first:
                found[f"gain over {first}"] = _gain(copies, runs[first])
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
    return {
        "title": "First mistakes of PaLM 2, found from outcomes", "version": stepcredit.__version__, "seeds": list(seeds),
        "expectation": expectation, "summary": _summary(fits, arms, measured), "config": {**config, "arms": {n: asdict(a) for n, a in arms.items()}},
        "cost": asdict(sum((f.cost for of_arm in fits.values() for of in of_arm.values() for f in of), Cost())),
        "results": results, "table": {"columns": columns, "rows": rows},
        "attempts": [_shown(task, record) for task, of in fits.items() for record in of[first][0].records[:: max(1, len(of[first][0].records) // 3)]],
    }  # fmt: skip


def _hit(records: Sequence[Record]) -> Floats:
    truth = [first_error(r.credits["truth"].values_N[r.tree.sampled_N]) for r in records]
    return np.array(
        [predict_first_error(r.judgments[0]) == t for r, t in zip(records, truth, strict=True)], dtype=np.float64
    )


def _gain(copies: Sequence[Sequence[Record]], others: Sequence[Sequence[Record]]) -> Estimate:
    """Accuracy less that of others on the same traces, each the mean over its seeds, by problem."""
    hit_A, other_A = (np.mean([_hit(copy) for copy in of], axis=0) for of in (copies, others))
    ids = [record.tree.problem.id for record in copies[0]]
    return paired_difference(
        hit_A, other_A, "difference in accuracy", ids, rng=rng(0, "gain"), num_resamples=NUM_RESAMPLES
    )


def _mean(of: Sequence[Estimate]) -> Estimate:
    """Mean over tasks, whose traces are independent: variances add. n is the tasks."""
    value = float(np.mean([one.value for one in of]))
    half = float(np.sqrt(sum((one.high - one.low) ** 2 for one in of))) / 2 / len(of)
    return Estimate(value, value - half, value + half, len(of), "accuracy, mean over tasks")


def _summary(
    fits: Fits, arms: Mapping[str, Arm], measured: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
) -> list[str]:
    found, first = [], next(iter(arms))
    for task, of_arm in fits.items():
        accuracy, gain = (measured[first][task][key] for key in ("first_error_accuracy", "gain over constant"))
        by_seed = ", ".join(f"{_hit(fit.records).mean():.3f}" for fit in of_arm[first])
        held_out = ", ".join(f"{name} {np.mean([fit.synthetic for fit in of]):.3f}" for name, of in of_arm.items())
        found.append(
            f"{task}: {first} finds {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}] of {accuracy.n} first mistakes or their "
            f"absence, {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over the best constant guess; by seed {by_seed}. "
            f"On held-out synthetic attempts: {held_out}. At most {max(fit.num_parameters for of in of_arm.values() for fit in of)} weights."
        )
        for name, of in of_arm.items():
            if arms[name].source != "redrawn" and arms[name].taught == "outcomes":
                found += [f"{task}, {name}: {fit.note}." for fit in of]
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
