"""First mistakes by what becomes of prefixes: the slip is blamed, not the later line that shows it."""

import numpy as np
import pytest

from stepcredit.core.tree import star
from stepcredit.core.types import Outcome, Problem, Record, Step
from stepcredit.recipes._mistakes_judge import fit_lines, lines
from stepcredit.recipes._mistakes_prefixes import (
    SHARE,
    fit_prefixes,
    log_keeps,
    luck,
    prefix_likelihood,
    prefixes,
    sound_rate,
)


def attempt(texts, right, number=0):
    outcome = None if right is None else Outcome(float(right), bool(right))
    return Record(star(Problem(f"p{number}", "?"), [[Step(text) for text in texts]], [outcome]))


def shown_slips(num, seed):
    """A slip is shown by a later line seven times in ten, and is then never right; where it is not, it recovered."""
    draw, found = np.random.default_rng(seed), []
    for number in range(num):
        texts = [f"step {word}" for word in draw.choice(["a", "b", "c", "d"], size=6)]
        right = True
        if draw.random() < 0.5:
            place = int(draw.integers(4))
            texts[place] = "slip x"
            if draw.random() < 0.7:
                texts[int(draw.integers(place + 1, 6))], right = "shown y", False
        found.append(attempt(texts, right, number))
    return found


def first_called(judge, record):
    bad = np.flatnonzero(judge([record])[0].step_scores_S < 0.5)
    return int(bad[0]) if bad.size else -1


def test_prefixes_blame_the_slip_where_whole_attempts_blame_the_line_that_shows_it():
    records = shown_slips(1500, seed=0)
    texts = ["step a", "slip x", "step b", "shown y", "step c", "step d"]
    whole = fit_lines(records, taught="outcomes", fp=0.01, longest=1)
    by_prefix = fit_prefixes(records, longest=1)
    assert first_called(whole, attempt(texts, False)) == 3
    assert first_called(by_prefix, attempt(texts, False)) == 1
    assert first_called(by_prefix, attempt([f"step {word}" for word in "abcdab"], True)) == -1


def test_the_gradient_is_that_of_the_likelihood():
    records = [attempt(["a", "b\nc", "a"], True, 0), attempt(["c", "a"], False, 1), attempt(["b"], False, 2)]
    given = lines(records)
    own = prefixes(records, given)
    logit_V, sound_S = np.array([0.4, -0.3, 1.1]), np.array([0.6, 0.7, 1 - 1e-6, 0.6, 1 - 1e-6, 1 - 1e-6])
    like = prefix_likelihood(given, own, sound_S, 0.2)
    _, slope_V = like(logit_V)
    for place in range(3):
        step_V = np.eye(3)[place] * 1e-6
        assert slope_V[place] == pytest.approx((like(logit_V + step_V)[0] - like(logit_V - step_V)[0]) / 2e-6, rel=1e-5)


def test_a_prefix_holds_the_lines_of_its_steps():
    records = [attempt(["a", "b\nc"], True, 0), attempt(["c"], False, 1)]
    given = lines(records)
    own = prefixes(records, given)
    keep_V = np.array([0.9, 0.5, 0.2])  # a, b, c
    q_S = np.exp(log_keeps(np.log(keep_V / (1 - keep_V)), given, own))
    np.testing.assert_allclose(q_S, [0.9, 0.9 * 0.5 * 0.2, 0.2])
    np.testing.assert_array_equal(own.outcome_S, [1, 1, 0])
    np.testing.assert_array_equal(own.weight_S, [0.5, 0.5, 1])
    np.testing.assert_array_equal(own.tenth_S, [4, 9, 9])  # 1/2 is the end of the fifth tenth
    np.testing.assert_array_equal(own.last_S, [False, True, True])


def test_a_sound_prefix_ends_right_as_often_as_sound_ones_do():
    records = [attempt(["a", "a"], True, 0), attempt(["a", "b"], False, 1), attempt(["b", "a"], False, 2)]
    own = prefixes(records, lines(records))
    q_S = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])  # two sound at their first step, one of them right
    np.testing.assert_allclose(sound_rate(q_S, own, 0.1), [0.5, 1, 0.5, 1, 0.5, 1], atol=1e-5)


def test_luck_is_a_share_of_the_right_attempts_that_have_an_outcome():
    records = [attempt(["a"], right, number) for number, right in enumerate([True, True, False, False, None])]
    assert luck(records) == SHARE * 0.5
    with pytest.raises(ValueError, match="none of 1 attempts"):
        luck(records[-1:])
