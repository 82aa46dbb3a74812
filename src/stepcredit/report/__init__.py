"""Reports: a run's results as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["write_report"]


def write_report(run: Mapping[str, Any], path: str | Path) -> None:
    """Write a run as one HTML page that asks nothing of the network and reads in light, dark, wide and narrow.

    `run` is the content of run.json: plain JSON-able data with the optional keys title, version, seed or seeds,
    config, expectation, summary, cost, results, table, curves, reliability, attempts and diagnostics. A part that
    is absent is left out; None and NaN are shown as a dash. Step scores are probabilities; positions of errors
    count from 0, and -1 says that there is no error. The same run gives the same bytes (for one matplotlib).
    The page stays under 2 MB: long steps are cut and the last attempts dropped, and the page says so.

    Raises ValueError naming the key where a part is malformed, and where a page without any attempt is still
    over 2 MB; nothing is written then. Degenerate: an empty run is a page with a title and nothing else.
    """
    from stepcredit.report._page import render  # matplotlib and jinja2 are loaded when a page is written, not before

    html = render(run)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(html)
    partial.replace(target)
