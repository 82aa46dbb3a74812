"""process_reward: what dense rewards are worth by min, mean, sum and PRIME's estimator, on groups worked out by hand."""

import numpy as np
import pytest

from stepcredit import Credit, Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.expert_similarity import expert_similarity
from stepcredit.credit.group_mean import group_mean
from stepcredit.credit.log_ratio import log_ratio
from stepcredit.credit.process_reward import compared, process_reward, returns
from stepcredit.policy.tabular import tabular

NAN = np.nan
PROBLEM = Problem("p", "?")
FORMS = ("min", "mean", "sum", "prime")


def group(*attempts):
    """A tree and its rewards from (outcome, rewards of steps); NaN is cut off, or never rewarded."""
    outcomes = [Outcome(status="truncated") if np.isnan(r) else Outcome(reward=r) for r, _ in attempts]
    steps = [[Step(f"{i}.{j}") for j in range(len(own))] for i, (_, own) in enumerate(attempts)]
    values = np.array([NAN, *(value for _, own in attempts for value in own)])
    return star(PROBLEM, steps, outcomes), Credit(values, "reward", (~np.isnan(values)).astype(float), "given")


def values(*attempts, **knobs):
    tree, rewards = group(*attempts)
    return process_reward(tree, rewards=rewards, **knobs).values_N[1:]


@pytest.mark.parametrize(
    ("form", "ahead"),
    [("min", [0.2, 0.2, 0.7]), ("mean", [0.6, 0.45, 0.7]), ("sum", [1.8, 0.9, 0.7])],
)  # fmt: skip
def test_what_is_still_to_come_by_each_form(form, ahead):
    """Rewards .9, .2, .7 beside an attempt of .4 alone, equal outcomes: b of the first is .4, of the second G of the first."""
    assert returns(np.array([0.9, 0.2, 0.7]), form) == pytest.approx(ahead)
    found = values((0.0, [0.9, 0.2, 0.7]), (0.0, [0.4]), form=form)
    assert found == pytest.approx([*(np.array(ahead) - 0.4), 0.4 - ahead[0]])


def test_outcome_and_process_are_added_as_advantages():
    """Outcomes 1, 0, 0: leaving one out 1, -.5, -.5. Minima .2, .4, .6: .2 - .5, .4 - .4, .6 - .3."""
    attempts = ((1.0, [0.2]), (0.0, [0.4]), (0.0, [0.6]))
    assert values(*attempts) == pytest.approx([1 - 0.3, -0.5, -0.5 + 0.3])
    assert values(*attempts, outcome_weight=2.0, process_weight=0.5) == pytest.approx([2 - 0.15, -1, -1 + 0.15])
    assert values(*attempts, process_weight=0.0) == pytest.approx([1, -0.5, -0.5])
    # Less the mean of all, which is .4, it is 2/3 of that.
    assert values(*attempts, baseline="group_mean") == pytest.approx(np.array([0.7, -0.5, -0.2]) * 2 / 3)


@pytest.mark.parametrize("reward", [0.1, 0.3, 1.0])
def test_equal_dense_rewards_are_no_length_bonus_but_under_the_sum(reward):
    """Both right; c on each of 2 and of 7 steps. The sum pays 5 c to the longer one's first step: that is the bonus, shown."""
    attempts = ((1.0, [reward] * 2), (1.0, [reward] * 7))
    for form in ("min", "mean", "prime"):
        assert values(*attempts, form=form).tolist() == [0.0] * 9, form
    summed = values(*attempts, form="sum")
    assert summed[2] == pytest.approx(5 * reward) and summed[0] == pytest.approx(-5 * reward)


def test_another_good_step_never_raises_the_minimum():
    """A filler of reward .9 appended to .5, .5: the first step's worth is what it was by min, more by sum."""
    for form, more in (("min", 0.0), ("sum", 0.9)):
        short = values((1.0, [0.5, 0.5]), (1.0, [0.5]), form=form)
        filled = values((1.0, [0.5, 0.5, 0.9]), (1.0, [0.5]), form=form)
        assert filled[0] - short[0] == pytest.approx(more), form


