"""What the run of `recipes/r3_rl` says in words: how cost grows with length, and each arm beside the mix at the longest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate
from stepcredit.recipes._arms import ArmResult, combined
from stepcredit.recipes._r3_rl_study import TARGETS, log_slope
from stepcredit.recipes._rl import paired

Found = Mapping[str, Sequence[ArmResult]]


def slopes(found: Found, arm: str, lengths: Sequence[int], target: float) -> list[float]:
    """Doublings of the tokens to a target for each further line, one a seed."""
    rows = [found[f"{arm} ({length})"] for length in lengths]
    return [
        log_slope(lengths, [one.estimates[f"tokens to {target}"].value for one in of]) for of in zip(*rows, strict=True)
    ]


def growth(found: Found, lengths: Sequence[int], target: float) -> Estimate:
    """Slope of scratch minus that of the mix, paired by seed. What never arrives counts as the budget: a lower bound for it."""
    first, second = (slopes(found, arm, lengths, target) for arm in ("scratch", "mix"))
    return over_seeds([a - b for a, b in zip(first, second, strict=True)], "doublings of tokens a line, difference")


def summary_of(found: Found, lengths: Sequence[int]) -> list[str]:
    """Sentences for the page."""
    lines = []
    for target in TARGETS:
        told = "; ".join(f"{arm} {np.mean(slopes(found, arm, lengths, target)):.2f}" for arm in ("scratch", "mix"))
        lines.append(
            f"Doublings of the generated tokens to a success of {target} for each line more (never: the budget): {told}."
        )
    for length in lengths:
        each = [f"{arm} {value.value:.3f}" for arm in ("start", "scratch", "mix")
                if (value := combined(found[f"{arm} ({length})"], "success")) is not None]  # fmt: skip
        lines.append(f"Success from the prompt at {length} lines: {', '.join(each)}.")
    longest = max(lengths)
    mix = found[f"mix ({longest})"]
    if len(mix) > 1:
        for name, of in found.items():
            if name.endswith(f"({longest})") and of is not mix:
                gap = paired(mix, of, "success", "difference")
                lines.append(f"Mix minus {name}: {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}].")
    return lines
