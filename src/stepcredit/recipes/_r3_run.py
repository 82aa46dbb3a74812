"""The run of `recipes/r3` as a report shows it: one table of all worlds and arms, sentences on its four questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepcredit import __version__
from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate
from stepcredit.recipes._arms import ArmResult, combined, result_rows, table
from stepcredit.recipes._r3_arms import ADAPTIVE, LENGTH, kind_of
from stepcredit.recipes._r3_cell import READ

COLUMNS = (
    "value error", "bias", "error over binomial", "covered", "errors found", "most frequent", "wrong facts", "largest part",
    "border right", "tokens at 0.8", "tokens at 0.9", "tokens at 0.95", "given", "start value", "a fall",
    "fall at a wrong step", "rise at a wrong step", "wrong steps", "lucky share",
)  # fmt: skip
Found = Mapping[str, Mapping[str, Sequence[ArmResult]]]


def run_of(
    found: Found, seeds: Sequence[int], *, expectation: str, config: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """The run dict (schema: `report.write_report`) from every world's arms, one result a seed."""
    rows = {f"{world}: {arm}": of for world, arms in found.items() for arm, of in arms.items()}
    kinds = {f"{world}: {arm}": kind_of(arm) for world, arms in found.items() for arm in arms}
    return {
        "title": "R3, its values: which steps of a demonstration are hard, and how much of one must be given",
        "version": __version__, "seeds": list(seeds), "config": dict(config), "expectation": expectation,
        "summary": [line for world, arms in found.items() for line in _told(world, arms)],
        "table": table(rows, kinds, COLUMNS), "results": [*result_rows(rows, kinds, COLUMNS), *_gaps(found)],
        "curves": {"value error by continuations a start": _curve(found)},
        "attempts": [one for arms in found.values() for of in arms.values() for one in of[0].attempts],
        "diagnostics": [
            {"arm": name, "lines": of[0].lines, "warnings": []} for name, of in rows.items() if of[0].lines
        ],
        "cost": {"seconds": seconds},
    }  # fmt: skip


def gap(arms: Mapping[str, Sequence[ArmResult]], first: str, second: str, column: str, times: float = 1.0) -> Estimate:
    """A column of the first arm minus so many times the second's, paired by seed; NaN where a seed lacks either."""
    nan = Estimate(float("nan"), float("nan"), float("nan"), 0, "")
    pairs = zip(arms[first], arms[second], strict=True)
    return over_seeds(
        [a.estimates.get(column, nan).value - times * b.estimates.get(column, nan).value for a, b in pairs], column
    )


def _gaps(found: Found) -> list[dict[str, Any]]:
    """The comparisons that the sentences make, with intervals over seeds."""
    rows = []
    for world, arms in found.items():
        for first, second, column in (
            (LENGTH, _declared(arms), "value error"),
            (_declared(arms), "null: any step", "errors found"),
            ("border: everywhere", ADAPTIVE, "tokens at 0.9"),
            ("sound demonstrations", "lucky demonstrations", "start value"),
        ):
            if first in arms and second in arms:
                told = gap(arms, first, second, column)
                rows.append({
                    "name": f"{world}: {first} minus {second}, {column}", "value": told.value, "low": told.low,
                    "high": told.high, "n": told.n, "unit": f"difference in {column}", "control": False,
                })  # fmt: skip
    return rows


def _declared(arms: Mapping[str, Any]) -> str:
    """The arm with eight continuations a start, or the most there are."""
    plain = [name for name in arms if name.startswith("r3, ") and name.endswith("a start")]
    return "r3, 8 a start" if "r3, 8 a start" in plain else plain[-1]


def _told(world: str, arms: Mapping[str, Sequence[ArmResult]]) -> list[str]:
    own = _declared(arms)

    def number(arm: str, column: str, digits: int = 3) -> str:
        cell = combined(arms[arm], column) if arm in arms else None
        return "none" if cell is None else f"{cell.value:.{digits}f}"

    others = [name.removeprefix("border: ") for name in arms if name.startswith("border: ") and "/" not in name]
    tokens = ", ".join(f"{name} {number(f'border: {name}', 'tokens at 0.9', 1)}" for name in others)
    lines = [
        f"{world}, values: {own}, error {number(own, 'value error')} ({number(own, 'error over binomial', 2)} of the binomial); "
        f"length of the rest {number(LENGTH, 'value error')}.",
        f"{world}, steps: the largest rise holds {number(own, 'errors found')} of first errors, any step "
        f"{number('null: any step', 'errors found')}, labels of other attempts "
        f"{number('labels of other attempts', 'errors found')}.",
        f"{world}, borders: tokens a demonstration to be right .9 of the time: {tokens}.",
    ]
    if "lucky demonstrations" in arms:
        lines.append(
            f"{world}, luck: {number('sound demonstrations', 'lucky share', 2)} of the demonstrations are right with a wrong step. Their "
            f"starts are worth {number('lucky demonstrations', 'start value')}, those of sound ones "
            f"{number('sound demonstrations', 'start value')}; the largest rise is at a wrong step in "
            f"{number('lucky demonstrations', 'rise at a wrong step', 2)} of them, a fall betrays one in "
            f"{number('lucky demonstrations', 'fall at a wrong step', 2)}."
        )
    return lines


def _curve(found: Found) -> dict[str, Any]:
    """Only what every world has."""
    numbers = [num for num in READ if all(f"r3, {num} a start" in arms for arms in found.values())]
    series = []
    for world, arms in found.items():
        cells = [combined(arms[f"r3, {num} a start"], "value error") for num in numbers]
        series.append({"name": world, "style": "arm", "y": [cell.value for cell in cells if cell is not None]})
    return {"x": numbers, "x_label": "continuations a start", "series": series}
