"""What a run must hold to become a page: every missing or wrong value is named by its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal, get_args

from stepcredit.report._format import absent

RowKind = Literal["label-free", "control", "null", "oracle"]
LineKind = Literal["arm", "control", "null", "oracle"]


def check_run(run: Mapping[str, Any]) -> None:
    """Raise ValueError with the key of the first part of `run` that cannot be shown; an empty run passes."""
    _object("run", run)
    _list("summary", run.get("summary"), str)
    _object("cost", run.get("cost"))
    for key, cost in (run.get("cost") or {}).items():
        _number(f"cost.{key}", cost)
    for i, result in enumerate(_list("results", run.get("results"))):
        _needs(f"results[{i}]", result, "name", "value")
        _estimate(f"results[{i}] ({result['name']!r})", result)
    _check_table(run.get("table"))
    for name, curve in (_object("curves", run.get("curves")) or {}).items():
        _check_curve(f"curves.{name}", curve)
    for i, arm in enumerate(_list("reliability", run.get("reliability"))):
        _needs(f"reliability[{i}]", arm, "name", "bins")
        for j, bin_ in enumerate(_list(f"reliability[{i}].bins", arm["bins"])):
            _needs(f"reliability[{i}].bins[{j}]", bin_, "low", "high", "mean_score", "rate", "n")
            for key in ("low", "high", "mean_score", "rate", "n"):
                _number(f"reliability[{i}].bins[{j}].{key}", bin_[key])
    for i, attempt in enumerate(_list("attempts", run.get("attempts"))):
        _check_attempt(f"attempts[{i}]", attempt)
    for i, diagnostic in enumerate(_list("diagnostics", run.get("diagnostics"))):
        _needs(f"diagnostics[{i}]", diagnostic, "arm")
        for key in ("lines", "warnings"):
            _list(f"diagnostics[{i}].{key}", diagnostic.get(key), str)


def _check_table(table: Any) -> None:
    if table is None:
        return
    _needs("table", table, "columns", "rows")
    columns = _list("table.columns", table["columns"], str)
    for i, row in enumerate(_list("table.rows", table["rows"])):
        _needs(f"table.rows[{i}]", row, "arm", "kind", "cells")
        _one_of(f"table.rows[{i}].kind", row["kind"], RowKind)
        for column, cell in (_object(f"table.rows[{i}].cells", row["cells"]) or {}).items():
            if column not in columns:
                raise ValueError(f"table.rows[{i}].cells has {column!r}, not among the columns: {', '.join(columns)}")
            if cell is not None:
                _needs(f"table.rows[{i}].cells[{column!r}]", cell, "value")
                _estimate(f"table.rows[{i}].cells[{column!r}]", cell)
        for key, cost in (_object(f"table.rows[{i}].cost", row.get("cost")) or {}).items():
            _number(f"table.rows[{i}].cost.{key}", cost)


def _check_curve(where: str, curve: Any) -> None:
    _needs(where, curve, "x", "series")
    num = len(_list(f"{where}.x", curve["x"], Real))
    if curve.get("log") and min(curve["x"], default=1) <= 0:
        raise ValueError(f"{where}.x: {min(curve['x'])} has no place on a logarithmic axis")
    for i, line in enumerate(_list(f"{where}.series", curve["series"])):
        _needs(f"{where}.series[{i}]", line, "name", "y")
        _one_of(f"{where}.series[{i}].style", line.get("style", "arm"), LineKind)
        if (line.get("low") is None) != (line.get("high") is None):
            raise ValueError(f"{where}.series[{i}] has one of 'low' and 'high'; an interval needs both")
        for key in ("y", "low", "high"):
            values = line.get(key)
            if key == "y" or values is not None:
                for j, value in enumerate(_list(f"{where}.series[{i}].{key}", values)):
                    _number(f"{where}.series[{i}].{key}[{j}]", value)
                if len(values) != num:
                    raise ValueError(f"{where}.series[{i}].{key}: expected [{num}] as x, got [{len(values)}]")


def _check_attempt(where: str, attempt: Any) -> None:
    _needs(where, attempt, "steps")
    _object(f"{where}.outcome", attempt.get("outcome"))
    _number(f"{where}.score", attempt.get("score"))
    steps = _list(f"{where}.steps", attempt["steps"])
    for j, step in enumerate(steps):
        _needs(f"{where}.steps[{j}]", step, "text")
        score, truth = step.get("score"), step.get("truth")
        _number(f"{where}.steps[{j}].score", score)
        if not absent(score) and not -1e-6 <= score <= 1 + 1e-6:
            raise ValueError(f"{where}.steps[{j}].score is {score}; a step score is a probability in [0, 1]")
        if not absent(truth) and truth not in (0, 1):
            raise ValueError(f"{where}.steps[{j}].truth is {truth!r}; allowed: 1 right, 0 wrong, null unknown")
    for key in ("first_error_truth", "first_error_predicted"):
        at = attempt.get(key)
        if at is not None and (not isinstance(at, int) or not -1 <= at < len(steps)):
            raise ValueError(f"{where}.{key} is {at!r}; allowed: null, -1 (no error), 0 to {len(steps) - 1}")


def _needs(where: str, item: Any, *keys: str) -> None:
    if not isinstance(item, Mapping):
        raise ValueError(f"{where}: expected an object with {', '.join(keys)}, got {type(item).__name__}")
    for key in keys:
        if key not in item:
            name = f" ({item['name']!r})" if "name" in item else ""
            raise ValueError(f"{where}{name} has no {key!r}; it needs {', '.join(keys)}")


def _object(where: str, item: Any) -> Any:
    if item is not None and not isinstance(item, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(item).__name__}")
    return item


def _list(where: str, items: Any, of: type | None = None) -> Sequence[Any]:
    if items is None:
        return []
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise ValueError(f"{where}: expected a list, got {type(items).__name__}")
    for i, item in enumerate(items):
        if of is not None and not isinstance(item, of):
            raise ValueError(f"{where}[{i}]: expected {of.__name__.lower()}, got {type(item).__name__}")
    return items


def _estimate(where: str, cell: Mapping[str, Any]) -> None:
    for key in ("value", "low", "high", "n"):
        _number(f"{where}.{key}", cell.get(key))


def _number(where: str, value: Any) -> None:
    if value is not None and not isinstance(value, Real):
        raise ValueError(f"{where} is {value!r}; expected a number or null")


def _one_of(where: str, value: object, allowed: object) -> None:
    if value not in get_args(allowed):
        raise ValueError(f"{where} is {value!r}; allowed: {', '.join(get_args(allowed))}")
