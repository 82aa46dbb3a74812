"""buffer: FreePRM's loss by hand, what its buffer does to the gradient, and where it is no likelihood."""

import math

import numpy as np
import pytest
import torch

from stepcredit.core.readout import Readout, judgment
from stepcredit.train.pooling.broadcast import broadcast
from stepcredit.train.pooling.buffer import buffer


def logits_of(*shares):
    """One attempt whose steps have these (right, wrong, buffer)."""
    share_S3 = torch.tensor(shares, dtype=torch.float64)
    uv_SC = torch.stack([share_S3[:, 0] / share_S3[:, 1], share_S3[:, 2] / share_S3[:, 1]], 1).log()
    return uv_SC[None].requires_grad_(), torch.ones(1, len(shares), dtype=torch.bool)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_the_loss_by_hand(beta):
    """Steps (.6, .1, .3), (.2, .3, .5), last (.5, .4, .1): right log(.6 + .3 b), log(.2 + .5 b), log .5;

    wrong log(.1 + .3 b), log(.3 + .5 b), log(1 - .5): the last step has no buffer, so what is not right is wrong.
    """
    right_B, wrong_B = buffer(*logits_of((0.6, 0.1, 0.3), (0.2, 0.3, 0.5), (0.5, 0.4, 0.1)), beta=beta)
    assert right_B.item() == pytest.approx(
        (math.log(0.6 + 0.3 * beta) + math.log(0.2 + 0.5 * beta) + math.log(0.5)) / 3
    )
    assert wrong_B.item() == pytest.approx(
        (math.log(0.1 + 0.3 * beta) + math.log(0.3 + 0.5 * beta) + math.log(0.5)) / 3
    )


def test_one_half_is_the_only_beta_at_which_a_steps_pair_is_a_likelihood():
    """Two steps, the last of p_right = 1/2: twice the mean, less log(1/2), is the first step's own number.

    (p_r + b p_b) + (p_w + b p_b) = 1 + (2 b - 1) p_b = 1 - .3, 1, 1 + .3.
    """
    for beta, total in ((0.0, 0.7), (0.5, 1.0), (1.0, 1.3)):
        found = buffer(*logits_of((0.6, 0.1, 0.3), (0.5, 0.25, 0.25)), beta=beta)
        own = [(2 * one - math.log(0.5)).exp().item() for one in found]
        assert sum(own) == pytest.approx(total)


def test_the_buffer_is_in_the_gradient_and_takes_up_a_label_the_step_contradicts():
    """d[-log(p_w + b p_b)] / dv = p_b (1 - b / (p_w + b p_b)). At (.8, .1, .1), labelled wrong:

    b = 1/2: .1 (1 - .5 / .15) = -.2333: the buffer grows; b = 0, the released gradient: +.1, it only ever shrinks.
    The pull on u is p_r = .8 for every b. At b = 0 the loss is cross-entropy on the pseudo label.
    """
    for beta, expected in ((0.5, 0.1 * (1 - 0.5 / 0.15)), (0.0, 0.1)):
        logit_BSC, step_BS = logits_of((0.8, 0.1, 0.1), (0.5, 0.25, 0.25))
        (-2 * buffer(logit_BSC, step_BS, beta=beta)[1]).sum().backward()
        assert logit_BSC.grad[0, 0].tolist() == pytest.approx([0.8, expected])
    plain = -torch.log_softmax(torch.tensor([math.log(8.0), 0.0, 0.0]), 0)[1]  # cross-entropy on the pseudo label
    assert -2 * buffer(*logits_of((0.8, 0.1, 0.1), (0.5, 0.25, 0.25)), beta=0.0)[1].item() == pytest.approx(
        plain.item() + math.log(2), abs=1e-6
    )


def test_a_whole_buffer_explains_every_outcome_for_nothing_unless_it_is_halved():
    """p_buffer -> 1 on all steps but the last: at b = 1 they cost nothing, at b = 1/2 log 2 each, whatever the outcome."""
    given = logits_of((1e-9, 1e-9, 1.0), (1e-9, 1e-9, 1.0), (0.5, 0.25, 0.25))
    for beta, cost in ((1.0, 0.0), (0.5, math.log(2))):
        for found_B in buffer(*given, beta=beta):
            assert -3 * found_B.item() - math.log(2) == pytest.approx(2 * cost, abs=1e-6)


def test_the_last_step_has_no_buffer():
    for beta in (0.0, 0.5, 1.0):
        right_B, wrong_B = buffer(*logits_of((0.2, 0.1, 0.7)), beta=beta)
        assert right_B.exp().item() == pytest.approx(0.2) and wrong_B.exp().item() == pytest.approx(0.8)


def test_the_last_step_is_the_last_real_one():
    whole, step_BS = logits_of((0.6, 0.1, 0.3), (0.2, 0.3, 0.5), (0.9, 0.05, 0.05))
    step_BS[0, 2] = False
    short = logits_of((0.6, 0.1, 0.3), (0.2, 0.3, 0.5))
    for cut, found in zip(buffer(whole, step_BS), buffer(*short), strict=True):
        assert cut.item() == pytest.approx(found.item())


