"""How logits become a Judgment: every link by hand, and when a judge says nothing."""

import itertools

import numpy as np
import pytest

from stepcredit import Cost
from stepcredit.core.readout import Readout, judgment, logit, rates, sigmoid, start_rate


def logits(*rows):
    """Logits [S, C] of these probabilities."""
    p = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
    return np.log(p / (1 - p))


def test_derivation_is_the_running_product_and_recovery_lifts_it():
    """s = .8, .5: a = .8, .4. With c = .2: keep = .2 + .8 s = .84, .6; a = .84, .84 * .6 + .16 * .2 = .536."""
    found = judgment(logits(0.8, 0.5), Readout())
    assert np.allclose(found.step_scores_S, [0.8, 0.4]) and found.score == pytest.approx(0.4)
    assert np.allclose(found.channels["keep"], [0.8, 0.5]) and np.allclose(found.channels["fix"], 0.0)
    lifted = judgment(logits(0.8, 0.5), Readout(recovery=0.2))
    assert np.allclose(lifted.step_scores_S, [0.84, 0.536]) and np.allclose(lifted.channels["keep"], [0.84, 0.6])


def test_retry_is_the_noisy_or():
    """s = .1, .5: a = .1, 1 - .9 * .5 = .55. There is no keep to speak of."""
    found = judgment(logits(0.1, 0.5), Readout(link="retry"))
    assert np.allclose(found.step_scores_S, [0.1, 0.55]) and set(found.channels) == {"fix"}


def test_free_reads_two_channels():
    """fix = .2, keep = .2 + .8 * .5 = .6: a = .6, then fix = .5, keep = .75: .6 * .75 + .4 * .5 = .65.

    Not swap-free: keep = .5 both times: a = .5, .5 * .5 + .5 * .5 = .5.
    """
    given = logits([0.5, 0.2], [0.5, 0.5])
    found = judgment(given, Readout(link="free"))
    assert np.allclose(found.step_scores_S, [0.6, 0.65]) and np.allclose(found.channels["keep"], [0.6, 0.75])
    raw = judgment(given, Readout(link="free", swap_free=False))
    assert np.allclose(raw.step_scores_S, [0.5, 0.5]) and np.allclose(raw.channels["keep"], [0.5, 0.5])


def test_keep_is_never_below_fix():
    given = np.random.default_rng(0).normal(0, 20, (200, 2))
    for link, recovery in itertools.product(("derivation", "retry", "free"), (0.0, 0.4)):
        readout = Readout(link=link, recovery=recovery)
        keep, fix, _ = rates(given[:, : readout.num_channels], readout)
        assert np.all(keep >= fix) and np.all((fix >= 0) & (keep <= 1))
    keep, fix, _ = rates(given, Readout(link="free", swap_free=False))
    assert np.any(keep < fix)


@pytest.mark.parametrize(
    ("aggregation", "score"), [("min", 0.2), ("last", 0.8), ("product", 0.16), ("mean", 0.5), ("geometric_mean", 0.4)]
)
def test_a_plain_head_is_aggregated(aggregation, score):
    found = judgment(logits(0.2, 0.8), Readout("broadcast", aggregation=aggregation), Cost(judge_calls=1))
    assert found.score == pytest.approx(score) and np.allclose(found.step_scores_S, [0.2, 0.8])
    assert set(found.channels) == {"ok"} and found.cost.judge_calls == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_makes_the_judge_abstain(bad):
    for readout in (Readout(), Readout(link="retry"), Readout("labels")):
        found = judgment(np.array([[0.3], [bad]]), readout)
        assert found.status == "abstained" and np.isnan(found.score) and np.all(np.isnan(found.step_scores_S))
        assert found.step_scores_S.shape == (2,)


def test_no_step_makes_the_judge_abstain():
    found = judgment(np.zeros((0, 1)), Readout())
    assert found.status == "abstained" and found.step_scores_S.shape == (0,)


def test_extreme_logits_stay_probabilities():
    assert np.array_equal(sigmoid(np.array([-1e4, 0.0, 1e4])), [0.0, 0.5, 1.0])
    found = judgment(np.array([[1e4], [-1e4]]), Readout())
    assert np.array_equal(found.step_scores_S, [1.0, 0.0])  # a computed zero, and scored as one
    assert found.status == "scored"


def test_the_number_of_channels_is_checked():
    assert [Readout(link=link).num_channels for link in ("derivation", "retry", "free")] == [1, 1, 2]
    assert Readout("labels", link="free").num_channels == 1
    with pytest.raises(ValueError, match=r"expected logits \[S, 2\], got \[3, 1\]"):
        judgment(np.zeros((3, 1)), Readout(link="free"))


def test_wrong_readouts_are_refused():
    with pytest.raises(ValueError, match="link is 'both'; allowed: derivation, retry, free"):
        Readout(link="both")
    with pytest.raises(ValueError, match="aggregation is 'max'; allowed: min"):
        Readout("labels", aggregation="max")
    for recovery in (-0.1, 1.0):
        with pytest.raises(ValueError, match="recovery rate lies in"):
            Readout(recovery=recovery)


@pytest.mark.parametrize("link", ["derivation", "retry"])
def test_a_fresh_chain_predicts_the_base_rate(link):
    for base_rate, num_steps in ((0.3, 1), (0.3, 5), (0.9, 12)):
        bias = logit(start_rate(base_rate, num_steps, link))
        assert judgment(np.full((num_steps, 1), bias), Readout(link=link)).score == pytest.approx(base_rate)


def test_a_logit_is_the_inverse_of_the_sigmoid_and_finite():
    assert sigmoid(np.array(logit(0.2))) == pytest.approx(0.2)
    # at 1e-6 from the ends: log(999999) = 13.8155
    assert logit(1.0) == pytest.approx(13.8155, abs=1e-4) and logit(0.0) == pytest.approx(-13.8155, abs=1e-4)
