"""B7: what it costs to have: seconds to start, megabytes to install.

The size is that of the files of stepcredit and of all it requires, as the package metadata lists them in the environment
that runs; `own` is stepcredit alone. No rival here: the number is for the reader.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _measure import Row, exact, row

from stepcredit.core.types import Estimate


def seconds(command: list[str], repeats: int) -> Estimate:
    """Wall seconds of a fresh process; median, with the range of the repeats as interval."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return Estimate(float(np.median(taken)), min(taken), max(taken), repeats, "seconds")


def required(name: str) -> set[str]:
    """A distribution and all it requires here, without extras."""
    found: set[str] = set()
    todo = [name]
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system, or another Python
        found.add(name)
        todo += [re.match(r"[\w.-]+", need)[0] for need in needs if "extra ==" not in need]  # type: ignore[index]
    return found


def megabytes(name: str) -> float:
    """Size of a distribution's files; stepcredit's own sources, which may be installed in place."""
    if name == "stepcredit":
        files = list((Path(__file__).resolve().parents[1] / "src" / "stepcredit").rglob("*.*"))
    else:
        files = [Path(str(each.locate())) for each in importlib.metadata.files(name) or []]
    return sum(each.stat().st_size for each in files if each.is_file() and each.suffix != ".pyc") / 1e6


def run(repeats: int) -> tuple[list[Row], dict[str, object]]:
    """The rows, and what they rest on."""
    sizes = {name: megabytes(name) for name in required("stepcredit")}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    rows = [
        row("b7_help_seconds", seconds(["-m", "stepcredit.cli", "--help"], repeats)),
        row("b7_import_seconds", seconds(["-c", "import stepcredit"], repeats)),
        row("b7_install_megabytes", exact(sum(sizes.values()), len(sizes), "MB, with all requirements")),
        row("b7_own_megabytes", exact(sizes["stepcredit"], 1, "MB")),
    ]
    return rows, {"largest_requirements": {name: round(sizes[name]) for name in largest}}
