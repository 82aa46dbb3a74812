"""The outcome losses: the chain against its numpy twin, each form against its limits, and what every pooling owes."""

import math

import numpy as np
import pytest
import torch

from stepcredit.core import chain, registry
from stepcredit.core.readout import Readout, rates
from stepcredit.train.pooling._numerics import log_complement

LINKS = ("derivation", "retry", "free")
POOLINGS = registry.entries("pooling")
latent_chain = registry.get("pooling", "latent_chain").function
softmin = registry.get("pooling", "softmin").function
geometric_mean = registry.get("pooling", "geometric_mean").function


def batch(num_rows=6, num_steps=5, scale=2.0, seed=0):
    """Logits of two channels in float64, and masks of every length from 1 to num_steps."""
    rng = np.random.default_rng(seed)
    step_BS = np.arange(num_steps)[None] <= np.arange(num_rows)[:, None] % num_steps
    return torch.tensor(rng.normal(0, scale, (num_rows, num_steps, 2))), torch.tensor(step_BS)


def logits_of(*probabilities):
    """One attempt with these step probabilities; a second channel, where one is read, is as good as off."""
    u = torch.logit(torch.tensor(probabilities, dtype=torch.float64))
    return torch.stack([u, torch.full_like(u, -60.0)], 1)[None], torch.ones(1, len(probabilities), dtype=torch.bool)


# the chain


@pytest.mark.parametrize("swap_free", [True, False])
@pytest.mark.parametrize("recovery", [0.0, 0.3])
@pytest.mark.parametrize(("fp", "fn"), [(0.0, 0.0), (0.2, 0.05)])
@pytest.mark.parametrize("link", LINKS)
def test_the_torch_chain_is_the_numpy_chain(link, fp, fn, recovery, swap_free):
    logit_BSC, step_BS = batch()
    right_B, wrong_B = latent_chain(logit_BSC, step_BS, link=link, recovery=recovery, fp=fp, fn=fn, swap_free=swap_free)
    readout = Readout(link=link, recovery=recovery, swap_free=swap_free)
    for row, num in enumerate(step_BS.sum(1).tolist()):
        keep, fix, start = rates(logit_BSC[row, :num].numpy(), readout)
        for found, is_right in ((right_B, True), (wrong_B, False)):
            expected = chain.log_likelihood(keep, fix, is_right, start=start, fp=fp, fn=fn)
            assert np.isclose(found[row].item(), expected, rtol=1e-10), (row, is_right)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize(("link", "swap_free"), [("derivation", True), ("retry", True), ("free", False)])
def test_autograd_gives_the_gradient_of_posterior_weighted_bce(link, swap_free, right):
    """RSP, Prop. 2: dL/du_keep = was_ok keep - kept, dL/du_fix = was_broken fix - fixed, at posteriors held fixed.

    In these three forms u is the logit of the rate itself. L = -log P(outcome).
    """
    logit_BSC, step_BS = batch(5, 5, seed=1)
    logit_BSC.requires_grad_()
    found = latent_chain(logit_BSC, step_BS, link=link, fp=0.1, fn=0.05, swap_free=swap_free)[0 if right else 1]
    (-found.sum()).backward()
    for row, num in enumerate(step_BS.sum(1).tolist()):
        keep, fix, start = rates(logit_BSC[row, :num].detach().numpy(), Readout(link=link, swap_free=swap_free))
        post = chain.posterior(keep, fix, right, start=start, fp=0.1, fn=0.05)
        by_keep = post.was_ok_S * keep - post.kept_S
        by_fix = (1 - post.was_ok_S) * fix - post.fixed_S
        first = by_fix if link == "retry" else by_keep
        gradient = logit_BSC.grad[row, :num].numpy()
        assert np.allclose(gradient[:, 0], first, atol=1e-9)
        if link == "free":
            assert np.allclose(gradient[:, 1], by_fix, atol=1e-9)


def test_the_swap_free_gradient_is_the_same_posterior_through_the_chain_rule():
    """keep = c + (1 - c) s: dL/du = (was_ok keep - kept) / (keep (1 - keep)) * (1 - c) s (1 - s)."""
    logit_BSC, step_BS = batch(5, 5, seed=2)
    logit_BSC.requires_grad_()
    (-latent_chain(logit_BSC, step_BS, recovery=0.3)[1].sum()).backward()
    for row, num in enumerate(step_BS.sum(1).tolist()):
        keep, fix, start = rates(logit_BSC[row, :num].detach().numpy(), Readout(recovery=0.3))
        post = chain.posterior(keep, fix, False, start=start)
        sound = (keep - 0.3) / 0.7
        expected = (post.was_ok_S * keep - post.kept_S) / (keep * (1 - keep)) * 0.7 * sound * (1 - sound)
        assert np.allclose(logit_BSC.grad[row, :num, 0].numpy(), expected, atol=1e-9)


