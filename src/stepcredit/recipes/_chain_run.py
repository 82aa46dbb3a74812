"""The run of `recipes/outcome_prm` as a report shows it: table beside the nulls, curves, what is picked, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from stepcredit import __version__
from stepcredit.core import diagnostics
from stepcredit.core.stats import over_seeds
from stepcredit.recipes._arms import Arm, ArmResult, combined, curve, result_rows, table

Results = Mapping[str, Sequence[ArmResult]]


def run_of(
    results: Results, trivial: Results, arms: Mapping[str, Arm], seeds: Sequence[int], num_list: Sequence[int],
    *, declared: str, expectation: str, config: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The run dict (schema: `report.write_report`) from every arm's and every trivial judge's results, one a seed."""
    top = max(num_list)
    columns = [
        "processbench_f1",
        "step_auroc",
        "step_auroc_local",
        "right_answer_f1",
        f"best_of_{top}",
        f"best_of_{top}_minus_majority",
    ]
    everyone = {**results, **{f"null: {name}": found for name, found in trivial.items()}}
    kinds = {name: arms[name].kind if name in arms else "null" for name in everyone}
    return {
        "title": "Step scores from outcomes alone: the chain world", "seeds": list(seeds), "config": dict(config),
        "version": __version__, "expectation": expectation,
        "summary": [*_summary(results, declared, top), *_picked(results, top)],
        "table": table(everyone, kinds, columns), "results": result_rows(everyone, kinds, columns),
        "curves": {"best_of_n": _best_of_n(everyone, results, kinds, num_list), **_learning(results, kinds)},
        "reliability": [{"name": n, "bins": [_bin(b) for b in f[0].bins]} for n, f in results.items() if f[0].bins],
        "attempts": [attempt for found in results.values() for attempt in found[0].attempts],
        "diagnostics": [_diagnostics(name, found) for name, found in results.items()],
    }  # fmt: skip


def _best_of_n(
    everyone: Results, results: Results, kinds: Mapping[str, str], num_list: Sequence[int]
) -> dict[str, Any]:
    series = curve(everyone, kinds, "best_of", num_list)
    anyone = results.get("oracle") or next(iter(results.values()))  # every arm's results hold the same baselines
    for stem, prefix in (("random", "random_of"), ("majority", "majority_of"), ("pass", "pass_at")):
        series["series"] += curve({stem: anyone}, {stem: "null"}, prefix, num_list)["series"]
    return series


def _learning(results: Results, kinds: Mapping[str, str]) -> dict[str, Any]:
    """First-error F1 on the first test problems while learning, mean over the seeds that did not collapse."""
    stood = {name: [one.learning for one in found if one.learning] for name, found in results.items()}
    stood = {name: of for name, of in stood.items() if of}
    if not stood:
        return {}
    series = [{"name": f"{name}: F1", "style": "oracle" if kinds[name] == "oracle" else "arm",
               "y": np.mean([[f1 for _, f1, _ in one] for one in of], axis=0).tolist()}
              for name, of in stood.items()]  # fmt: skip
    return {"learning": {"x": [update for update, _, _ in next(iter(stood.values()))[0]], "series": series}}


def _bin(one: Mapping[str, float]) -> dict[str, float]:
    return {"low": one["low"], "high": one["high"], "mean_score": one["score"], "rate": one["right"], "n": one["num"]}


def _diagnostics(name: str, found: Sequence[ArmResult]) -> dict[str, Any]:
    lines = [*(line for one in found[:1] for line in one.lines), *_agreement(found)]
    for number, one in enumerate(found, start=1):
        later = [line for line in one.lines if number > 1 and line.startswith("WARNING")]
        lines += [
            f"WARNING, seed {number} of {len(found)}: {line}"
            for line in [*later, *([one.failed] if one.failed else [])]
        ]
    return {"arm": name, "lines": [line for line in lines if not line.startswith("WARNING")],
            "warnings": [line for line in lines if line.startswith("WARNING")]}  # fmt: skip


def _agreement(found: Sequence[ArmResult]) -> list[str]:
    """Whether judges of different seeds say the same of the steps of the same attempts: mean over the pairs of seeds."""
    told = [[np.array(one) for one in result.told] for result in found if result.told]
    pairs = [diagnostics.rank_agreement(a, b) for a, b in combinations(told, 2)]
    if not pairs:
        return []
    each = [f"{pair.spearman:.2f}" for pair in pairs]
    return [*pairs[0].lines(), f"Spearman of every pair of seeds: {', '.join(each)}."]


def _picked(results: Results, top: int) -> list[str]:
    """What best-of-N picks by the kind of its first error, beside what there is to pick from."""
    found = []
    for name, of in results.items():
        kinds = {kind for one in of for kind in one.picks}
        shares = sorted((-float(np.mean([one.picks.get(kind, 0.0) for one in of])), kind) for kind in kinds)
        told = [f"{kind} {-share:.0%}" for share, kind in shares if share < 0]
        if told and all(one.picks for one in of):
            found.append(f"First errors in what best-of-{top} picks by {name}: {', '.join(told)}.")
    return found


def _summary(results: Results, declared: str, top: int) -> list[str]:
    """How the label-free arm declared beforehand stands to the oracle: two ratios, and the paired difference over seeds."""
    ours, oracle = results.get(declared, []), results.get("oracle", [])
    found = []
    for metric, what in (
        ("processbench_f1", "first-error F1"),
        (f"best_of_{top}_minus_majority", f"best-of-{top} gain over majority"),
    ):
        pair = [combined(one, metric) for one in (ours, oracle)]
        if pair[0] is None or pair[1] is None or pair[1].value <= 0:
            continue
        line = f"{declared}, declared beforehand: {what} {pair[0].value:.3f}, {pair[0].value / pair[1].value:.2f} of the oracle's {pair[1].value:.3f}"
        if len(ours) > 1:
            gap = over_seeds(
                [a.estimates[metric].value - b.estimates[metric].value for a, b in zip(ours, oracle, strict=True)], what
            )
            line += f" (difference {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], {gap.n} seeds paired)"
        found.append(line + ".")
    return found