def test_primes_estimator_sums_what_is_above_the_mean_of_means():
    """Rewards (1, 0) and (.2,): means .5, .2; their mean .35; G / (G - 1) = 2.

    First: 2 (.65) and 2 (-.35), summed to the end .6 and -.7; second: 2 (.2 - .35) = -.3. Outcomes 1, 0 add +1 and -1.
    """
    assert values((1.0, [1.0, 0.0]), (0.0, [0.2]), form="prime") == pytest.approx([1.6, 0.3, -1.3])
    assert values((1.0, [1.0, 0.0]), (0.0, [0.2]), form="prime", baseline="group_mean") == pytest.approx(
        [0.8, 0.15, -0.65]
    )


def test_primes_difference_grows_with_the_steps_left():
    """The sheet's pitfall: rewards .3 and .1 on every step, mean .2: 2 * .1 a step still to come."""
    for num in (1, 4, 8):
        own = compared([np.full(num, 0.3), np.array([0.1])], "prime")[0]
        assert own == pytest.approx(0.2 * np.arange(num, 0, -1))


@pytest.mark.parametrize("form", FORMS)
def test_the_coefficient_has_an_effect(form):
    """D11: in the released code it changes the log alone."""
    attempts = ((1.0, [0.9, 0.2]), (0.0, [0.4, 0.8]))
    found = [values(*attempts, form=form, process_weight=weight) for weight in (0.0, 1.0, 5.0)]
    assert np.all(found[0] != found[1]) and np.all(found[1] != found[2])
    assert found[2] - found[0] == pytest.approx(5 * (found[1] - found[0]))
    assert not np.allclose(values(*attempts, form=form), values(*attempts, form=form, outcome_weight=3.0))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("baseline", ["rloo", "group_mean"])
def test_leaving_one_out_sums_to_nothing_over_the_first_steps(form, baseline):
    """Of one step each, so that PRIME's mean of means is the mean; the others at any length."""
    draw = np.random.default_rng(0)
    sizes = [1] * 5 if form == "prime" else [1, 3, 2, 5, 4]
    attempts = [(float(i % 2), draw.random(size).tolist()) for i, size in enumerate(sizes)]
    first = np.cumsum([0, *sizes[:-1]])
    assert values(*attempts, form=form, baseline=baseline)[first].sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("outcome", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("form", FORMS)
def test_equal_outcomes_and_rewards_are_exactly_0(form, outcome):
    assert values(*[(outcome, [0.1, 0.7])] * 3, form=form, process_weight=0.0).tolist() == [0.0] * 6
    equal = values(*[(outcome, [0.1])] * 3, form=form)
    assert equal.tolist() == [0.0] * 3
    assert values((outcome, [0.1, 0.7]), form=form).tolist() == [0.0, 0.0]  # a group of one


def test_without_the_process_it_is_rloo():
    tree, rewards = group((1.0, [0.9, 0.2]), (0.0, [0.4]), (0.5, [0.1] * 4), (NAN, [0.3]))
    one = process_reward(tree, rewards=rewards, process_weight=0.0)
    other = group_mean(tree, normalize="none", leave_one_out=True)
    assert np.allclose(one.values_N, other.values_N, rtol=0, atol=1e-15, equal_nan=True)


def test_pures_softmax_is_the_minimum_up_to_the_worst_step_and_nothing_behind_it():
    """T -> 0: all weight is on .2, so .2, .2 and then 0, where the minimum rises to .7. At T = .1 as the released code."""
    reward_K = np.array([0.9, 0.2, 0.7])
    assert returns(reward_K, "min", 1e-3) == pytest.approx([0.2, 0.2, 0.0], abs=1e-12)
    weight = np.exp(-reward_K / 0.1) / np.exp(-reward_K / 0.1).sum()
    assert returns(reward_K, "min", 0.1) == pytest.approx(np.cumsum((reward_K * weight)[::-1])[::-1])
    assert np.isfinite(returns(np.array([-500.0, 500.0]), "min", 0.1)).all()


def test_unscored_attempts_take_no_part_unless_no_outcome_is_read():
    cut, whole = ((1.0, [0.2]), (0.0, [0.6]), (NAN, [0.9])), ((1.0, [0.2]), (0.0, [0.6]))
    assert np.array_equal(values(*cut), [*values(*whole), NAN], equal_nan=True)
    # By rewards alone: .2 - .75, .6 - .55, .9 - .4.
    assert values(*cut, outcome_weight=0.0) == pytest.approx([-0.55, 0.05, 0.5])


def test_a_step_without_a_reward_takes_no_part():
    """.9, none, .3 is .9, .3; an attempt without any reward is as if it were not there."""
    found = values((1.0, [0.9, NAN, 0.3]), (0.0, [0.4]), (0.0, [NAN]), form="mean")
    assert found == pytest.approx([1 + 0.2, NAN, 1 - 0.1, -1 - 0.2, NAN], nan_ok=True)


def test_shared_steps_have_the_mean_of_their_attempts():
    steps = (prompt_step(PROBLEM), Step("a"), Step("b"), Step("c"), Step("seen", kind="tool_result", sampled=False))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1, 2], (None, None, None, Outcome(reward=0.0), Outcome(reward=1.0)))
    rewards = Credit([NAN, 0.5, 0.6, 0.2, NAN], "value", [0, 1, 1, 1, 0], "judge")
    # Leaves: "c" (min .5 -> .2, outcome 0) and the result behind "b" (min .5, outcome 1): b = .5 and .2.
    found = process_reward(tree, rewards=rewards).values_N
    assert found == pytest.approx([NAN, 0.0, 1 + 0.4, -1 - 0.3, NAN], nan_ok=True)


