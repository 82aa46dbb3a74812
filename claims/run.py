"""Run the claims of the modules named, or of all; claims/results.json keeps the others' rows; finished arms are kept."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
MODULES = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_") and path.stem != "run")
sys.path.insert(0, str(HERE))


def main(names: list[str]) -> None:
    """Measure, judge, write."""
    if unknown := sorted(set(names) - set(MODULES)):
        raise SystemExit(f"no claims {', '.join(unknown)}; there are: {', '.join(MODULES)}")
    for name in names or MODULES:
        module = importlib.import_module(name)
        for claim in module.CLAIMS:
            estimate, cost = module.measure(claim)
            verdict = claim.verdict(estimate.low, estimate.high)
            row = {
                "name": claim.slug, **asdict(estimate), "control": claim.control, "verdict": verdict, "holds_above": claim.holds_above, "paper": claim.paper,
                "seeds": list(claim.seeds), "cost": cost, "statement": claim.statement, "expect": claim.expect,
            }  # fmt: skip
            print(
                f"{claim.slug}: {verdict}  {estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]",
                flush=True,
            )
            _keep(row)


def _keep(row: dict[str, object]) -> None:
    """Put one row among those that are there, read anew: other modules may be measured at the same time."""
    path = HERE / "results.json"
    known = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else []
    rows = {one["name"]: one for one in known} | {row["name"]: row}
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps({"results": list(rows.values())}, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    main(sys.argv[1:])
