"""The run of `recipes/judge_search` as a report shows it: each search beside choosing at its own tokens, and what is picked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepcredit import __version__
from stepcredit.recipes._alphallm_cells import LUCKY, UNLUCKY
from stepcredit.recipes._alphallm_run import told
from stepcredit.recipes._arms import ArmResult, as_cell, combined, result_rows
from stepcredit.recipes._judge_search_study import CHOICES, JUDGE_NAMES, SEARCHES

Found = Mapping[str, Sequence[ArmResult]]
GAPS = tuple(f"minus {how}" for how in CHOICES)


def run_of(found: Found, *, seeds: Sequence[int], expectation: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The run dict (schema: `report.write_report`) from every row's results, one a seed."""
    columns = ["accuracy", *GAPS, LUCKY, UNLUCKY]
    kinds = {name: kind_of(name) for name in found}
    return {
        "title": "Searching with a judge against choosing with it, at equal generated tokens", "seeds": list(seeds),
        "config": dict(config), "version": __version__, "expectation": expectation,
        "summary": [*(line for judge in JUDGE_NAMES for line in _lines(found, judge)), *_picks(found)],
        "table": {"columns": columns, "rows": [_row(name, kinds[name], of, columns) for name, of in found.items()]},
        "results": result_rows(found, kinds, columns),
    }  # fmt: skip


def kind_of(row: str) -> str:
    """Null for one attempt, oracle for its judge, control for votes and for broadcast."""
    if row in ("majority of 1", "best_of_n of 1"):
        return "null"
    if row.endswith("(oracle)"):
        return "oracle"
    return "label-free" if row.endswith("(latent_chain)") else "control"


def _row(name: str, kind: str, of: Sequence[ArmResult], columns: Sequence[str]) -> dict[str, Any]:
    cells = {column: cell for column in columns if (cell := as_cell(combined(of, column))) is not None}
    keys = dict.fromkeys(key for one in of for key in one.cost)
    cost = {key: sum(one.cost.get(key, 0.0) for one in of) / len(of) for key in keys}
    return {"arm": name, "kind": kind, "cells": cells, "cost": cost, "note": ""}


def _lines(found: Found, judge: str) -> list[str]:
    """Each search with this judge against best of N and weighted majority at its own tokens."""
    lines = []
    for gap in GAPS[:2]:
        each = [f"{search} {told(one)}" for search in SEARCHES
                if (of := found.get(f"{search} ({judge})")) and (one := combined(of, gap))]  # fmt: skip
        if each:
            lines.append(f"{judge}, accuracy {gap} at the search's own tokens: {'; '.join(each)}.")
    return lines


def _picks(found: Found) -> list[str]:
    """Of the answers chosen: right ones with a wrong step, and wrong ones whose steps are sound."""
    shown = [name for name in found if name.startswith(("best_of_n of 8", "beam 8/4", "majority of 8"))]
    each = []
    for name in shown:
        lucky, unlucky = (combined(found[name], column) for column in (LUCKY, UNLUCKY))
        if lucky and unlucky:
            each.append(f"{name} {lucky.value:.3f} and {unlucky.value:.3f}")
    return [f"Chosen answers that are {LUCKY}, and {UNLUCKY}: {'; '.join(each)}."] if each else []
