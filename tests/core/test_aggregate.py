import math

import numpy as np
import pytest

from stepcredit.core.aggregate import aggregate, attempt_score, vote
from stepcredit.core.types import Judgment, Outcome


@pytest.mark.parametrize(
    ("how", "expected"),
    # 0.8 * 0.5 * 0.2 = 0.08; its cube root 0.430887; mean 1.5 / 3
    [("min", 0.2), ("last", 0.5), ("product", 0.08), ("mean", 0.5), ("geometric_mean", 0.08 ** (1 / 3))],
)
def test_each_aggregation_has_its_closed_form(how, expected):
    assert aggregate([0.8, 0.2, 0.5], how) == pytest.approx(expected)


@pytest.mark.parametrize("how", ["min", "product", "geometric_mean"])
def test_a_score_of_exactly_zero_is_not_dropped(how):
    # Peers' read-out `sample[sample != 0]` loses the most wrong step and shifts the others.
    assert aggregate([0.9, 0.0, 0.9], how) == 0.0
    assert aggregate(np.array([0.5, 0.0], dtype=np.float16), "mean") == 0.25
    assert aggregate([0.9, 0.0], "last") == 0.0


@pytest.mark.parametrize("how", ["min", "last", "product", "mean", "geometric_mean"])
def test_no_step_and_an_unscored_step_have_no_aggregate(how):
    assert math.isnan(aggregate([], how))
    assert math.isnan(aggregate([math.nan, 0.5], how))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="'max'; allowed: min, last"):
        aggregate([0.5], "max")
    with pytest.raises(ValueError, match="expected \\[S\\]"):
        aggregate([[0.5]])
    with pytest.raises(ValueError, match="not negative"):
        aggregate([-1.0, 0.5], "product")
    with pytest.raises(ValueError, match="allowed: judge, min"):
        attempt_score(Judgment(0.5, [0.5]), "best")


def test_an_abstained_judgment_has_no_score():
    abstained = Judgment(math.nan, [0.5], status="abstained")
    assert math.isnan(attempt_score(abstained)) and math.isnan(attempt_score(abstained, "min"))


def test_votes_read_the_text_of_the_answer_and_never_its_correctness():
    assert vote(Outcome(1.0, True, answer=" A  b ")) == vote(Outcome(0.0, False, answer="a B")) == "a b"
    assert vote(None) is None
    assert vote(Outcome(0.0, False, answer="  ")) is None
    assert vote(Outcome(status="truncated", answer="7")) is None
