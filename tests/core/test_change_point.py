"""Where an attempt breaks: the posterior by hand and by enumeration, gains by their definition, priors."""

import numpy as np
import pytest

from stepcredit.core.change_point import Beliefs, first_error_prior, posterior, posterior_and_gains, success_rates

SURE = 10**6  # so many attempts that r is known


def test_posterior_by_hand():
    # r = 1/2, three steps, uniform prior; behind step 1 two failures: e = 0, 1 give 1, e = 2 gives 1/4.
    beliefs = Beliefs((1.0, 1.0, 1.0), SURE, SURE)
    assert posterior([0, 0, 0], [0, 2, 0], beliefs) == pytest.approx([4 / 9, 4 / 9, 1 / 9], rel=1e-3)
    # One success proves step 1 sound: only e = 2 is left.
    assert posterior([0, 1, 0], [0, 3, 0], beliefs).tolist() == [0, 0, 1]


def test_no_rollouts_give_the_prior_and_the_last_steps_counts_are_not_read():
    beliefs = Beliefs((0.2, 0.3, 0.5), 3, 5)
    assert posterior([0, 0, 0], [0, 0, 0], beliefs) == pytest.approx([0.2, 0.3, 0.5])
    assert posterior([0, 0, 2], [0, 0, 9], beliefs) == pytest.approx([0.2, 0.3, 0.5])
    assert posterior([0], [0], Beliefs((1.0,), 1, 1)).tolist() == [1.0]


def test_the_rates_are_those_of_the_two_state_chain():
    keep, fix, num = 0.9, 0.05, 6
    sound, broken = [1.0], [0.0]
    for _ in range(num):
        sound.append(keep * sound[-1] + (1 - keep) * broken[-1])
        broken.append(fix * sound[-2] + (1 - fix) * broken[-1])
    root_G, sound_GS, broken_GS = success_rates(num, fix, 0.0, "chain")
    for step in range(num):
        assert np.interp(sound[num], root_G, sound_GS[:, step]) == pytest.approx(sound[num - 1 - step], abs=2e-3)
        assert np.interp(sound[num], root_G, broken_GS[:, step]) == pytest.approx(broken[num - 1 - step], abs=2e-3)
    flat = success_rates(num, fix, 0.0, "flat")
    assert np.array_equal(flat[1], np.repeat(root_G[:, None], num, axis=1)) and np.array_equal(flat[2], broken_GS)


def test_luck_lifts_every_rate():
    for clean, lucky in zip(success_rates(4, 0.0, 0.0, "chain"), success_rates(4, 0.0, 0.2, "chain"), strict=True):
        assert lucky == pytest.approx(0.2 + 0.8 * clean)


def test_a_gain_is_the_expected_fall_of_entropy():
    """I(outcome; e) = H(posterior now) - E H(posterior after one more rollout)."""

    def entropy(p):
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    hit, num = np.array([1.0, 0, 0, 0, 0]), np.array([1.0, 2, 0, 1, 0])
    for knobs in ({}, {"recovery": 0.1, "profile": "chain"}, {"luck": 0.1}):
        beliefs = Beliefs(first_error_prior(5), 5, 4, **knobs)
        place, gain = posterior_and_gains(hit, num, beliefs)
        assert place == pytest.approx(posterior(hit, num, beliefs))
        for step in range(4):
            one = np.eye(5)[step]
            right, wrong = posterior(hit + one, num + one, beliefs), posterior(hit, num + one, beliefs)
            # now = p * right + (1 - p) * wrong at every place: p from the place where they differ most.
            at = int(np.argmax(np.abs(right - wrong)))
            p = (place[at] - wrong[at]) / (right[at] - wrong[at])
            assert gain[step] == pytest.approx(entropy(place) - p * entropy(right) - (1 - p) * entropy(wrong), abs=1e-6)
        assert gain[4] == 0


def test_a_judge_gives_the_prior_and_doubt_its_floor():
    # Scores fall by .1, .6, 0 (a rise is no fall): over .7, with doubt .1 over three steps.
    assert first_error_prior(3, [0.9, 0.3, 0.5]) == pytest.approx([0.9 / 7 + 0.1 / 3, 5.4 / 7 + 0.1 / 3, 0.1 / 3])
    for nothing in (None, [1.0, 1.0, 1.0], [0.5, np.nan, 0.1]):
        assert first_error_prior(3, nothing) == pytest.approx([1 / 3] * 3)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="positive numbers"):
        Beliefs((0.5, 0.0), 1, 1)
    with pytest.raises(ValueError, match="recovery 1"):
        Beliefs((1.0,), 1, 1, recovery=1)
    with pytest.raises(ValueError, match="allowed: flat, chain"):
        Beliefs((1.0,), 1, 1, profile="steep")
    with pytest.raises(ValueError, match=r"expected \[2\] successes"):
        posterior([1, 0], [0, 0], Beliefs((0.5, 0.5), 1, 1))
    with pytest.raises(ValueError, match="doubt is 0"):
        first_error_prior(2, None, 0)
    with pytest.raises(ValueError, match=r"expected \[2\] in \[0, 1\]"):
        first_error_prior(2, [1.5, 0])
