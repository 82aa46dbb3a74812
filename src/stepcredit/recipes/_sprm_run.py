"""The run of `recipes/sprm` as a report shows it: modes beside majority and pass@k, gaps while training, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stepcredit import __version__
from stepcredit.core.stats import over_seeds
from stepcredit.recipes._arms import combined, curve, result_rows, table
from stepcredit.recipes._sprm_measure import SCORED_BY, SprmResult, binned
from stepcredit.recipes._sprm_study import Form

Results = Mapping[str, Sequence[SprmResult]]
NUM_POINTS = 20  # of a curve


def run_of(
    results: Results, trivial: Results, forms: Mapping[str, Form], seeds: Sequence[int], modes: Mapping[str, int],
    *, control: str, declared: str, expectation: str, config: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The run dict (schema: `report.write_report`) from every arm's and every trivial judge's results, one a seed."""
    num_list = list(modes.values())
    top = max(num_list)
    columns = ["random_of_1", *(f"best_of_{k}" for k in num_list), f"majority_of_{top}", f"pass_at_{top}", "score_gap",
               "step_auroc"]  # fmt: skip
    everyone: dict[str, Sequence[SprmResult]] = {**results, **{f"null: {n}": found for n, found in trivial.items()}}
    kinds = {name: forms[name].kind if name in forms else "null" for name in everyone}
    by = [f"best_of_{k} by {how}" for how in SCORED_BY for k in num_list]
    return {
        "title": "SPRM: one network that writes and judges, on the chain world", "seeds": list(seeds),
        "config": dict(config), "version": __version__, "expectation": expectation,
        "summary": [*_modes(results, modes), *_aggregations(results, top), *_policy(results, control, declared)],
        "table": table(everyone, kinds, columns), "results": result_rows(everyone, kinds, [*columns, *by]),
        "curves": {"best_of_n": _best_of_n(everyone, results, kinds, num_list), **_training(results, forms)},
        "attempts": [attempt for found in results.values() for attempt in found[0].attempts],
        "diagnostics": [_diagnostics(name, found) for name, found in results.items()],
    }  # fmt: skip


def _diagnostics(name: str, found: Sequence[SprmResult]) -> dict[str, Any]:
    """What the filter kept: sentences of the first seed, warnings of all."""
    warnings = [line for one in found for line in [*one.lines, one.failed] if line.startswith("WARNING")]
    told = [line for line in [*found[0].lines, found[0].failed] if line and not line.startswith("WARNING")]
    return {"arm": name, "lines": told, "warnings": warnings}


def _best_of_n(
    everyone: Results, results: Results, kinds: Mapping[str, str], num_list: Sequence[int]
) -> dict[str, Any]:
    """Best-of-k of every judge; random, majority and pass@k of the policy before any reinforcement."""
    series = curve(everyone, kinds, "best_of", num_list)
    frozen = [found for name, found in results.items() if name.startswith("frozen")]
    for stem, prefix in (("random", "random_of"), ("majority", "majority_of"), ("pass", "pass_at")):
        series["series"] += curve({f"first policy: {stem}": found for found in frozen[:1]},
                                  {f"first policy: {stem}": "null"}, prefix, num_list)["series"]  # fmt: skip
    return series


def _training(results: Results, forms: Mapping[str, Form]) -> dict[str, Any]:
    """By update, mean over the seeds that did not collapse: scores of right and wrong attempts, their gap, accuracy."""
    plots: dict[str, Any] = {}
    for name, found in results.items():
        stood = [one.curve for one in found if one.curve and not one.failed]
        if not stood:
            continue
        form = "frozen" if forms[name].teaching is not None else "joint"
        width = max(1, len(stood[0]) // NUM_POINTS)
        x = binned(stood[0], "update", width)[0]
        right, wrong, accuracy = (
            _mean([binned(rows, column, width)[1] for rows in stood])
            for column in ("score_right", "score_wrong", "accuracy")
        )
        style = "oracle" if forms[name].kind == "oracle" else "control" if forms[name].kind == "control" else "arm"
        lines = {
            f"{form} scores": {f"{name}: right": right, f"{name}: wrong": wrong},
            f"{form} gap": {name: right - wrong}, "policy accuracy": {name: accuracy} if form == "joint" else {},
        }  # fmt: skip
        for plot, of in lines.items():
            if of:
                shown = plots.setdefault(plot, {"x": x, "series": []})
                shown["series"] += [{"name": line, "style": style, "y": y.tolist()} for line, y in of.items()]
    return plots


def _mean(columns: Sequence[Sequence[float]]) -> Any:
    value_RX = np.array(columns)
    known_RX = np.isfinite(value_RX)
    total_X, num_X = np.where(known_RX, value_RX, 0.0).sum(axis=0), known_RX.sum(axis=0)
    return np.where(num_X > 0, total_X / np.maximum(num_X, 1), np.nan)


def _modes(results: Results, modes: Mapping[str, int]) -> list[str]:
    """Low, medium, high, of each arm, between one attempt and a perfect judge."""
    lines = []
    for name, found in results.items():
        at = {mode: combined(found, f"best_of_{k}") for mode, k in modes.items()}
        one, best = combined(found, "random_of_1"), combined(found, f"pass_at_{max(modes.values())}")
        if one is None or best is None or any(cell is None for cell in at.values()):
            continue
        told = ", ".join(f"{mode} (best of {modes[mode]}) {cell.value:.3f}" for mode, cell in at.items() if cell)
        lines.append(f"{name}: one attempt {one.value:.3f}; {told}; a perfect judge {best.value:.3f}.")
    return lines


def _aggregations(results: Results, top: int) -> list[str]:
    lines = []
    for name, found in results.items():
        cells = {how: combined(found, f"best_of_{top} by {how}") for how in SCORED_BY}
        told = ", ".join(f"{how.replace('_', ' ')} {cell.value:.3f}" for how, cell in cells.items() if cell)
        if told:
            lines.append(f"{name}, best of {top} by aggregation of the same step scores: {told}.")
    return lines


def _policy(results: Results, control: str, declared: str) -> list[str]:
    """Whether the head's gradient hurt the policy, paired by seed with reinforcement alone."""
    ours, alone = results.get(declared, []), results.get(control, [])
    if not ours or not alone or any(one.failed for one in [*ours, *alone]):
        return []
    gap = over_seeds([a.estimates["random_of_1"].value - b.estimates["random_of_1"].value
                      for a, b in zip(ours, alone, strict=True)], "difference in accuracy")  # fmt: skip
    interval = f" [{gap.low:+.3f}, {gap.high:+.3f}], {gap.n} seeds paired" if gap.n > 1 else ", one seed"
    return [f"Policy accuracy, {declared} minus {control}: {gap.value:+.3f}{interval}."]
