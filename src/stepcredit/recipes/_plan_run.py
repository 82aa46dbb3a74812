"""The run of `recipes/blocksworld_plans` as a report shows it: table beside the nulls, what is picked, curves, sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import stepcredit
from stepcredit.core import diagnostics
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.types import Cost, Floats, Judgment, Record
from stepcredit.evaluate import nulls, predict_first_error
from stepcredit.recipes import _plans
from stepcredit.recipes._over_seeds import best_of_over, picked_over, process_over
from stepcredit.recipes._plan_arms import Arm, Bench, Judged
from stepcredit.report._attempt import attempt_entry

COLUMNS = {
    "F1": "processbench_f1", "error found": "error_accuracy", "good plan kept": "correct_accuracy",
    "step AUROC": "step_auroc", "best of {}": "best_of_{}", "gain over random": "best_of_{}_minus_random",
}  # fmt: skip
NUM_SHOWN = 12


def run_of(
    bench: Bench, fits: Mapping[str, Sequence[Judged]], arms: Mapping[str, Arm], seeds: Sequence[int], expectation: str
) -> dict[str, Any]:
    """The run dict (schema: `report.write_report`) from every arm's fits, one a seed."""
    num = max(Counter(record.tree.problem.id for record in bench.recorded).values())
    kind_of = [[_plans.error_kind(record)] for record in bench.recorded]
    null_of, skipped = nulls(bench.recorded, rng=rng(0, "nulls"))
    runs = {name: [fit.records for fit in of] for name, of in fits.items()}
    runs |= {name: [records] for name, records in null_of.items()}
    rows, results, picks = [], [], {}
    for name, copies in runs.items():
        found = process_over(copies, rng=rng(0, "process", name), num_resamples=500)
        found |= best_of_over(copies, _sizes(num), rng=rng(0, "best", name))
        role = arms[name].kind if name in arms else "null"
        cells = {c.format(num): asdict(found[k.format(num)]) for c, k in COLUMNS.items() if k.format(num) in found}
        cost = sum((fit.cost for fit in fits.get(name, ())), Cost())
        rows.append({"arm": name, "kind": role, "cells": cells, "cost": asdict(cost) if name in fits else {}})
        results += [{"name": f"{name}: {key}", "arm": name, "control": role != "label-free", **asdict(one)}
                    for key, one in found.items()]  # fmt: skip
        if name in fits:
            picks[name] = picked_over(copies, num, kind_of, rng=rng(0, "picked"))
            results += _per_seed(name, copies, num, seeds)
    first = next(iter(fits))
    curves = {"best_of_n": _best_of_curve(results, runs, arms, num), "learning": _learning(fits, arms)}
    return {
        "title": "Blocksworld plans of language models, judged step by step", "version": stepcredit.__version__,
        "seeds": list(seeds), "expectation": expectation, "summary": [_trained(fits, seeds), *_summary(picks, kind_of, skipped)],
        "config": {"size": asdict(bench.size), "arms": {name: asdict(arm) for name, arm in arms.items()}},
        "cost": asdict(sum((fit.cost for of in fits.values() for fit in of), Cost())),
        "results": results, "table": {"columns": [c.format(num) for c in COLUMNS], "rows": rows}, "curves": curves,
        "attempts": [_shown(record) for record in fits[first][0].records[:: max(1, len(bench.recorded) // NUM_SHOWN)]],
        "diagnostics": [{"arm": name, "lines": [*of[0].lines, *_agreement(of), _located(of)]} for name, of in fits.items()],
    }  # fmt: skip


def _sizes(num: int) -> list[int]:
    return sorted({n for n in (1, 2, 4, 8) if n < num} | {num})


def _per_seed(name: str, copies: Sequence[Sequence[Record]], num: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    found = []
    for seed, copy in zip(seeds[: len(copies)], copies, strict=True):
        one = process_over([copy], rng=rng(seed, "process", name), num_resamples=500)
        one |= best_of_over([copy], [num], rng=rng(seed, "best", name))
        found += [{"name": f"{name}, seed {seed}: {key}", "arm": name, "control": True, **asdict(one[key])}
                  for key in ("processbench_f1", f"best_of_{num}") if key in one]  # fmt: skip
    return found


def _trained(fits: Mapping[str, Sequence[Judged]], seeds: Sequence[int]) -> str:
    told = [f"{name} {', '.join(str(seed) for seed in seeds[: len(of)])}" for name, of in fits.items()]
    return "Numbers are means over seeds, intervals are over problems. Seeds: " + "; ".join(told) + "."


def _agreement(of: Sequence[Judged]) -> list[str]:
    """Whether seeds agree on the steps of the same attempt: the mark of identified credit."""
    if len(of) < 2:
        return []
    pairs = [(a.judgments[0], b.judgments[0]) for a, b in zip(of[0].records, of[1].records, strict=True)]
    local = [(_local(a), _local(b)) for a, b in pairs if a.status == b.status == "scored"]
    return diagnostics.rank_agreement([a for a, _ in local], [b for _, b in local]).lines()


def _local(judgment: Judgment) -> Floats:
    """What a judge says of each step by itself: running scores of any two chains fall together and always agree."""
    return judgment.channels.get("keep", judgment.step_scores_S)


def _located(of: Sequence[Judged]) -> str:
    """How often the predicted first error is the true one, by kind of plan, over seeds."""
    hits: dict[str, list[bool]] = {}
    for record in (record for fit in of for record in fit.records):
        tree = record.tree
        truth = first_error(record.credits["truth"].values_N[tree.sampled_N])
        hits.setdefault(_plans.error_kind(record), []).append(predict_first_error(record.judgments[0]) == truth)
    ranked = sorted(hits.items(), key=lambda item: -len(item[1]))
    told = [f"{kind} {np.mean(found):.2f} of {len(found) // len(of)}" for kind, found in ranked]
    return "The right step (or none) is pointed at in: " + ", ".join(told) + "."


def _summary(
    picks: Mapping[str, Mapping[str, float]], kind_of: Sequence[Sequence[str]], skipped: Mapping[str, str]
) -> list[str]:
    base = Counter(kind for of in kind_of for kind in of)
    told = [f"{kind} {count / len(kind_of):.0%}" for kind, count in base.most_common()]
    found = ["Recorded plans by what goes wrong first: " + ", ".join(told) + "."]
    for name, share in picks.items():
        most = sorted(share.items(), key=lambda item: -item[1])[:6]
        found.append(f"Picked by {name}: " + ", ".join(f"{kind} {part:.0%}" for kind, part in most) + ".")
    return found + [f"No null {name}: {reason}." for name, reason in skipped.items()]


def _best_of_curve(
    results: Sequence[Mapping[str, Any]], runs: Mapping[str, Any], arms: Mapping[str, Arm], num: int
) -> dict[str, Any]:
    by_name = {result["name"]: result for result in results}
    series = []
    for name in runs:
        points = [by_name[f"{name}: best_of_{n}"] for n in _sizes(num)]
        style = "null" if name not in arms else "oracle" if arms[name].kind == "oracle" else "arm"
        if name in arms or name in ("random", "length"):
            series.append({"name": name, "style": style, **{k: [p[v] for p in points] for k, v in
                           (("y", "value"), ("low", "low"), ("high", "high"))}})  # fmt: skip
    return {"x": _sizes(num), "series": series}


def _learning(fits: Mapping[str, Sequence[Judged]], arms: Mapping[str, Arm]) -> dict[str, Any]:
    """F1 on held-out synthetic plans, mean over seeds."""
    updates = [update for update, _ in next(iter(fits.values()))[0].curve]
    series = [{"name": name, "style": "oracle" if arms[name].kind == "oracle" else "arm",
               "y": np.mean([[f1 for _, f1 in fit.curve] for fit in of], axis=0).tolist()}
              for name, of in fits.items()]  # fmt: skip
    return {"x": updates, "series": series, "y_label": "F1 on held-out synthetic plans"}


def _shown(record: Record) -> dict[str, Any]:
    judgment = record.judgments[0]
    return attempt_entry(record, record.tree.leaves[0], judgment, predicted=predict_first_error(judgment))
