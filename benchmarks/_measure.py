"""Timing in interleaved rounds, ratios with an interval over the rounds, peak memory of a process of its own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core.stats import mean
from stepcredit.core.types import Estimate

Row = dict[str, object]


def interleaved(arms: Mapping[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each arm in each round, and what it gave in the last; the arm that begins changes with the round."""
    names, seconds, gave = list(arms), {name: [] for name in arms}, {}
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            started = time.perf_counter()
            gave[name] = arms[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds, gave


def ratio(theirs: Sequence[float], ours: Sequence[float], unit: str) -> Estimate:
    """Geometric mean of theirs / ours over rounds, with the t-interval of its logarithm: above 1, ours takes less.

    >>> ratio([2.0, 8.0], [1.0, 2.0], "x").value  # 2 and 4
    2.82842712474619
    """
    logs = mean(np.log(np.asarray(theirs) / np.asarray(ours)), unit)
    return Estimate(*(float(np.exp(x)) for x in (logs.value, logs.low, logs.high)), logs.n, unit)


def exact(value: float, n: int, unit: str) -> Estimate:
    """What was counted, not sampled."""
    return Estimate(float(value), float(value), float(value), n, unit)


def row(name: str, estimate: Estimate) -> Row:
    """As in results.json."""
    return {"name": name, **dataclasses.asdict(estimate), "control": False}


def peak_megabytes(module: str, arm: str, sizes: Any, threads: int) -> float | None:
    """Memory the arm of a benchmark adds at its peak, in a process of its own; None where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(f"{module}.py"), arm, json.dumps(dataclasses.asdict(sizes)), str(threads)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])


def added_megabytes(run: Callable[[], Any]) -> float:
    """Peak resident memory during `run` above what was resident before, on Linux."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    run()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
