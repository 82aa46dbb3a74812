"""With verl itself, where it is installed: the contract is its own, and its GRPO pays for length."""

import importlib
import importlib.util

import numpy as np
import pytest
import torch

from stepcredit.train.verl_estimator import register_with_verl, verl_estimator

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("ignore"),  # verl's own, of engines that are not there
]


@pytest.fixture
def algorithms():
    return importlib.import_module("verl.trainer.ppo.core_algos")


def data(reward, mask, uid):
    from verl import DataProto

    return DataProto.from_dict(
        tensors={"token_level_rewards": reward, "response_mask": mask}, non_tensors={"uid": np.array(uid, dtype=object)}
    )


def config(**given):
    from verl.trainer.config import AlgoConfig

    return AlgoConfig(**given)


# Two turns at 0.5 and one, two tokens each, a token of the environment after each.
REWARD = torch.tensor([[0.0, 0.5, 0.0, 0.0, 0.5], [0.0, 0.5, 0.0, 0.0, 0.0]])
MASK = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 0, 0, 0]])


def test_the_trainer_calls_the_registered_estimator():
    from verl.trainer.ppo.ray_trainer import compute_advantage

    register_with_verl(rewards="steps")
    register_with_verl(rewards="steps")  # twice is once
    with pytest.raises(ValueError, match="already been registered"):
        register_with_verl(rewards="outcome")
    found = compute_advantage(data(REWARD, MASK, ["u", "u"]), "stepcredit", config=config(adv_estimator="stepcredit"))
    assert torch.equal(found.batch["advantages"], torch.zeros(2, 5)) and torch.equal(
        found.batch["returns"], torch.zeros(2, 5)
    )


def test_their_grpo_pays_for_the_second_turn(algorithms):
    theirs, _ = algorithms.compute_grpo_outcome_advantage(
        REWARD.clone(), MASK, np.array(["u", "u"], dtype=object), norm_adv_by_std_in_grpo=False
    )
    assert theirs[:, 0].tolist() == [0.25, -0.25]


def test_on_outcomes_both_agree(algorithms):
    reward = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.5]])
    index = np.array(["u"] * 4, dtype=object)
    for by_std in (True, False):
        theirs, _ = algorithms.compute_grpo_outcome_advantage(
            reward.clone(), torch.ones(4, 2), index, norm_adv_by_std_in_grpo=by_std
        )
        ours, _ = verl_estimator(
            reward, torch.ones(4, 2), index, config(norm_adv_by_std_in_grpo=by_std), rewards="outcome"
        )
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_penalty_in_the_reward_is_refused():
    with pytest.raises(ValueError, match="use_kl_in_reward"):
        verl_estimator(REWARD, MASK, ["u", "u"], config(use_kl_in_reward=True), rewards="steps")
