"""Where an attempt breaks: the posterior by hand and by enumeration, gains by their definition, priors."""

from math import exp, lgamma

import numpy as np
import pytest

from stepcredit.core.change_point import Beliefs, first_error_prior, posterior, posterior_and_gains, success_rates

SURE = 10**6  # so many attempts that r is known


def test_posterior_by_hand():
    # r = 1/2, three steps, uniform prior; behind step 1 two failures: e = 0, 1 give 1, e = 2 gives 1/4.
    beliefs = Beliefs((1.0, 1.0, 1.0), SURE, SURE)
    assert posterior([0, 0, 0], [0, 2, 0], beliefs) == pytest.approx([4 / 9, 4 / 9, 1 / 9], rel=1e-3)
    # One success proves step 1 sound: only e = 2 is left.
    assert posterior([0, 1, 0], [0, 3, 0], beliefs) == pytest.approx([0, 0, 1], abs=1e-12)


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
    prior = first_error_prior(num)
    root_G, _, sound_GS, broken_GS = success_rates(Beliefs(prior, 8, 5, recovery=fix, profile="chain"))
    for step in range(num):
        assert np.interp(sound[num], root_G, sound_GS[:, step]) == pytest.approx(sound[num - 1 - step], abs=2e-3)
        assert np.interp(sound[num], root_G, broken_GS[:, step]) == pytest.approx(broken[num - 1 - step], abs=2e-3)
    flat = success_rates(Beliefs(prior, 8, 5, recovery=fix))
    assert np.array_equal(flat[2], np.repeat(root_G[:, None], num, axis=1)) and np.array_equal(flat[3], broken_GS)


def log_moment(hit, miss, right, wrong):
    """log E r^hit (1 - r)^miss under Beta(1 + right, 1 + wrong)."""
    log_beta = [
        lgamma(a) + lgamma(b) - lgamma(a + b) for a, b in ((1 + right + hit, 1 + wrong + miss), (1 + right, 1 + wrong))
    ]
    return log_beta[0] - log_beta[1]


@pytest.mark.parametrize(
    ("right", "wrong"), [(0, 1), (0, 16), (0, 100), (1, 299), (0, 10**5), (8, 8), (15, 1), (10**6, 3)]
)
def test_the_grid_over_r_is_the_integral_however_hard_the_problem(right, wrong):
    """Three steps, a success and `miss` failures behind the first, `more` failures behind the second: e is 1 or 2."""
    beliefs = Beliefs((1.0, 1.0, 1.0), right, wrong)
    for miss, more in ((0, 1), (0, 40), (5, 40), (0, 400), (300, 100)):
        if log_moment(1, miss + more, right, wrong) < -15:
            continue  # outcomes that the attempts rule out
        odds = exp(log_moment(1, miss + more, right, wrong) - log_moment(1, miss, right, wrong))
        found = posterior([1, 0, 0], [1 + miss, more, 0], beliefs)
        assert found[0] == 0 and found[2] == pytest.approx(odds / (1 + odds), rel=0.01, abs=1e-9)


def test_failures_of_a_problem_that_nobody_solved_are_believed_as_slowly_as_they_should_be():
    # E (1 - r)^n = 101 / (101 + n) after 100 wrong attempts: four to one against a sound first step from n = 303 on.
    beliefs = Beliefs((0.5, 0.5), 0, 100)
    before, after = (posterior([0, 0], [num, 0], beliefs)[0] for num in (298, 308))
    assert before < 0.8 < after


@pytest.mark.parametrize("recovery", [0.3, 0.5, 0.8])
def test_a_sound_prefix_is_never_worse_than_a_broken_one_nor_than_the_prompt(recovery):
    for num in (2, 3, 5):
        beliefs = Beliefs(first_error_prior(num), 0, 3, recovery=recovery, profile="chain")
        root_G, _, sound_GS, broken_GS = success_rates(beliefs)
        assert root_G[0] == pytest.approx(recovery, abs=1e-3) and np.all(np.diff(root_G) >= 0)
        assert np.all(sound_GS >= broken_GS - 1e-9) and np.all(sound_GS >= root_G[:, None] - 1e-6)


def test_luck_lifts_every_rate():
    clean, lucky = (success_rates(Beliefs((1.0,) * 4, 0, 0, luck=luck, profile="chain")) for luck in (0.0, 0.2))
    for place in (0, 2, 3):  # without attempts both grids lie on the same x
        assert lucky[place] == pytest.approx(0.2 + 0.8 * clean[place])


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
    with pytest.raises(ValueError, match="num_steps is 0"):
        first_error_prior(0)
    with pytest.raises(ValueError, match=r"expected \[2\] in \[0, 1\]"):
        first_error_prior(2, [1.5, 0])
