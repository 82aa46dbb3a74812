"""How near success rates of starts come to what the policy can really do, against what the length of the rest says alone.

    error = measured - true over starts k = 0..S-1;   binomial: sqrt of the mean of V (1 - V) / K
    covered: share of starts whose Wilson interval holds the true value
    length: the mean rate of the other demonstrations' starts with as many steps to go;   constant: of all their starts
    half of the starts: twice the continuations behind a random half of them, the others' values on a line between

Where the true values are themselves rates of R rollouts, their own variance V (1 - V) / R is taken off the squared error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.stats import rate
from stepcredit.core.types import Estimate, Floats

NAN = float("nan")


def point(value: float, num: int, unit: str) -> Estimate:
    """A number of one seed, whose interval comes from the others."""
    return Estimate(float(value), NAN, NAN, num, unit)


def accuracy(found: Sequence[Floats], true: Sequence[Floats], num_reference: int = 0) -> dict[str, Estimate]:
    """Root mean squared error and bias of [S] values (longer ones are cut), demonstration by demonstration.

    `num_reference`: rollouts behind each true value, 0 where it is exact. A start without a value is left out;
    nothing where none has one.
    """
    error, truth = _gaps(found, true)
    if not error.size:
        return {}
    noise = float(np.mean(truth * (1 - truth)) / (num_reference - 1)) if num_reference > 1 else 0.0
    squared = max(float(np.mean(error**2)) - noise, 0.0)
    return {
        "value error": point(np.sqrt(squared), error.size, "root mean squared error of a start's value"),
        "bias": point(float(np.mean(error)), error.size, "mean error of a start's value"),
    }


def against_binomial(found: Sequence[Floats], counts: Sequence[Floats], true: Sequence[Floats],
                     num_reference: int = 0) -> dict[str, Estimate]:  # fmt: skip
    """Error over that of unbiased independent continuations, and, where the true values are exact, coverage."""
    truth, num = np.concatenate(list(true)), np.concatenate(list(counts))
    known = num > 0
    if not known.any() or not np.isfinite(truth).all():
        return {}
    spread = truth * (1 - truth) * (num_reference / (num_reference - 1) if num_reference > 1 else 1.0)
    due = float(np.sqrt(np.mean(spread[known] / num[known])))
    error = accuracy(found, true, num_reference)["value error"]
    told = {"error over binomial": point(error.value / due if due else NAN, error.n, "ratio")}
    if not num_reference:
        given = np.concatenate([value_S[: len(own_S)] for value_S, own_S in zip(found, true, strict=True)])
        spans = [
            rate(round(v * n), int(n), "share") for v, n in zip(given[known].tolist(), num[known].tolist(), strict=True)
        ]
        inside = [span.low <= v <= span.high for span, v in zip(spans, truth[known].tolist(), strict=True)]
        told["covered"] = point(float(np.mean(inside)), len(inside), "share of 95 % intervals that hold the value")
    return told


def by_length(found: Sequence[Floats]) -> list[Floats]:
    """Each demonstration's starts valued by the others' with as many steps to go (by all the others', where none has), [S]."""
    return [_others(found, own, by_rest=True) for own in range(len(found))]


def constant(found: Sequence[Floats]) -> list[Floats]:
    """Each demonstration's starts valued by the mean of all the others', [S]."""
    return [_others(found, own, by_rest=False) for own in range(len(found))]


def half_of_starts(few: Sequence[Floats], twice: Sequence[Floats], draw: Rng) -> list[Floats]:
    """Values with twice the continuations at a random half of the starts, on a line between these and the end, [S].

    `few` only says how many starts there are; a start without a value is none to draw a line through.
    Of S starts ceil(S / 2) are taken, while `_r3_arms` charges S / 2: the arm's cost is stated too low, by 1 / S where S is
    odd. Over S = 6..12 alike that is 5 % (33 starts for 31.5); over S = 3..6, as for the network, 11 % (10 for 9).
    """
    out = []
    for value_S, more_S in zip(few, twice, strict=True):
        num = len(value_S) - 1
        chosen = np.sort(draw.choice(num, size=-(-num // 2), replace=False))
        chosen = np.append(chosen[np.isfinite(more_S[chosen])], num)
        out.append(np.interp(np.arange(num), chosen, more_S[chosen]))
    return out


def _others(found: Sequence[Floats], own: int, *, by_rest: bool) -> Floats:
    """Values of [S + 1] arrays whose last is the end's."""
    rest_of: dict[int, list[float]] = {}
    for index, value_S in enumerate(found):
        if index != own:
            for k, value in enumerate(value_S[:-1].tolist()):
                if np.isfinite(value):
                    rest_of.setdefault(len(value_S) - 1 - k if by_rest else 0, []).append(value)
    every = [value for values in rest_of.values() for value in values]
    overall = float(np.mean(every)) if every else NAN
    num = len(found[own]) - 1
    return np.array([np.mean(rest_of.get(num - k if by_rest else 0, [overall])) for k in range(num)])


def _gaps(found: Sequence[Floats], true: Sequence[Floats]) -> tuple[Floats, Floats]:
    pairs = [(value_S[: len(own_S)], own_S) for value_S, own_S in zip(found, true, strict=True)]
    value, truth = (np.concatenate(side) for side in zip(*pairs, strict=True))
    known = np.isfinite(value) & np.isfinite(truth)
    return value[known] - truth[known], truth[known]
