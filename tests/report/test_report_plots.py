"""Plots are strings that depend on their data alone."""

import re

import matplotlib
import numpy as np
import pytest

from stepcredit.report._plots import curve, reliability, swatches

SERIES = [
    {"name": "a", "y": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7]},
    {"name": "b", "y": [0.5, float("nan")], "style": "control"},
]


def test_the_same_data_give_the_same_bytes_whatever_the_user_style():
    first = curve([1, 2], SERIES, name="p")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "pink"}):
        assert curve([1, 2], SERIES, name="p") == first


def test_drawing_leaves_the_users_settings_alone():
    with matplotlib.rc_context({"font.size": 30}):
        curve([1, 2], SERIES, name="p")
        assert matplotlib.rcParams["font.size"] == 30


def test_colours_are_names_the_page_defines():
    svg = curve([1, 2], SERIES, name="p", x_label="N", y_label="$share$ <b>")
    assert "var(--arm-0)" in svg and "var(--ink)" in svg
    assert "$share$ &lt;b&gt;" in svg  # never read as mathematics or as markup
    assert svg.startswith("<svg") and "<metadata>" not in svg and "<style" not in svg


@pytest.mark.parametrize("x", [[1], [0, 100], [3, 5]])
def test_any_x_can_be_drawn(x):
    assert "<svg" in curve(x, [{"name": "a", "y": [0.5] * len(x)}], name="p")


def test_a_series_never_computed_is_drawn_as_nothing():
    assert "<svg" in curve(
        [1, 2], [{"name": "a", "y": [None, None], "low": [None, None], "high": [None, None]}], name="p"
    )


def test_empty_bins_are_counted_and_have_no_point():
    bins = [
        {"low": 0.0, "high": 0.5, "mean_score": 0.2, "rate": 0.3, "n": 1200},
        {"low": 0.5, "high": 1.0, "mean_score": None, "rate": None, "n": 0},
    ]
    svg = reliability(bins, name="r")
    assert ">1.20k<" in svg and ">0<" in svg
    empty = [{**bin_, "mean_score": None, "rate": None, "n": 0} for bin_ in bins]
    assert "<svg" in reliability(empty, name="r")


def test_thirty_arms_have_thirty_keys():
    keys = swatches([{"name": str(i), "y": []} for i in range(30)], name="k")
    looks = {key.replace(f"k-key{i}-", "") for i, key in enumerate(keys)}
    assert len(keys) == len(looks) == 30


# By their logarithms: one factor twice; 2 and 3 powers of two. Others by what they are: 10 and 70 apart.
@pytest.mark.parametrize(("x", "ratio"), [([800, 6400, 51200], 1.0), ([1, 4, 32], 1.5), ([10, 20, 90], 7.0)])
def test_numbers_that_grow_by_one_factor_stand_at_equal_distances(x, ratio):
    svg = curve(x, [{"name": "a", "y": [0.2, 0.4, 0.6]}], name="p")
    paths = [re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path) for path in re.findall(r'd="([^"]*)"', svg)]
    points = [np.array(path, dtype=float) for path in paths if len(path) == 3]
    (line,) = [one for one in points if (np.diff(one[:, 0]) > 0).all() and (np.diff(one[:, 1]) < 0).all()]
    first, second = np.diff(line[:, 0])
    assert second == pytest.approx(ratio * first, rel=0.01)


def test_a_joined_line_goes_over_what_was_measured_elsewhere():
    # 10, 20 and 100 at one height: apart there is a point each, joined one stroke of two points.
    series = [{"name": "a", "y": [0.25, None, 0.25]}]
    strokes = [
        len(re.findall(r"L ", path)) for path in re.findall(r'd="([^"]*)"', curve([10, 20, 100], series, name="p"))
    ]
    joined = curve([10, 20, 100], series, name="p", joined=True)
    assert [len(re.findall(r"L ", path)) for path in re.findall(r'd="([^"]*)"', joined)].count(1) == strokes.count(
        1
    ) + 1
