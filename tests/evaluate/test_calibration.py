import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Judgment, Outcome, Problem, Record, Step
from stepcredit.evaluate.calibration import brier, brier_skill, calibration, ece, reliability


def test_brier_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    score, label = rng.random(100), rng.integers(0, 2, 100)
    assert brier(score, label) == pytest.approx(brier_score_loss(label, score))


def test_the_base_rate_has_no_skill_and_the_truth_has_all():
    label = np.array([1, 1, 1, 0])
    assert brier_skill(np.full(4, 0.75), label) == pytest.approx(0.0)
    assert brier_skill(label, label) == 1.0
    # Brier of constant 1: 1/4; of the base rate: 3/16. 1 - 4/3
    assert brier_skill(np.ones(4), label) == pytest.approx(-1 / 3)
    assert math.isnan(brier_skill([0.5, 0.5], [1, 1]))


def test_ece_by_hand_in_both_binnings():
    score, label = [0.05, 0.15, 0.15, 0.95], [0, 0, 1, 1]
    # width 0.1: bins {.05}, {.15 .15}, {.95}: gaps .05, |.3 - 1| / 2 * 2 = .7, .05 -> (.05 + .7 + .05) / 4
    assert ece(score, label) == pytest.approx(0.2)
    # 2 mass bins split at the median .15: {.05} and {.15 .15 .95}: .05 and |1.25 - 2| = .75 -> .8 / 4
    assert ece(score, label, num_bins=2, bins="mass") == pytest.approx(0.2)
    assert ece([1.0, 0.0], [1, 0]) == 0.0


def test_equal_scores_share_a_mass_bin():
    assert [bar.num for bar in reliability([0.3] * 50, [1] * 20 + [0] * 30, bins="mass")] == [50]


def test_a_reliability_diagram_holds_every_unit_once():
    rng = np.random.default_rng(1)
    score = rng.random(500)
    bars = reliability(score, rng.integers(0, 2, 500), bins="width")
    assert sum(bar.num for bar in bars) == 500 and len(bars) == 10
    assert all(bar.low <= bar.score <= bar.high for bar in bars)
    assert [bar.num for bar in reliability(score, np.ones(500), num_bins=5, bins="mass")] == [100] * 5


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        brier([2.0], [1])
    with pytest.raises(ValueError, match="allowed: width, mass"):
        ece([0.5], [1], bins="equal")


def records():
    found = []
    for name, right in (("p", [True, False]), ("q", [True, True])):
        tree = star(Problem(name, "?"), [[Step("s")] * 2] * 2, [Outcome(float(r), r) for r in right])
        truth = Credit([math.nan, 1, 1, 1, 0], "label", [0, 1, 1, 1, 1], "recorded")
        judgments = (Judgment(0.9, [0.9, 0.8]), Judgment(0.2, [0.7, 0.1]))
        found.append(Record(tree, {"truth": truth}, judgments))
    return found


def test_steps_are_measured_against_truth_and_attempts_against_outcomes():
    rng = np.random.default_rng(0)
    steps = calibration(records(), rng=rng, num_resamples=20)
    # (.01 + .04 + .09 + .01) / 4 in both problems
    assert steps["brier"].value == pytest.approx(0.0375) and steps["brier"].n == 8
    # base 3/4: 1 - .0375 / .1875
    assert steps["brier_skill"].value == pytest.approx(0.8)
    # bins .9, .8, .7, .1 alone: gaps .1 + .2 + .3 + .1 over 4
    assert steps["ece"].value == pytest.approx(0.175)
    whole = calibration(records(), rng=rng, of="attempt", num_resamples=20)
    # .9 against 1, 1; .2 against 0, 1: (.01 + .01 + .04 + .64) / 4
    assert whole["brier"].value == pytest.approx(0.175) and whole["brier"].n == 4
    assert set(whole) == {"brier", "brier_skill", "ece", "ece_mass"}


def test_without_truth_there_is_nothing_to_measure():
    bare = [Record(record.tree, judgments=record.judgments) for record in records()]
    with pytest.raises(ValueError, match="no step has both a score and a known truth"):
        calibration(bare, rng=np.random.default_rng(0))