def test_a_recovery_rate_may_be_learned():
    logit_BSC, step_BS = batch()
    rate = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    right_B, _ = latent_chain(logit_BSC, step_BS, recovery=rate)
    assert torch.allclose(right_B, latent_chain(logit_BSC, step_BS, recovery=0.3)[0])
    right_B.sum().backward()
    step = 1e-6
    shifted = [latent_chain(logit_BSC, step_BS, recovery=0.3 + d)[0].sum().item() for d in (step, -step)]
    assert np.isclose(rate.grad.item(), (shifted[0] - shifted[1]) / (2 * step), rtol=1e-5)


def test_chain_knobs_outside_their_range_are_refused():
    logit_BSC, step_BS = batch()
    with pytest.raises(ValueError, match="fp \\+ fn < 1"):
        latent_chain(logit_BSC, step_BS, fp=0.6, fn=0.4)
    for recovery in (-0.1, 1.0):
        with pytest.raises(ValueError, match="recovery rate lies in"):
            latent_chain(logit_BSC, step_BS, recovery=recovery)


# what every pooling owes


def variants():
    for entry in POOLINGS:
        knobs = [{}]
        if entry.name == "latent_chain":
            knobs += [{"link": "retry"}, {"link": "free"}, {"link": "free", "swap_free": False}, {"fp": 0.1, "fn": 0.1}]
            knobs += [{"recovery": 0.2}, {"recovery": torch.tensor(0.0)}, {"recovery": torch.tensor(0.2)}]
        if entry.name == "softmin":
            knobs += [{"temperature": 0.1}, {"detach_weights": True}]
        if entry.name == "buffer":
            knobs += [{"beta": 0.0}, {"beta": 1.0}, {"factor": "random"}]
        if entry.name == "value":
            knobs += [{"squash": True}, {"by_length": True}]
        for given in knobs:
            yield pytest.param(
                entry.function, given, id="-".join([entry.name, *(f"{k}={v}" for k, v in given.items())])
            )


every_pooling = pytest.mark.parametrize(("pool", "knobs"), list(variants()))


def test_the_conformance_tests_see_every_pooling():
    assert {entry.name for entry in POOLINGS} == set(registry.names("pooling"))
    assert {"latent_chain", "softmin", "geometric_mean", "broadcast", "last", "buffer", "value"} <= set(
        registry.names("pooling")
    )
    for entry in POOLINGS:
        assert entry.properties["step_label_free"] and isinstance(entry.properties["split_invariant"], bool)
        assert likelihood(entry) in ("exact", "composite", "none")


def likelihood(entry):
    """exact: the pair sums to one; composite: a mean of step log-likelihoods; none: another loss than a likelihood."""
    return entry.properties.get("likelihood", "exact")


likelihoods = pytest.mark.parametrize(
    "entry", [e for e in POOLINGS if likelihood(e) != "none"], ids=lambda entry: entry.name
)


@every_pooling
def test_a_pooling_gives_two_log_probabilities_an_attempt(pool, knobs):
    logit_BSC, step_BS = batch()
    for found_B in pool(logit_BSC, step_BS, **knobs):
        assert found_B.shape == (6,) and bool((found_B <= 1e-12).all()) and bool(torch.isfinite(found_B).all())