def test_the_implicit_reward_of_two_policies_is_primes_input():
    """Right line .9 against .6, a slip .05 against .2: rewards of log(1.5) and log(.25) at beta 1."""
    sure, loose = (tabular(modulus=3, random_slip=slip, num_slips=0) for slip in (0.1, 0.4))
    problem = Problem("c", "1 +1 +1", answer="0")
    attempts = [[Step("1+1=2"), Step("2+1=0")], [Step("1+1=2"), Step("2+1=1")]]
    tree = star(problem, attempts, [Outcome(reward=1.0), Outcome(reward=0.0)])
    implicit = log_ratio(tree, policy=sure, reference=loose, beta=1.0)
    found = process_reward(tree, rewards=implicit, form="prime").values_N
    up, down = np.log(1.5), np.log(0.25)
    mean = (up + (up + down) / 2) / 2
    assert found[1:] == pytest.approx(
        [1 + 4 * (up - mean), 1 + 2 * (up - mean), -1 + 2 * (up + down - 2 * mean), -1 + 2 * (down - mean)]
    )


def test_another_credits_rewards_of_one_step_are_compared_in_the_group():
    problem = Problem("p", "?", reference=("3+4=7",))
    tree = star(problem, [[Step(f"<think></think>{text}")] for text in ("3+4=7", "3+4=8", "x")])
    similarity = expert_similarity(tree, give="reward")
    for form in FORMS:
        found = process_reward(tree, rewards=similarity, form=form, outcome_weight=0.0, baseline="group_mean").values_N
        assert found == pytest.approx(expert_similarity(tree, normalize="none").values_N, nan_ok=True), form


def test_wrong_knobs_and_credits_are_named():
    tree, rewards = group((1.0, [0.5]), (0.0, [0.5]))
    for knob, allowed in (("form", "min, mean, sum, prime"), ("baseline", "rloo, group_mean")):
        with pytest.raises(ValueError, match=f"{knob} is 'x'; allowed: {allowed}"):
            process_reward(tree, rewards=rewards, **{knob: "x"})
    with pytest.raises(ValueError, match=r"expected a reward, value or label \[3\], got a advantage \[3\]"):
        process_reward(tree, rewards=Credit([NAN, 0.0, 0.0], "advantage", [0, 1, 1], "x"))
    with pytest.raises(ValueError, match=r"got a reward \[2\]"):
        process_reward(tree, rewards=Credit([NAN, 0.0], "reward", [0, 1], "x"))
    for knobs in ({"temperature": 0.0}, {"temperature": 0.1, "form": "sum"}):
        with pytest.raises(ValueError, match="allowed: above 0 with min, None"):
            process_reward(tree, rewards=rewards, **knobs)
