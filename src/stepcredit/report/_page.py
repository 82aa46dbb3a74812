"""From a run to its page: checks the run, draws its plots, fills the templates, keeps the size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from stepcredit.report import _plots
from stepcredit.report._check import check_run
from stepcredit.report._format import DASH, absent, breakable, estimate, number, short
from stepcredit.report._heat import ANCHORS, attempt_view

MAX_BYTES = 2_000_000
COSTS = (
    "attempts",
    "human_labels",
    "generated_steps",
    "generated_tokens",
    "forwarded_tokens",
    "verifier_calls",
    "judge_calls",
    "seconds",
)
GROUPS = {
    "label-free": "Label-free arms: taught by outcomes alone",
    "control": "Controls",
    "null": "Nulls: scores that never read a step",
    "oracle": "Oracle: taught with step labels, a ceiling",
}
CURVES = {  # name: title, x label, y label
    "best_of_n": ("Best of N", "N, attempts per problem", "share of problems right"),
    "learning": ("Learning", "updates", ""),
}


def render(run: Mapping[str, Any]) -> bytes:
    """The UTF-8 page of `run`; attempts are dropped from the end until it is under 2 MB."""
    check_run(run)
    context = _context(run)
    attempts = context["attempts"]
    template = _environment().get_template("page.html.j2")
    while True:
        html = template.render(context).encode(errors="replace")  # a lone surrogate in a model's text becomes "?"
        size = len(html)
        if size <= MAX_BYTES:
            return html
        if not context["attempts"]:
            raise ValueError(f"the page is {size:,} bytes without any attempt; allowed: {MAX_BYTES:,}")
        context["attempts"] = attempts[: len(context["attempts"]) // 2]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, estimate=estimate, short=short, breakable=breakable)
    return environment


def _context(run: Mapping[str, Any]) -> dict[str, Any]:
    config = run.get("config")
    curves = run.get("curves") or {}
    results = run.get("results") or []
    diagnostics = [
        {"arm": d["arm"], "lines": d.get("lines") or [], "warnings": d.get("warnings") or []}
        for d in run.get("diagnostics") or []
    ]
    return {
        "title": run.get("title") or "stepcredit run",
        "version": run.get("version") or "",
        "seeds": _seeds(run.get("seeds", run.get("seed"))),
        "expectation": run.get("expectation") or "",
        "summary": run.get("summary") or [],
        "cost": _costs(run.get("cost")),
        "results": [_result(result) for result in results],
        "results_folded": run.get("table") is not None and not any(result.get("verdict") for result in results),
        "table": _table(run.get("table")),
        "curves": [_curve(i, name, c) for i, (name, c) in enumerate(curves.items()) if c["x"] and c["series"]],
        "reliability": [_reliability(i, arm) for i, arm in enumerate(run.get("reliability") or []) if arm["bins"]],
        "attempts": [attempt_view(attempt) for attempt in run.get("attempts") or []],
        "num_attempts": len(run.get("attempts") or []),
        "anchors": ANCHORS,
        "diagnostics": [d for d in diagnostics if d["lines"] or d["warnings"]],
        "num_warnings": sum(len(d["warnings"]) for d in diagnostics),
        "config": json.dumps(config, indent=2, ensure_ascii=False, default=str) if config else "",
        "dash": DASH,
    }


def _seeds(seeds: Any) -> str:
    if seeds is None:
        return ""
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"seed {seeds}"


def _costs(cost: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), short(value)) for key, value in (cost or {}).items() if not absent(value)]


def _result(result: Mapping[str, Any]) -> dict[str, Any]:
    control = result.get("control") or ""
    return {
        "name": result["name"],
        "arm": result.get("arm") or "",
        "estimate": estimate(result),
        "n": result.get("n"),
        "unit": result.get("unit") or "",
        "control": "control" if control is True else control,
        "verdict": result.get("verdict") or "",
    }


def _table(table: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Rows grouped by kind, in the order given within each; a cost nobody paid has no column."""
    if table is None or not table["rows"]:
        return None
    rows = table["rows"]
    costs = [key for key in COSTS if any((row.get("cost") or {}).get(key) for row in rows)]
    groups = []
    for kind, title in GROUPS.items():
        members = [
            {
                "arm": row["arm"],
                "note": row.get("note") or "",
                "cells": [row["cells"].get(column) for column in table["columns"]],
                "costs": [short((row.get("cost") or {}).get(key)) for key in costs],
            }
            for row in rows
            if row["kind"] == kind
        ]
        if members:
            groups.append({"kind": kind, "title": title, "rows": members})
    columns = [{"name": column, "n": _shared_n(rows, column)} for column in table["columns"]]
    return {"columns": columns, "costs": [key.replace("_", " ") for key in costs], "groups": groups}


def _shared_n(rows: Sequence[Mapping[str, Any]], column: str) -> int | None:
    """The n of every estimate in a column where it is one number: said once, in the header."""
    cells = [row["cells"].get(column) or {} for row in rows]
    counts = {cell.get("n") for cell in cells if not absent(cell.get("value"))}
    return counts.pop() if len(counts) == 1 else None


def _curve(i: int, name: str, curve: Mapping[str, Any]) -> dict[str, Any]:
    title, x_label, y_label = CURVES.get(name, (name.replace("_", " ").capitalize(), "", ""))
    x_label = curve.get("x_label") or x_label
    series, plot_id = curve["series"], f"curve-{i}"
    bands = [line for line in series if line.get("low") is not None]
    return {
        "title": title,
        "x_label": x_label or "x",
        "svg": _plots.curve(
            curve["x"],
            series,
            name=plot_id,
            x_label=x_label,
            y_label=y_label,
            joined=bool(curve.get("joined")),
            log=bool(curve.get("log")),
        ),
        "keys": list(zip(_plots.swatches(series, name=plot_id), [line["name"] for line in series], strict=True)),
        "names": [line["name"] for line in series],
        "bands": bool(bands),
        "values": [(x, [_point(line, j) for line in series]) for j, x in enumerate(curve["x"])],
    }


def _point(line: Mapping[str, Any], j: int) -> dict[str, Any]:
    keys = {"value": "y", "low": "low", "high": "high"}
    return {key: line[source][j] for key, source in keys.items() if line.get(source) is not None}


def _reliability(i: int, arm: Mapping[str, Any]) -> dict[str, Any]:
    bins = [
        {
            "edges": f"{bin_['low']:g} to {bin_['high']:g}",
            "mean_score": estimate({"value": bin_["mean_score"]}),
            "rate": estimate({"value": bin_["rate"]}),
            "n": number(bin_["n"]),
        }
        for bin_ in arm["bins"]
    ]
    return {"name": arm["name"], "svg": _plots.reliability(arm["bins"], name=f"reliability-{i}"), "bins": bins}
