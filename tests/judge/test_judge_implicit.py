"""implicit: two chain policies as a judge, against closed forms."""

import numpy as np
import pytest

from stepcredit import Cost, Problem, Step
from stepcredit.core import registry
from stepcredit.core.tree import star
from stepcredit.credit.log_ratio import log_ratio
from stepcredit.judge.implicit import implicit
from stepcredit.policy.tabular import tabular

PROBLEM = Problem("p", "1 +1 +1")
RIGHT = [Step("1+1=2"), Step("2+1=0")]
SLIP = [Step("1+1=2"), Step("2+1=1")]
SURE, LOOSE = (tabular(modulus=3, random_slip=slip, num_slips=0) for slip in (0.1, 0.4))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_scores_are_the_sigmoid_of_the_running_log_ratio():
    """beta = 1: a right line is worth log 1.5, a slip log .25: odds 1.5, then 2.25 or .375."""
    right, slip = implicit(policy=SURE, reference=LOOSE, beta=1.0)([(PROBLEM, RIGHT), (PROBLEM, SLIP)])
    assert np.allclose(right.step_scores_S, [1.5 / 2.5, 2.25 / 3.25]) and right.score == pytest.approx(2.25 / 3.25)
    assert np.allclose(slip.step_scores_S, [1.5 / 2.5, 0.375 / 1.375]) and slip.score == pytest.approx(0.375 / 1.375)
    assert np.allclose(slip.channels["reward"], [np.log(1.5), np.log(0.25)])
    assert right.cost.judge_calls == 1 and right.status == "scored"


def test_a_step_may_be_read_by_itself_with_the_same_attempt_score():
    slip = implicit(policy=SURE, reference=LOOSE, beta=1.0, read="reward")([(PROBLEM, SLIP)])[0]
    assert np.allclose(slip.step_scores_S, [0.6, 0.2]) and slip.score == pytest.approx(0.375 / 1.375)


def test_the_rewards_are_those_of_the_credit():
    steps = [Step("1+1=2"), Step("seen", kind="tool_result", sampled=False), Step("2+1=0")]

    class Lengths:
        def logprob(self, prefixes, continuations):
            return np.array([-0.1 * len(p) - len(c) for p, c in zip(prefixes, continuations, strict=True)])

    class Flat:
        def logprob(self, prefixes, continuations):
            return -np.ones(len(prefixes))

    judged = implicit(policy=Lengths(), reference=Flat())([(PROBLEM, steps)])[0]
    credit = log_ratio(star(PROBLEM, [steps]), policy=Lengths(), reference=Flat())
    assert np.allclose(judged.channels["reward"], credit.values_N[[1, 3]])
    assert np.allclose(judged.step_scores_S, sigmoid(np.cumsum(credit.values_N[[1, 3]])))


def test_equal_policies_say_one_half():
    found = implicit(policy=SURE, reference=SURE)([(PROBLEM, RIGHT)])[0]
    assert found.step_scores_S.tolist() == [0.5, 0.5] and found.score == 0.5


def test_it_abstains_where_there_is_no_ratio_and_judges_the_others():
    never = tabular(modulus=3, random_slip=0.0, num_slips=0)
    none, impossible, right = implicit(policy=never, reference=LOOSE)(
        [(PROBLEM, []), (PROBLEM, SLIP), (PROBLEM, RIGHT)]
    )
    assert none.status == impossible.status == "abstained" and right.status == "scored"
    assert (
        none.step_scores_S.shape == (0,) and np.all(np.isnan(impossible.step_scores_S)) and np.isnan(impossible.score)
    )


def test_the_cost_of_a_call_is_shared_out():
    class Counted:
        cost = Cost()

        def logprob(self, prefixes, continuations):
            self.cost += Cost(forwarded_tokens=sum(len(p + c) for p, c in zip(prefixes, continuations, strict=True)))
            return np.zeros(len(prefixes))

    attempts = [(PROBLEM, RIGHT), (PROBLEM, RIGHT[:1])]
    found = implicit(policy=Counted(), reference=Counted())(attempts)
    # texts of the first: "1 +1 +1\n" 8 + "1+1=2\n" 6 = 14, then 14 + "2+1=0" 5 = 19; of the second: 8 + 5 = 13; twice
    assert [one.cost.forwarded_tokens for one in found] == [66, 26]
    assert implicit(policy=Counted(), reference=Counted())([]) == []


def test_it_is_registered_with_its_policies_as_resources():
    entry = registry.get("judge", "implicit")
    assert entry.resources == {"policy": "Policy", "reference": "Policy"} and entry.knobs["beta"] == 0.05


def test_wrong_knobs_are_named():
    with pytest.raises(ValueError, match="read is 'sum'; allowed: value, reward"):
        implicit(policy=SURE, reference=LOOSE, read="sum")
    with pytest.raises(ValueError, match=r"beta must be positive, got -0\.1"):
        implicit(policy=SURE, reference=LOOSE, beta=-0.1)
