"""What a claim is: written before the run, judged after it by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A paper's statement at small scale. `holds_above`: the verdict is `holds` when the interval lies above it."""

    slug: str
    paper: str
    statement: str
    control: str
    metric: str
    expect: str
    seeds: tuple[int, ...]
    budget: str
    holds_above: float = 0.0

    def verdict(self, low: float, high: float) -> str:
        """`holds`, `fails` or `inconclusive`, from the interval of the paired difference."""
        if low > self.holds_above:
            return "holds"
        return "fails" if high < self.holds_above else "inconclusive"