@every_pooling
def test_padded_steps_are_ignored(pool, knobs):
    logit_BSC, step_BS = batch()
    noise = torch.randn(6, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 50
    wider = torch.cat([torch.where(step_BS[..., None], logit_BSC, -40.0), noise], 1)
    more_BS = torch.cat([step_BS, torch.zeros(6, 3, dtype=torch.bool)], 1)
    wider.requires_grad_()
    found = pool(wider, more_BS, **knobs)
    for narrow, wide in zip(pool(logit_BSC, step_BS, **knobs), found, strict=True):
        assert torch.allclose(narrow, wide, atol=1e-12)
    (found[0] + found[1]).sum().backward()
    assert bool((wider.grad[~more_BS] == 0).all())


@every_pooling
def test_the_order_of_attempts_does_not_matter(pool, knobs):
    logit_BSC, step_BS = batch()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for straight, turned in zip(
        pool(logit_BSC, step_BS, **knobs), pool(logit_BSC[order], step_BS[order], **knobs), strict=True
    ):
        assert torch.allclose(straight[order], turned)


@every_pooling
@pytest.mark.parametrize(
    ("level", "num_steps"), [(-60.0, 1), (-60.0, 3), (60.0, 1), (60.0, 500), (0.0, 3), (None, 3), (None, 500)]
)
def test_values_and_gradients_stay_finite_in_float32(pool, knobs, num_steps, level):
    """At extreme logits, all alike or of both signs (None), for one step and for five hundred."""
    logit_BSC = torch.full((2, num_steps, 2), 0.0 if level is None else level)
    if level is None:
        logit_BSC[:, ::2], logit_BSC[:, 1::2] = 60.0, -60.0
    step_BS = torch.ones(2, num_steps, dtype=torch.bool)
    step_BS[1, 1:] = False
    for side in (0, 1):
        given = logit_BSC.clone().requires_grad_()
        found_B = pool(given, step_BS, **knobs)[side]
        found_B.sum().backward()
        assert bool(torch.isfinite(found_B).all()) and bool(torch.isfinite(given.grad).all())


@likelihoods
def test_the_pair_of_a_likelihood_sums_to_one_and_that_of_a_composite_one_to_less(entry):
    """Exact: P(right) + P(wrong) = 1. A mean of logs over steps that differ: less, by Cauchy-Schwarz; one step: 1."""
    logit_BSC, step_BS = batch(num_rows=5, seed=3)
    logit_BSC[..., 1] = -60.0 if entry.name == "buffer" else logit_BSC[..., 1]
    total_B = torch.logaddexp(*entry.function(logit_BSC, step_BS)).exp()
    assert total_B[0].item() == pytest.approx(1.0)
    if likelihood(entry) == "exact":
        assert torch.allclose(total_B, torch.ones_like(total_B), rtol=1e-10)
    else:
        assert bool((total_B[1:] < 0.999).all())


@likelihoods
def test_a_confident_wrong_attempt_still_gets_a_gradient(entry):
    """At u = 30 in float32 a pooling must not call the error impossible: the gradient is of the order of one."""
    u = torch.zeros(1, 4, 2)
    u[..., 0] = 30.0
    u.requires_grad_()
    (-entry.function(u, torch.ones(1, 4, dtype=torch.bool))[1].sum()).backward()
    assert u.grad[..., 0].sum().item() == pytest.approx(1.0, abs=1e-3)


HELD_FIXED = ("detach_weights", "factor")  # a factor without gradient: no derivative of the value


@pytest.mark.parametrize(("pool", "knobs"), [v for v in variants() if not set(HELD_FIXED) & set(v.values[1])])
def test_gradients_are_those_of_finite_differences(pool, knobs):
    """Along random directions, of all steps of all attempts at once."""
    logit_BSC, step_BS = batch(4, 4, seed=5)
    along = torch.tensor(np.random.default_rng(6).normal(size=(3, *logit_BSC.shape)))
    for side in (0, 1):
        given = logit_BSC.clone().requires_grad_()
        pool(given, step_BS, **knobs)[side].sum().backward()
        for direction in along:
            ends = [pool(logit_BSC + d * direction, step_BS, **knobs)[side].sum().item() for d in (1e-6, -1e-6)]
            assert (given.grad * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("entry", POOLINGS, ids=lambda entry: entry.name)
def test_splitting_a_step_changes_nothing_where_that_is_promised(entry):
    """Step j in two, (1 - h) = (1 - h')(1 - h''): .8 = .9 * (.8 / .9); first, middle and last step."""
    whole = [0.7, 0.8, 0.6]
    expected = torch.stack(entry.function(*logits_of(*whole)))
    same = []
    for j, p in enumerate(whole):
        first = (1 + p) / 2
        split = [*whole[:j], first, p / first, *whole[j + 1 :]]
        same.append(torch.allclose(torch.stack(entry.function(*logits_of(*split))), expected))
    assert all(same) == entry.properties["split_invariant"]


# multiple-instance learning: one terrible step (Raff and Holt, arXiv:2310.17867, ask this of every pooling)


@pytest.mark.parametrize("name", ["latent_chain", "softmin", "geometric_mean"])
def test_one_terrible_step_makes_the_attempt_wrong(name):
    found = registry.get("pooling", name).function(*logits_of(0.99, 0.99, 1e-6, 0.99))
    assert found[0].item() < math.log(0.1) < math.log(0.9) < found[1].item()


def test_the_limits_of_one_terrible_step():
    """The chain has none. The geometric mean forgives .001 from ten steps on: .001 ** .1 = .501, times .9999; softmin one
    of p = .27 (u = -1) among 500 of u = 1: weights e and 1/e, s = (-e + 499 / e) / (e + 499 / e) = .97.
    Broadcast and last have no such step at all: where it stands says nothing of the others.
    """
    many = [0.9999] * 9
    assert geometric_mean(*logits_of(0.001, *many))[0].exp().item() == pytest.approx(0.501 * 0.9999**0.9, abs=1e-3)
    assert latent_chain(*logits_of(0.001, *many))[0].exp().item() == pytest.approx(0.001 * 0.9999**9)
    mild = torch.ones(1, 500, 1, dtype=torch.float64)
    mild[0, 0] = -1.0
    s = (-math.e + 499 / math.e) / (math.e + 499 / math.e)
    right = softmin(mild, torch.ones(1, 500, dtype=torch.bool))[0]
    assert right.exp().item() == pytest.approx(1 / (1 + math.exp(-s)), abs=1e-9) and right.exp().item() > 0.7


# single forms


def test_softmin_goes_from_the_minimum_to_the_mean():
    u, step_BS = torch.tensor([[[2.0], [-1.0], [0.5]]], dtype=torch.float64), torch.ones(1, 3, dtype=torch.bool)
    for temperature, pooled in ((1e-3, -1.0), (1e6, 0.5)):
        right_B, wrong_B = softmin(u, step_BS, temperature=temperature)
        assert (right_B - wrong_B).item() == pytest.approx(pooled, abs=1e-4)
    with pytest.raises(ValueError, match="temperature > 0"):
        softmin(u, step_BS, temperature=0.0)


def test_softmin_pushes_good_steps_down_unless_its_weights_are_detached():
    """u = (0, 3): s = 3 w, w = e^-3 / (1 + e^-3) = .047; ds/du_2 = w (1 - (3 - s)) < 0; detached: w > 0."""
    for detach, sign in ((False, -1), (True, 1)):
        u = torch.tensor([[[0.0], [3.0]]], requires_grad=True)
        softmin(u, torch.ones(1, 2, dtype=torch.bool), detach_weights=detach)[0].sum().backward()
        assert np.sign(u.grad[0, 1, 0].item()) == sign


def test_geometric_mean_broadcast_and_last_by_hand():
    """p = .5, .8: right sqrt(.4) = .6325; broadcast 1/2 log(.5 * .8) and 1/2 log(.5 * .2); last .8."""
    given = logits_of(0.5, 0.8)
    right_B, wrong_B = geometric_mean(*given)
    assert right_B.exp().item() == pytest.approx(math.sqrt(0.4))
    assert wrong_B.exp().item() == pytest.approx(1 - math.sqrt(0.4))
    right_B, wrong_B = registry.get("pooling", "broadcast").function(*given)
    assert right_B.item() == pytest.approx(math.log(0.4) / 2) and wrong_B.item() == pytest.approx(math.log(0.1) / 2)
    right_B, wrong_B = registry.get("pooling", "last").function(*given)
    assert right_B.exp().item() == pytest.approx(0.8) and wrong_B.exp().item() == pytest.approx(0.2)


@likelihoods
def test_one_step_is_logistic_regression_under_every_likelihood(entry):
    right_B, wrong_B = entry.function(*logits_of(0.3))
    assert right_B.exp().item() == pytest.approx(0.3)
    assert wrong_B.exp().item() == pytest.approx(0.7)


@pytest.mark.parametrize("log_p", [-1e-20, -1e-3, -0.69, -0.7, -5.0, -80.0])
def test_log_complement_is_exact_on_both_branches(log_p):
    x = torch.tensor(log_p, dtype=torch.float64, requires_grad=True)
    found = log_complement(x)
    found.backward()
    assert found.item() == pytest.approx(math.log(-math.expm1(log_p)), rel=1e-12)
    assert x.grad.item() == pytest.approx(math.exp(log_p) / math.expm1(log_p), rel=1e-9)
