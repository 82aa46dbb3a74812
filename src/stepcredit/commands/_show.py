"""What a command says while it works and when it is done: progress on a terminal, tables, run.json and its page."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from stepcredit.core.types import Estimate

T = TypeVar("T")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table; where stdout is no terminal it is as wide as it needs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 400).print(made)


def progress(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items, with a progress bar on stderr where that is a terminal."""
    with bar(label, total) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def bar(label: str, total: int | None = None) -> Iterator[Any]:
    """A progress bar on stderr, moved on by calling what is given; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda advance: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    columns += [TimeRemainingColumn()] if total else []
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=total)
        yield lambda advance: shown.advance(task, advance)


def interval(cell: Estimate | Mapping[str, Any] | None) -> str:
    """A value [low, high] with three digits; a dash for what was never computed.

    >>> interval(Estimate(0.5, -1e-9, 0.75, 10, "accuracy")), interval(None)
    ('0.500 [0.000, 0.750]', '–')
    """
    if cell is None:
        return "–"
    value, low, high = (
        (cell.value, cell.low, cell.high)
        if isinstance(cell, Estimate)
        else (cell.get(key) for key in ("value", "low", "high"))
    )
    if value is None or math.isnan(value):
        return "–"
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return _digits(value)
    return f"{_digits(value)} [{_digits(low)}, {_digits(high)}]"


def _digits(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # + 0.0: never -0.000


def run_table(run: Mapping[str, Any]) -> None:
    """Print the table of a run: arms, controls, nulls and oracle by the columns of the page."""
    if not run.get("table"):
        return
    columns, rows = run["table"]["columns"], run["table"]["rows"]
    lines = [[row["arm"], row["kind"], *(interval(row["cells"].get(column)) for column in columns)] for row in rows]
    table(["arm", "kind", *columns], lines, str(run.get("title") or ""))


def save_run(run: Mapping[str, Any], folder: str | Path) -> Path:
    """Write run.json and report.html, each appearing whole or not at all; the page first, since it checks the run."""
    from stepcredit.report import write_report

    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target} is a file; a run needs a folder")
    target.mkdir(parents=True, exist_ok=True)
    plain = _plain(run)
    write_report(plain, target / "report.html")
    partial = target / ".run.json.partial"
    partial.write_text(json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, target / "run.json")
    return target


def _plain(value: Any) -> Any:
    """JSON has no NaN: what was never computed is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
