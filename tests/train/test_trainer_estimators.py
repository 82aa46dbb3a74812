"""Advantage estimators of verl's and SkyRL's contract: one reward a step, none added up; theirs shown beside ours."""

import functools

import numpy as np
import pytest
import torch

from stepcredit import Outcome, Problem, Step
from stepcredit.core.tree import star
from stepcredit.credit.group_mean import group_mean
from stepcredit.train._estimator import token_advantages
from stepcredit.train.skyrl_estimator import register_with_skyrl, skyrl_estimator
from stepcredit.train.verl_estimator import register_with_verl, verl_estimator

steps = functools.partial(verl_estimator, rewards="steps")
outcome = functools.partial(verl_estimator, rewards="outcome")


def added_up(token_level_rewards, response_mask, index, norm=False):
    """GRPO as verl 0.9.1 and SkyRL have it: `scores = token_level_rewards.sum(dim=-1)`, against the group's mean."""
    scores = token_level_rewards.sum(dim=-1)
    for name in set(index):
        rows = torch.tensor([each == name for each in index])
        centred = scores[rows] - scores[rows].mean()
        scores[rows] = centred / (scores[rows].std() + 1e-6) if norm else centred
    return scores.unsqueeze(-1) * response_mask


def batch(*rows):
    """Rows of turns, each a list of the rewards of its tokens; between two turns stands a token of the environment."""
    width = max(sum(len(turn) + 1 for turn in row) for row in rows)
    reward, mask = torch.zeros(len(rows), width), torch.zeros(len(rows), width)
    for number, row in enumerate(rows):
        at = 0
        for turn in row:
            reward[number, at : at + len(turn)] = torch.tensor(turn)
            mask[number, at : at + len(turn)] = 1
            at += len(turn) + 1
    return reward, mask


def last(reward, num):
    """A turn of `num` tokens with its reward on the last."""
    return [0.0] * (num - 1) + [reward]


def test_more_steps_that_each_earn_a_half_are_no_better():
    reward, mask = batch([last(0.5, 2)] * 6, [last(0.5, 2)] * 3)
    # Theirs: 6 * 0.5 = 3 against 3 * 0.5 = 1.5, so the longer one is better by 0.75 than their mean.
    assert added_up(reward, mask, ["a", "a"])[:, 0].tolist() == [0.75, -0.75]
    advantages, returns = steps(reward, mask, ["a", "a"])
    assert torch.equal(advantages, torch.zeros_like(reward)) and torch.equal(returns, advantages)


def test_a_reward_written_on_all_tokens_of_a_step_is_one_reward_not_one_a_token():
    # L2T's released code: the step's gain of 0.05 on each of its 60 tokens is 3.0 once they are added up.
    reward, mask = batch([[0.05] * 60], [[0.05] * 2])
    assert added_up(reward, mask, ["a", "a"])[:, 0].tolist() == pytest.approx([1.45, -1.45])
    assert torch.equal(steps(reward, mask, ["a", "a"])[0], torch.zeros_like(reward))


def test_step_rewards_become_the_mean_to_come_against_the_groups_mean_at_the_start():
    reward, mask = batch([last(1.0, 2), last(0.0, 1)], [last(0.0, 1), last(0.0, 3)])
    # R of the first: 1/2, 0; of the second: 0, 0. b = mean(1/2, 0) = 1/4.
    advantages, _ = steps(reward, mask, np.array(["u", "u"], dtype=object))
    assert advantages.tolist() == [[0.25, 0.25, 0, -0.25, 0, 0], [-0.25, 0, -0.25, -0.25, -0.25, 0]]
    split, _ = steps(reward, mask, ["u", "u"], spread="split")
    assert split[0].tolist() == [0.125, 0.125, 0, -0.25, 0, 0]
    assert split[1].tolist() == pytest.approx([-0.25, 0, -0.25 / 3, -0.25 / 3, -0.25 / 3, 0])


def test_what_the_environment_says_pays_the_step_before_it():
    reward, mask = batch([last(0.0, 1), last(0.0, 1)], [last(0.0, 1), last(0.0, 1)])
    reward[0, 1] = 1.0  # on the tool's result
    advantages, _ = steps(reward, mask, ["u", "u"])
    assert advantages[0].tolist() == [0.25, 0, -0.25, 0]


