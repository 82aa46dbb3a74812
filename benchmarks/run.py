"""Time the library against its peers and write benchmarks/results.json: `make bench`, on a machine that does nothing else.

`--only b1 b7` measures these and keeps the other rows; `--quick` is a trial of the machinery with tiny models, whose
numbers mean nothing and are written to `--out` alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from _measure import Row
from _pool import Sizes

Found = tuple[list[Row], dict[str, object]]
QUICK = Sizes(problems=2, attempts=4, mean_steps=4, hidden=32, layers=1, heads=2)
TRAIN = Sizes(problems=12, hidden=256, layers=4, heads=4)
RESULTS = Path(__file__).with_name("results.json")


def benches(quick: bool, threads: int) -> dict[str, Callable[[], Found]]:
    """Each by the beginning of its rows' names; what it needs is imported when it runs."""

    def b1() -> Found:
        import b1_scoring

        return b1_scoring.run(QUICK if quick else Sizes(), 2 if quick else 5, threads)

    def b2() -> Found:
        import b2_training

        return b2_training.run(QUICK if quick else TRAIN, 2 if quick else 5, threads)

    def b3() -> Found:
        import b3_search

        return b3_search.run(QUICK if quick else Sizes(), 2 if quick else 5, threads)

    def b4() -> Found:
        import b4_rollouts

        return b4_rollouts.run(b4_rollouts.QUICK if quick else b4_rollouts.Rollouts(), 2 if quick else 5, threads)

    def b5() -> Found:
        import b5_labels

        return b5_labels.run(6, [("lucky", 4)]) if quick else b5_labels.run(100)

    def b7() -> Found:
        import b7_start

        return b7_start.run(2 if quick else 11)

    return {"b1": b1, "b2": b2, "b3": b3, "b4": b4, "b5": b5, "b7": b7}


def main(arguments: list[str] | None = None) -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(benches(True, 1))
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    if given.quick and given.out is None:
        parser.error("--quick is no measurement: name a file with --out")
    target = given.out or RESULTS
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"results": [], "about": {}}
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    for name in given.only:
        started = time.perf_counter()
        found, said = benches(given.quick, given.threads)[name]()
        seconds = round(time.perf_counter() - started)
        rows = [row for row in known["results"] if row["name"].split("_")[0] != name] + found
        known["results"] = sorted(rows, key=lambda row: row["name"].split("_")[0])
        known["about"][name] = {**said, **versions, "processor": platform.machine(), "seconds": seconds}
        target.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        for row in found:
            print(f"{row['name']}: {row['value']:.4g} [{row['low']:.4g}, {row['high']:.4g}] {row['unit']}", flush=True)
        if "omitted" in said:
            print(f"{name} is left out: {said['omitted']}", flush=True)


if __name__ == "__main__":
    main()
