"""What `recipes/sprm` measures on judged attempts: best-of-k by every aggregation, and the gap of right and wrong ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from stepcredit.core.aggregate import Aggregation
from stepcredit.core.protocols import Rng
from stepcredit.core.stats import cluster_sums, clustered_bootstrap, ratio
from stepcredit.core.types import Estimate, Floats, Record
from stepcredit.evaluate import curves, evaluate
from stepcredit.evaluate.curves import pools
from stepcredit.recipes._arms import ArmResult

SCORED_BY: tuple[Aggregation, ...] = ("geometric_mean", "mean", "product", "last", "min")


@dataclass(frozen=True)
class SprmResult(ArmResult):
    """An arm's result with its training curve: a row an update, or a look, of named numbers."""

    curve: list[dict[str, float]] = field(default_factory=list)


def measure(records: Sequence[Record], num_list: Sequence[int], *, rng: Rng) -> dict[str, Estimate]:
    """Everything one pool of judged attempts says.

    The judge's own score, accuracy of one attempt, majority and pass@k under the names of `evaluate`; best-of-k by each
    aggregation of the step scores as `best_of_8 by product`; `score_right`, `score_wrong` and their `score_gap`.
    """
    found = dict(evaluate(records, rng=rng, num_list=[1, *num_list], with_nulls=False).estimates)
    for how in SCORED_BY:
        by = curves(records, rng=rng, num_list=num_list, scoring=how, baselines=False)
        found |= {f"best_of_{k} by {how}": by[f"best_of_{k}"] for k in num_list if f"best_of_{k}" in by}
    return found | score_gap(records, rng=rng)


def score_gap(records: Sequence[Record], *, rng: Rng, num_resamples: int = 1000) -> dict[str, Estimate]:
    """Mean score of right attempts, of wrong ones, and the difference, resampled by problem; absent without both."""
    given = [(p.problem_id, s, r) for p in pools(records) for s, r in zip(p.score_G, p.right_G, strict=True)]
    known = [one for one in given if np.isfinite(one[1])]
    right_A = np.array([right for _, _, right in known])
    if not known or right_A.all() or not right_A.any():
        return {}
    score_A = np.array([score for _, score, _ in known])
    columns = np.stack([score_A * right_A, right_A, score_A * (1 - right_A), 1 - right_A], axis=1)
    sums_CK = cluster_sums([problem for problem, _, _ in known], columns)

    def right(total: Floats) -> Floats:
        return ratio(total[..., 0], total[..., 1])

    def wrong(total: Floats) -> Floats:
        return ratio(total[..., 2], total[..., 3])

    def gap(total: Floats) -> Floats:
        return np.asarray(right(total) - wrong(total))

    return {
        name: clustered_bootstrap(of, sums_CK, unit, rng=rng, n=len(known), num_resamples=num_resamples)
        for name, of, unit in (
            ("score_right", right, "mean score"), ("score_wrong", wrong, "mean score"),
            ("score_gap", gap, "difference in mean score"),
        )
    }  # fmt: skip


def save(result: SprmResult, path: Path) -> None:
    """Write a finished arm, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(asdict(result)), encoding="utf-8")
    os.replace(partial, path)


def load(path: Path) -> SprmResult | None:
    """A finished arm, or None."""
    if not path.is_file():
        return None
    given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    given["estimates"] = {name: Estimate(**one) for name, one in given["estimates"].items()}
    given["learning"] = [tuple(point) for point in given["learning"]]
    return SprmResult(**given)


def binned(rows: Sequence[Mapping[str, float]], name: str, width: int) -> tuple[list[float], list[float]]:
    """A curve's column by `update`, averaged over windows of `width` updates: (last update, mean) of each window.

    NaN where no row of the window has the column.
    """
    last, means = [], []
    for begin in range(0, len(rows), width):
        window = rows[begin : begin + width]
        values = [row[name] for row in window if np.isfinite(row.get(name, np.nan))]
        last.append(float(window[-1]["update"]))
        means.append(float(np.mean(values)) if values else float("nan"))
    return last, means


assert set(SCORED_BY) == set(get_args(Aggregation))
