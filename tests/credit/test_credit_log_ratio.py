"""log_ratio: against the closed forms of two chain policies, and recorded log-probabilities."""

import itertools

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.log_ratio import log_ratio
from stepcredit.policy.tabular import tabular

NAN = np.nan
PROMPT = "1 +1 +1"
PROBLEM = Problem("p", PROMPT)
SURE, LOOSE = ({"modulus": 3, "random_slip": slip, "num_slips": 0} for slip in (0.1, 0.4))


def lines(*results):
    """The attempt that writes these results: 1+1=..., then that number +1 = ..."""
    texts, value = [], 1
    for result in results:
        texts.append(f"{value}+1={result}")
        value = result
    return [Step(text) for text in texts]


def test_a_step_is_rewarded_by_its_own_ratio():
    """Right line: .9 against .6; a slip to one of the two others: .05 against .2."""
    tree = star(PROBLEM, [lines(2, 0), lines(2, 1)], [Outcome(reward=1.0), None])
    credit = log_ratio(tree, policy=tabular(**SURE), reference=tabular(**LOOSE), beta=2.0)
    right, slip = 2 * np.log(0.9 / 0.6), 2 * np.log(0.05 / 0.2)
    assert np.allclose(credit.values_N, [NAN, right, right, right, slip], equal_nan=True)
    assert credit.kind == "reward" and credit.weight_N.tolist() == [0, 1, 1, 1, 1] and credit.cost.seconds > 0


def test_rewards_telescope_to_the_ratio_of_the_attempt():
    sure, loose = tabular(**SURE), tabular(**LOOSE)
    for results in itertools.product(range(3), repeat=2):
        tree = star(PROBLEM, [lines(*results)])
        text = "\n".join(step.text for step in lines(*results))
        whole = sure.logprob([PROMPT + "\n"], [text])[0] - loose.logprob([PROMPT + "\n"], [text])[0]
        assert np.nansum(log_ratio(tree, policy=sure, reference=loose).values_N) == pytest.approx(0.05 * whole)


def test_the_running_sum_is_the_soft_value_of_the_prefix():
    """ImplicitPRM's proposition by enumeration: beta log E_ref[exp(r(y) / beta) | first line], over all second lines."""
    sure, loose = tabular(**SURE), tabular(**LOOSE)
    beta = 0.3
    for first in range(3):
        total = 0.0
        for second in range(3):
            attempt = lines(first, second)
            reward = np.nansum(log_ratio(star(PROBLEM, [attempt]), policy=sure, reference=loose, beta=beta).values_N)
            chance = np.exp(loose.logprob([f"{PROMPT}\n{attempt[0].text}\n"], [attempt[1].text])[0])
            total += chance * np.exp(reward / beta)
        q_1 = log_ratio(star(PROBLEM, [lines(first, 0)]), policy=sure, reference=loose, beta=beta).values_N[1]
        assert q_1 == pytest.approx(beta * np.log(total))


def test_two_equal_policies_reward_nothing():
    tree = star(PROBLEM, [lines(2, 1)])
    assert np.array_equal(
        log_ratio(tree, policy=tabular(), reference=tabular()).values_N, [NAN, 0.0, 0.0], equal_nan=True
    )


def test_a_step_that_a_policy_cannot_write_has_no_reward():
    """A policy without slips never writes 1+1=0; what follows the impossible line is possible again."""
    never = tabular(modulus=3, random_slip=0.0, num_slips=0)
    credit = log_ratio(star(PROBLEM, [lines(0, 1)]), policy=never, reference=tabular(**LOOSE), beta=1.0)
    assert np.allclose(credit.values_N, [NAN, NAN, np.log(1 / 0.6)], equal_nan=True) and credit.weight_N[1] == 0


def test_shared_steps_have_one_reward_and_tool_results_none():
    first, right, wrong = *lines(2, 0), lines(2, 1)[1]
    seen = Step("noted", kind="tool_result", sampled=False)
    tree = Tree(PROBLEM, (prompt_step(PROBLEM), first, right, wrong, seen), [-1, 0, 1, 1, 3], (None,) * 5)
    credit = log_ratio(tree, policy=tabular(**SURE), reference=tabular(**LOOSE), beta=1.0)
    assert np.allclose(credit.values_N, [NAN, np.log(1.5), np.log(1.5), np.log(0.25), NAN], equal_nan=True)


def test_recorded_log_probabilities_stand_in_for_one_policy():
    def never(prefixes, continuations):
        raise AssertionError("asked")

    class Silent:
        logprob = staticmethod(never)

    steps = [Step("1+1=2", token_ids=(1, 2), logprobs=(-0.5, -0.25)), Step("2+1=0")]
    tree = star(PROBLEM, [steps])
    loose = log_ratio(tree, policy=tabular(**SURE), reference=Silent(), beta=1.0, recorded="reference")
    assert np.allclose(loose.values_N, [NAN, np.log(0.9) + 0.75, NAN], equal_nan=True)  # the second carries none
    sure = log_ratio(tree, policy=Silent(), reference=tabular(**LOOSE), beta=1.0, recorded="policy")
    assert np.allclose(sure.values_N, [NAN, -0.75 - np.log(0.6), NAN], equal_nan=True)


def test_recorded_or_asked_makes_no_difference_where_both_say_the_same():
    sure, loose = tabular(**SURE), tabular(**LOOSE)
    plain = star(PROBLEM, [lines(2, 0), lines(0, 0), lines(2, 1)])
    carrying = []
    for leaf in plain.leaves:
        prefixes = [PROMPT + "\n", PROMPT + "\n" + plain.solution(leaf)[0].text + "\n"]
        said = loose.logprob(prefixes, [step.text for step in plain.solution(leaf)])
        carrying.append([Step(s.text, logprobs=(one,)) for s, one in zip(plain.solution(leaf), said, strict=True)])
    asked = log_ratio(plain, policy=sure, reference=loose)
    given = log_ratio(star(PROBLEM, carrying), policy=sure, reference=loose, recorded="reference")
    assert np.allclose(asked.values_N, given.values_N, rtol=0, atol=1e-15, equal_nan=True)


def test_wrong_knobs_are_named():
    tree = star(PROBLEM, [lines(2)])
    with pytest.raises(ValueError, match="recorded is 'both'; allowed: none, policy, reference"):
        log_ratio(tree, policy=tabular(), reference=tabular(), recorded="both")
    for beta in (0.0, -1.0, NAN):
        with pytest.raises(ValueError, match="beta must be positive"):
            log_ratio(tree, policy=tabular(), reference=tabular(), beta=beta)
