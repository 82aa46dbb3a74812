"""Run every claim and write claims/results.json; finished arms are kept, so an interrupted run continues."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from outcome_prm import CLAIMS, measure  # noqa: E402


def main() -> None:
    """Measure, judge, write."""
    rows = []
    for claim in CLAIMS:
        estimate, cost = measure(claim)
        rows.append({
            "name": claim.slug, **asdict(estimate), "control": claim.control, "verdict": claim.verdict(estimate.low, estimate.high),
            "paper": claim.paper, "seeds": list(claim.seeds), "cost": cost, "statement": claim.statement, "expect": claim.expect,
        })  # fmt: skip
        print(f"{claim.slug}: {rows[-1]['verdict']}  {estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]")
    (HERE / "results.json").write_text(json.dumps({"results": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