def test_the_random_factor_is_the_mean_over_its_draws():
    """beta = 1 with probability p_b = .3: .3 log .9 + .7 log .6; the last step draws nothing."""
    right_B, wrong_B = buffer(*logits_of((0.6, 0.1, 0.3), (0.5, 0.25, 0.25)), factor="random")
    assert 2 * right_B.item() == pytest.approx(0.3 * math.log(0.9) + 0.7 * math.log(0.6) + math.log(0.5))
    assert 2 * wrong_B.item() == pytest.approx(0.3 * math.log(0.4) + 0.7 * math.log(0.1) + math.log(0.5))
    draws = np.random.default_rng(0).uniform(size=20000) < 0.3
    drawn = [2 * buffer(*logits_of((0.6, 0.1, 0.3), (0.5, 0.25, 0.25)), beta=b)[0].item() for b in (0.0, 1.0)]
    assert np.where(draws, drawn[1], drawn[0]).mean() == pytest.approx(2 * right_B.item(), abs=0.005)  # 4 s.e.


def test_the_random_factors_gradient_is_the_mean_of_the_draws_gradients():
    """The probability of the draw carries no gradient: .3 of the gradient at beta = 1 and .7 of that at beta = 0."""
    grads = {}
    for name, knobs in {"random": {"factor": "random"}, "one": {"beta": 1.0}, "none": {"beta": 0.0}}.items():
        logit_BSC, step_BS = logits_of((0.6, 0.1, 0.3), (0.5, 0.25, 0.25))
        buffer(logit_BSC, step_BS, **knobs)[1].sum().backward()
        grads[name] = logit_BSC.grad[0, 0].numpy()
    assert np.allclose(grads["random"], 0.3 * grads["one"] + 0.7 * grads["none"], atol=1e-12)


def test_without_a_buffer_it_is_broadcast():
    logit_BSC, step_BS = logits_of((0.6, 0.4, 1e-12), (0.2, 0.8, 1e-12), (0.7, 0.3, 1e-12))
    for found, plain in zip(buffer(logit_BSC, step_BS), broadcast(logit_BSC, step_BS), strict=True):
        assert found.item() == pytest.approx(plain.item(), abs=1e-9)


def test_the_readout_is_the_share_that_was_trained():
    logit_BSC, _ = logits_of((0.6, 0.1, 0.3), (0.2, 0.3, 0.5))
    readout = Readout("buffer", aggregation="min")
    found = judgment(logit_BSC[0].detach().numpy(), readout)
    assert readout.num_channels == 2
    assert np.allclose(
        [found.channels[name] for name in ("right", "wrong", "buffer")], [[0.6, 0.2], [0.1, 0.3], [0.3, 0.5]]
    )
    assert np.allclose(found.step_scores_S, [0.6, 0.2]) and found.score == pytest.approx(0.2)
    extreme = judgment(np.array([[900.0, -900.0], [-900.0, 900.0]]), readout)
    assert np.array_equal(extreme.step_scores_S, [1.0, 0.0])


def test_wrong_knobs_and_missing_channels_are_refused():
    logit_BSC, step_BS = logits_of((0.6, 0.1, 0.3))
    with pytest.raises(ValueError, match=r"beta lies in \[0, 1\]; got 1.5"):
        buffer(logit_BSC, step_BS, beta=1.5)
    with pytest.raises(ValueError, match="factor is 'drawn'; allowed: fixed, random"):
        buffer(logit_BSC, step_BS, factor="drawn")
    with pytest.raises(ValueError, match="two channels, right and buffer against wrong; got 1"):
        buffer(logit_BSC[:, :, :1], step_BS)


@pytest.mark.parametrize("knobs", [{}, {"factor": "random"}])
def test_outcomes_alone_tell_the_step_that_breaks_attempts(knobs):
    """Steps are one of six kinds, kind 0 is the error; an attempt is right iff it holds none. One logit pair a kind."""
    rng = np.random.default_rng(0)
    kind_BS = torch.tensor(np.where(rng.uniform(size=(300, 4)) < 0.15, 0, rng.integers(1, 6, (300, 4))))
    y_B = (kind_BS > 0).all(1).double()
    table = torch.zeros(6, 2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([table], lr=0.1)
    for _ in range(100):
        right_B, wrong_B = buffer(table[kind_BS], torch.ones(300, 4, dtype=torch.bool), **knobs)
        optimiser.zero_grad()
        (-(y_B * right_B + (1 - y_B) * wrong_B).mean()).backward()
        optimiser.step()
    found = judgment(table.detach().numpy(), Readout("buffer")).channels
    assert found["right"][0] < 0.1 < 0.4 < found["right"][1:].min()
    assert found["wrong"][0] > 0.5 and np.all(found["wrong"][1:] < found["right"][1:])
