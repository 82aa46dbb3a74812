"""Measure start-up and write benchmarks/results.json."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

REPEATS = 11


def help_seconds() -> dict[str, object]:
    """B7: wall seconds of `stepcredit --help` in a fresh process; median, with the range of the repeats as interval."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "stepcredit.cli", "--help"], check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return {"name": "b7_help_seconds", "value": float(np.median(taken)), "low": min(taken), "high": max(taken),
            "n": REPEATS, "unit": "seconds", "control": False}  # fmt: skip


def main() -> None:
    """Run and write."""
    rows = [help_seconds()]
    target = Path(__file__).parent / "results.json"
    target.write_text(json.dumps({"results": rows}, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['name']}: {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] {row['unit']}")


if __name__ == "__main__":
    main()
