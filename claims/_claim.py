"""What a claim is: written before the run, judged after it by a stated rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepcredit.core.types import Estimate
    from stepcredit.recipes._arms import ArmResult


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


def minus(found: Mapping[str, Sequence[ArmResult]], first: str, second: str, metric: str, where: str = "") -> tuple[Estimate, dict[str, float]]:  # fmt: skip
    """First arm minus second, paired by seed, with a t-interval over seeds; and the mean cost of the first."""
    from stepcredit.recipes._rl import mean_cost, paired

    return paired(found[first], found[second], metric, f"{metric}, {first} minus {second}{where}"), mean_cost(
        found[first]
    )
