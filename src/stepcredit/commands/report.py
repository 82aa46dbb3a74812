"""`stepcredit report`: the page of a run, written again from its run.json."""

from __future__ import annotations

import json
from pathlib import Path


def run(run: str, *, out: str | None = None) -> None:
    """Write the report page of a run.

    Args:
        run: The run's folder, or its run.json.
        out: Where the page goes; report.html beside run.json when not given.
    """
    from stepcredit.report import write_report

    source = Path(run) / "run.json" if Path(run).is_dir() else Path(run)
    if not source.is_file():
        raise ValueError(f"{source}: no such file; a run's folder holds run.json")
    try:
        given = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source} is not a run.json: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{source} is not a run.json: it holds a {type(given).__name__}, not an object")
    target = Path(out) if out else source.with_name("report.html")
    write_report(given, target)
    print(f"wrote {target}")