def test_steps_finer_than_turns_are_passed_in():
    reward = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    whole, _ = steps(reward, mask, ["u", "u"])
    assert whole.tolist() == [[0.5] * 4, [-0.5] * 3 + [0]]  # one turn, one step
    ends = [[2, 4], [3]]
    for given in (
        {"step_ends": ends},
        {"non_tensor_batch": {"step_ends": np.array([np.array(e) for e in ends], dtype=object)}},
    ):
        fine, _ = steps(reward, mask, ["u", "u"], **given)
        # R of the first: 1/2, 0; of the second: 0. b = 1/4.
        assert fine.tolist() == [[0.25, 0.25, -0.25, -0.25], [-0.25] * 3 + [0]]


def test_a_step_the_policy_wrote_nothing_of_is_none():
    reward, mask = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([[1, 0, 1], [1, 0, 1]])
    given = {"step_ends": [[1, 2, 3], [1, 3]]}
    # R of the first: 1/2, 0 over two steps, not three; of the second 0, 0. b = 1/4.
    assert steps(reward, mask, ["u", "u"], **given)[0].tolist() == [[0.25, 0, -0.25], [-0.25, 0, -0.25]]
    with pytest.raises(ValueError, match="row 0: step 1 has the reward 2, and the policy wrote none of its tokens"):
        steps(torch.tensor([[0.0, 2.0, 0.0]]), mask[:1], ["u"], step_ends=[[1, 2, 3]])


def test_outcomes_are_those_of_group_mean_and_their_place_does_not_matter():
    values = [1.0, 0.0, 0.25, 1.0]
    reward, mask = batch(*[[last(0.0, 2), last(value, 1 + place)] for place, value in enumerate(values)])
    tree = star(Problem("p", "?"), [[Step("x")]] * 4, [Outcome(reward=value) for value in values])
    for knob, by_std in (("std", True), ("none", False)):
        expected = group_mean(tree, normalize=knob).values_N[1:]
        for given in ({"normalize": knob}, {"config": {"norm_adv_by_std_in_grpo": by_std}}):
            advantages, _ = outcome(reward, mask, ["u"] * 4, **given)
            assert torch.equal(advantages != 0, mask.bool())
            assert [row[0].item() for row in advantages] == pytest.approx(expected.tolist(), rel=1e-6)
        theirs = skyrl_estimator(reward, mask, ["u"] * 4, rewards="outcome", grpo_norm_by_std=by_std, values=None, gamma=1.0,
                                 lambd=1.0, config=object())[0]  # fmt: skip
        assert torch.equal(theirs, advantages)
    assert added_up(reward, mask, ["u"] * 4, norm=True)[:, 0].tolist() == pytest.approx(
        group_mean(tree).values_N[1:].tolist(), rel=1e-4
    )


def test_groups_are_told_by_name_and_equal_ones_are_exactly_zero():
    reward, mask = batch(*[[last(value, 2)] for value in (1.0, 0.1, 0.0, 0.1, 0.1, 0.7)])
    advantages, _ = outcome(reward, mask, ["a", "b", "a", "b", "b", "alone"], normalize="none")
    assert advantages[:, 0].tolist() == [0.5, 0, -0.5, 0, 0, 0]


def test_what_is_not_known_takes_no_part():
    reward, mask = batch([last(1.0, 2)], [last(0.0, 2)], [last(float("nan"), 2)])
    for estimator in (steps, functools.partial(outcome, normalize="none")):
        assert estimator(reward, mask, ["u"] * 3)[0].tolist() == [[0.5, 0.5, 0], [-0.5, -0.5, 0], [0, 0, 0]]
    # Of two steps one: R of the first is 1, of the second 0, as if the other step were not there.
    reward, mask = batch([last(1.0, 1), last(float("nan"), 1)], [last(0.0, 1), last(0.0, 1)])
    assert steps(reward, mask, ["u"] * 2)[0].tolist() == [[0.5, 0, 0, 0], [-0.5, 0, -0.5, 0]]


def test_a_row_the_policy_wrote_nothing_of_takes_no_part():
    reward, mask = batch([last(1.0, 1)], [last(0.0, 1)], [last(5.0, 1)])
    mask[2] = 0
    assert steps(reward, mask, ["u"] * 3)[0].tolist() == [[0.5, 0], [-0.5, 0], [0, 0]]


