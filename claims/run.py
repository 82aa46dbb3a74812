"""Run the claims of the modules named, or of all; claims/results.json keeps the others' rows; finished arms are kept."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
MODULES = ("alphallm", "judge_search", "outcome_prm", "r3", "rollout_labels", "scaling", "sprm")
sys.path.insert(0, str(HERE))


def main(names: list[str]) -> None:
    """Measure, judge, write."""
    if unknown := sorted(set(names) - set(MODULES)):
        raise SystemExit(f"no claims {', '.join(unknown)}; there are: {', '.join(MODULES)}")
    path = HERE / "results.json"
    known = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else []
    rows = {row["name"]: row for row in known}
    for name in names or MODULES:
        module = importlib.import_module(name)
        for claim in module.CLAIMS:
            estimate, cost = module.measure(claim)
            verdict = claim.verdict(estimate.low, estimate.high)
            rows[claim.slug] = {
                "name": claim.slug, **asdict(estimate), "control": claim.control, "verdict": verdict, "holds_above": claim.holds_above, "paper": claim.paper,
                "seeds": list(claim.seeds), "cost": cost, "statement": claim.statement, "expect": claim.expect,
            }  # fmt: skip
            print(
                f"{claim.slug}: {verdict}  {estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]",
                flush=True,
            )
            path.write_text(json.dumps({"results": list(rows.values())}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
