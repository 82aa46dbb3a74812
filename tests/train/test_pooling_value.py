"""value: squared error to the outcome, its gradient and its reading."""

import numpy as np
import pytest
import torch

from stepcredit.core.readout import Readout, judgment
from stepcredit.train.pooling.broadcast import broadcast
from stepcredit.train.pooling.value import value

ONES = torch.ones(1, 2, dtype=torch.bool)


def attempt(*u):
    return torch.tensor(u, dtype=torch.float64)[None, :, None].requires_grad_()


def loss(pair, outcome):
    """What the trainer makes of the two numbers."""
    return -(outcome * pair[0] + (1 - outcome) * pair[1]).sum()


def test_the_loss_is_the_mean_squared_error_to_the_outcome():
    """u = 1, -2: v = .75, 0. Right: (.0625 + 1) / 2; wrong: .5625 / 2."""
    pair = value(attempt(1.0, -2.0), ONES)
    assert loss(pair, 1).item() == pytest.approx(0.53125) and loss(pair, 0).item() == pytest.approx(0.28125)
    squashed = value(attempt(np.log(3.0), 0.0), ONES, squash=True)  # v = .75, .5
    assert loss(squashed, 1).item() == pytest.approx((0.0625 + 0.25) / 2)
    assert loss(squashed, 0).item() == pytest.approx((0.5625 + 0.25) / 2)


def test_a_soft_outcome_adds_its_own_variance_and_no_gradient():
    """y (1 - v)^2 + (1 - y) v^2 = (v - y)^2 + y (1 - y): at y = .3, v = .75: .2025 + .21."""
    u = attempt(1.0)
    total = loss(value(u, ONES[:, :1]), 0.3)
    assert total.item() == pytest.approx(0.2025 + 0.21)
    total.backward()
    assert u.grad.item() == pytest.approx(2 * (0.75 - 0.3) / 4)


def test_the_best_constant_is_the_share_of_right_attempts():
    """Three of four attempts right: mean (v - y)^2 is least at v = .75, u = 1 (linear) or log 3 (squashed)."""
    for squash, best in ((False, 1.0), (True, np.log(3.0))):
        u = torch.tensor(best, requires_grad=True)
        rows = u.expand(4, 1, 1)
        right_B, wrong_B = value(rows, torch.ones(4, 1, dtype=torch.bool), squash=squash)
        y_B = torch.tensor([1.0, 1.0, 1.0, 0.0])
        (y_B * right_B + (1 - y_B) * wrong_B).sum().backward()
        assert u.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_by_length_a_long_attempt_weighs_more():
    """The paper's sum: three steps of v = .5 cost .75 where the mean is .25; steps that are padding cost nothing."""
    u, step_BS = torch.zeros(2, 3, 1), torch.tensor([[True, True, True], [True, False, False]])
    assert (-value(u, step_BS)[0]).tolist() == [0.25, 0.25]
    assert (-value(u, step_BS, by_length=True)[0]).tolist() == [0.75, 0.25]


def test_a_squashed_value_that_is_surely_wrong_hardly_learns_and_a_linear_one_does():
    """v = .99 on a wrong attempt: 2 v v (1 - v) = .0196 where cross-entropy pulls by .99; linear 2 v / 4 = .495."""
    pulls = {}
    for name, u, knobs in (("squash", float(np.log(99.0)), {"squash": True}), ("linear", 1.96, {})):
        given = attempt(u)
        loss(value(given, ONES[:, :1], **knobs), 0).backward()
        pulls[name] = given.grad.item()
    given = attempt(float(np.log(99.0)))
    loss(broadcast(given, ONES[:, :1]), 0).backward()
    assert pulls["squash"] == pytest.approx(0.0196, abs=1e-4) and given.grad.item() == pytest.approx(0.99)
    assert pulls["linear"] == pytest.approx(0.495)


def test_the_readout_is_the_value_that_was_trained_cut_to_probabilities():
    logits = np.array([[1.0], [-2.0], [6.0], [-9.0]])
    linear = judgment(logits, Readout("value", aggregation="last"))
    assert np.allclose(linear.step_scores_S, [0.75, 0.0, 1.0, 0.0]) and linear.score == 0.0
    squashed = judgment(logits[:2], Readout("value", aggregation="last", squash=True))
    assert np.allclose(squashed.step_scores_S, 1 / (1 + np.exp(-logits[:2, 0])))
    fresh = judgment(np.zeros((1, 1)), Readout("value"))
    assert fresh.score == 0.5  # a fresh head has no side