def test_returns_that_are_summed_are_a_choice_and_pay_for_length():
    reward, mask = batch([last(0.5, 2)] * 3, [last(0.5, 2)])
    advantages, _ = steps(reward, mask, ["u", "u"], returns="sum")
    # To come: 1.5, 1, 0.5 and 0.5; b = 1.
    assert advantages[:, [0, 3, 6]].tolist() == [[0.5, 0.0, -0.5], [-0.5, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_type_is_kept_and_nothing_is_written_into_the_arguments(dtype):
    reward, mask = batch([last(1.0, 2)], [last(0.0, 3)])
    reward = reward.to(dtype)
    before = reward.clone(), mask.clone()
    advantages, returns = steps(reward, mask, ["u", "u"])
    assert advantages.dtype == dtype == returns.dtype and advantages.data_ptr() != returns.data_ptr()
    assert torch.equal(reward, before[0]) and torch.equal(mask, before[1])


def test_a_step_with_several_rewards_is_refused_whichever_they_are():
    reward, mask = batch([[0.0, 1.0, 0.0, 0.5]], [[0.0, 0.0, 1.0, 1.0]])
    for rewards in ("steps", "outcome"):
        with pytest.raises(ValueError, match=r"row 0: step 0 has 2 rewards on its 4 tokens \(1, 0.5, ...\)"):
            verl_estimator(reward, mask, ["u", "u"], rewards=rewards)
    with pytest.raises(ValueError, match="row 0: step 0 has 2 rewards on its 4 tokens"):
        steps(reward[1:], mask[1:], ["u"])  # equal ones, and not on all tokens


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"index": None}, "the batch has no uid"),
        ({"config": {"use_kl_in_reward": True}}, "use_kl_in_reward puts a penalty on the reward of every token"),
        ({"rewards": "dense"}, "rewards is 'dense'; allowed: steps, outcome"),
        ({"returns": "max"}, "returns is 'max'; allowed: mean, sum"),
        ({"spread": "even"}, "spread is 'even'; allowed: same, split"),
        ({"index": ["u"]}, r"2, 4\], mask \[2, 4\] and 1 group names; needed: \[B, T\] twice and B names"),
        ({"step_ends": [[4]]}, "step_ends: 2 rows need as many lists, got 1"),
        ({"step_ends": [[4], [2, 1, 4]]}, r"row 1: step_ends are \[2, 1, 4\]; needed: ascending, from 1 to 4"),
        ({"step_ends": [[4], [5]]}, r"row 1: step_ends are \[5\]"),
        ({"step_ends": [[2], [4]]}, "row 0: step_ends end at 2, but the policy wrote tokens after it"),
        ({"step_ends": [[], [4]]}, "row 0: step_ends is empty, but the policy wrote tokens"),
    ],
)
def test_what_cannot_be_estimated_is_refused(given, said):
    reward, mask = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0] * 4]), torch.ones(2, 4)
    with pytest.raises(ValueError, match=said):
        verl_estimator(reward, mask, **{"index": ["u", "u"], "rewards": "steps", **given})


def test_a_reward_before_the_first_step_is_refused():
    with pytest.raises(ValueError, match="row 0: token 0 has the reward 1, but stands before the first step"):
        steps(torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 1]]), ["u"])
    with pytest.raises(ValueError, match="normalize is 'mean'; allowed: std, none"):
        token_advantages(torch.zeros(1, 1), torch.ones(1, 1), ["u"], rewards="outcome", normalize="mean")


def test_skyrl_cannot_tell_turns_and_is_told_or_refuses():
    # The response mask is 1 on what the environment said too.
    reward, mask = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), torch.ones(2, 4)
    with pytest.raises(ValueError, match="step_ends is needed"):
        skyrl_estimator(reward, mask, ["u", "u"], rewards="steps")
    advantages, _ = skyrl_estimator(
        reward, mask, ["u", "u"], rewards="steps", step_ends=[[2, 4], [4]], values=None, config=None
    )
    assert advantages.tolist() == [[0.25, 0.25, -0.25, -0.25], [-0.25] * 4]


def test_without_their_trainers_the_package_is_named(monkeypatch):
    import importlib

    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(RuntimeError, match="verl cannot be imported"):
        register_with_verl(rewards="outcome")
    with pytest.raises(RuntimeError, match="SkyRL cannot be imported: looked for skyrl"):
        register_with_skyrl(rewards="outcome")
