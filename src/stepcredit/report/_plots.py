"""Plots as inline SVG: pure functions from data to a string, the same bytes for the same data.

Text stays text and takes the page's font; colours are names the page defines (`--ink`, `--arm-0`, ...), so that one
drawing serves light and dark. Legends are the page's affair: `swatches` draws their keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from stepcredit.report._format import absent, number, short

# Colours drawn, and the page's names put in their place.
_INK, _MUTED, _GRID = "#010101", "#020202", "#030303"
_ARMS = tuple(f"#0400{i:02x}" for i in range(6))
_NAMES = {_INK: "ink", _MUTED: "muted", _GRID: "line", **{colour: f"arm-{i}" for i, colour in enumerate(_ARMS)}}
_MARKERS = ("o", "s", "^", "D", "v")  # five against six colours: thirty arms before a pair repeats
_RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


def curve(
    x: Sequence[float], series: Sequence[Mapping[str, Any]], *, name: str, x_label: str = "", y_label: str = "",
    joined: bool = False, log: bool = False,
) -> str:  # fmt: skip
    """Lines over x with interval bands; `name` keeps the ids of several plots on one page apart.

    Each series has `y` and optionally `low`, `high` (each [len(x)], None or NaN where never computed: the line has a
    gap there, unless `joined`: series that were measured at different x) and `style`. The axis is logarithmic with `log`, and
    where every x is a power of two or three or more x grow by one factor of 2 or more.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        position = _finite(x)
        for line, style in zip(series, _styles(series), strict=True):
            value = _finite(line["y"])
            shown = np.isfinite(value) if joined else np.ones(len(value), dtype=bool)
            axes.plot(position[shown], value[shown], **style)
            if line.get("low") is not None and line.get("high") is not None:
                low, high = _finite(line["low"])[shown], _finite(line["high"])[shown]
                alpha = 0.16 if line.get("style", "arm") == "arm" else 0.09
                axes.fill_between(position[shown], low, high, color=style["color"], alpha=alpha, linewidth=0)
        if log:
            axes.set_xscale("log")
        elif _is_geometric(position):
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator(list(position)))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: number(int(value) if value == int(value) else float(value)))
        _keep_in_unit_range(axes, series)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)

    return _svg(draw, (4.8, 3.2), name)


def reliability(bins: Sequence[Mapping[str, Any]], *, name: str) -> str:
    """Share of steps that are right against their mean score, with the diagonal, over the count in each bin.

    A bin has `low`, `high` (its edges), `mean_score`, `rate` and `n`; one without a rate leaves a gap.
    """

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        top.plot([0, 1], [0, 1], color=_MUTED, linestyle=(0, (4, 3)), linewidth=1)
        score, rate = (_finite([bin_[key] for bin_ in bins]) for key in ("mean_score", "rate"))
        top.plot(score, rate, color=_ARMS[0], marker="o")
        top.set(xlim=(0, 1), ylim=(-0.03, 1.03), ylabel="share right")
        most = max([b["n"] for b in bins if not absent(b["n"])], default=0) or 1
        for bin_ in bins:
            if absent(bin_["n"]):
                continue
            width = bin_["high"] - bin_["low"]
            bottom.bar(bin_["low"], bin_["n"], width=0.94 * width, align="edge", color=_ARMS[0], alpha=0.45)
            if len(bins) <= 10:
                centre = bin_["low"] + 0.47 * width
                bottom.text(centre, bin_["n"] + 0.06 * most, short(bin_["n"]), ha="center", fontsize=8)
        bottom.set(ylim=(0, 1.45 * most), yticks=[], xlabel="step score", ylabel="steps")
        bottom.grid(False)
        figure.align_ylabels()

    return _svg(draw, (3.9, 4.1), name)


def swatches(series: Sequence[Mapping[str, Any]], *, name: str) -> list[str]:
    """The key of each series: a short piece of its line with its marker."""

    def draw_one(style: Mapping[str, Any]) -> Callable[[Figure], None]:
        def draw(figure: Figure) -> None:
            axes = figure.add_axes((0, 0, 1, 1))
            axes.plot([0, 0.5, 1], [0, 0, 0], markevery=[1], **style)
            axes.set(xlim=(0, 1), ylim=(-1, 1))
            axes.set_axis_off()

        return draw

    styles = _styles(series)
    return [_svg(draw_one(style), (0.5, 0.16), f"{name}-key{i}", layout=None) for i, style in enumerate(styles)]


def _styles(series: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Arms in colour and solid; controls, oracles and nulls in ink or grey, broken, with open markers."""
    looks: dict[str, tuple[str, Any]] = {
        "control": (_INK, (0, (5, 2))),
        "oracle": (_INK, (0, (6, 1.5, 1, 1.5))),
        "null": (_MUTED, (0, (1, 1.6))),
    }
    seen: dict[str, int] = {}
    styles = []
    for line in series:
        kind = line.get("style", "arm")
        i = seen[kind] = seen.get(kind, -1) + 1
        marker = _MARKERS[i % len(_MARKERS)]
        if kind == "arm":
            styles.append({"color": _ARMS[i % len(_ARMS)], "linestyle": "-", "marker": marker})
        else:
            colour, dashes = looks[kind]
            styles.append({"color": colour, "linestyle": dashes, "marker": marker, "markerfacecolor": "none"})
    return styles


def _finite(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _is_geometric(position: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    if len(position) < 2 or not (position > 0).all() or not (np.diff(position) > 0).all():
        return False
    steps = np.diff(np.log2(position))
    by_one_factor = len(steps) > 1 and np.allclose(steps, steps[0]) and steps[0] >= 1
    return bool(by_one_factor or all(float(power).is_integer() for power in np.log2(position)))


def _keep_in_unit_range(axes: Any, series: Sequence[Mapping[str, Any]]) -> None:
    """Margins must not suggest shares above 1 or below 0."""
    drawn = [_finite(line[key]) for line in series for key in ("y", "low", "high") if line.get(key) is not None]
    every = np.concatenate([*drawn, np.zeros(0)])
    every = every[np.isfinite(every)]
    if every.size and every.min() >= 0 and every.max() <= 1:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.02), min(high, 1.02))


def _svg(draw: Callable[[Figure], None], inches: tuple[float, float], name: str, layout: Any = "constrained") -> str:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change the bytes
        matplotlib.rcParams.update({**_RC, "svg.hashsalt": "stepcredit"})
        figure = Figure(figsize=inches, layout=layout)
        draw(figure)
        buffer = StringIO()
        empty = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=empty)
    return _inline(buffer.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """A stand-alone SVG made fit for a page: no prologue, global style, fixed size or id shared with a sibling."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'( id="| xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in _NAMES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").strip()
