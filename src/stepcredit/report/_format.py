"""How a number is written on a page: one rule for every number, a dash for what was never computed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

DASH = "–"


def absent(value: Any) -> bool:
    """True for None and NaN.

    >>> absent(None), absent(float("nan")), absent(0.0)
    (True, True, False)
    """
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: Any) -> str:
    """A number with three decimals, or none from 1000 up; whole numbers whole; a dash where it is absent.

    >>> number(0.79149), number(12), number(48213.4), number(3e-7), number(None), number(float("nan"))
    ('0.791', '12', '48,213', '3.0e-07', '–', '–')
    """
    if absent(value):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return _with_style(float(value), _style([float(value)]))


def estimate(cell: Mapping[str, Any] | None) -> str:
    """A value with its interval, all three with the decimals of the largest.

    >>> estimate({"value": 0.791, "low": 0.772, "high": 0.81, "n": 500})
    '0.791 [0.772, 0.810]'
    >>> estimate({"value": 0.5}), estimate({"value": None, "low": 0.1, "high": 0.2}), estimate(None)
    ('0.500', '–', '–')
    >>> estimate({"value": -6e-18, "low": 0.0, "high": 3e-17})
    '0.000 [0.000, 0.000]'
    """
    if cell is None or absent(cell.get("value")):
        return DASH
    bounds: list[Any] = [cell.get("low"), cell.get("high")]
    bounds = [bound if absent(bound) else _snapped(float(bound)) for bound in bounds]
    known = [bound for bound in bounds if not absent(bound)]
    centre = _snapped(float(cell["value"]))
    style = _style([centre, *known])
    value = _with_style(centre, style)
    if not known:
        return value
    low, high = (DASH if absent(bound) else _with_style(bound, style) for bound in bounds)
    return f"{value} [{low}, {high}]"


def _snapped(value: float) -> float:
    """Residue of sums that cancel exactly is zero: 1e-17 of an accuracy is no difference."""
    return 0.0 if abs(value) < 1e-12 else value


def short(value: Any) -> str:
    """A cost or a count in at most three digits and a letter.

    >>> short(950), short(12_345_678), short(48_000), short(999_960), short(215.31), short(0.25), short(None)
    ('950', '12.3M', '48.0k', '1.00M', '215', '0.25', '–')
    """
    if absent(value):
        return DASH
    size = float(value)
    for limit, unit, letter in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (999.5, 1e3, "k")):
        if abs(size) >= limit:
            scaled = size / unit
            return f"{scaled:.{2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0}f}{letter}"
    if size == int(size):
        return str(int(size))
    return f"{size:.2f}" if abs(size) < 10 else f"{size:.0f}"


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores, dots and slashes, escaped.

    >>> breakable("a_b<c")
    Markup('a_<wbr>b&lt;c')
    """
    pieces = re.split(r"(?<=[_./])", str(name))
    return Markup("<wbr>").join(escape(piece) for piece in pieces if piece)


def _style(values: list[float]) -> str:
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if 0 < largest < 0.0005:
        return ".1e"  # three decimals would write 0.000 for something that is not zero
    return ",.0f" if largest >= 1000 else ",.1f" if largest >= 100 else ".3f"


def _with_style(value: float, style: str) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return format(value + 0.0 if value else 0.0, style)
