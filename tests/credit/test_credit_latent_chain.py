"""latent_chain: reads the chain off a judge's channels; the arithmetic itself is tested in core/test_chain.py."""

import numpy as np
import pytest

from stepcredit import Cost, Judgment, Outcome, Problem, Step, Tree
from stepcredit.core import chain
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.latent_chain import latent_chain

PROBLEM = Problem("p", "?")
NAN = np.nan
RATE = {"a": 0.9, "b": 0.5, "c": 0.8, "d": 0.6}


def judge_with(*names):
    """Channels read off each step's text; fix is a tenth of it."""

    def judge(attempts):
        found = []
        for _, solution in attempts:
            rate = np.array([RATE[step.text] for step in solution if step.sampled])
            channels = {name: rate if name == "keep" else rate / 10 for name in names}
            found.append(Judgment(0.5, rate, channels, cost=Cost(judge_calls=1)))
        return found

    return judge


def tree_of(*outcomes):
    given = [Outcome(status="truncated") if np.isnan(r) else Outcome(reward=r) for r in outcomes]
    return star(PROBLEM, [[Step("a"), Step("b")]] * len(outcomes), given)


def test_the_filtered_state_is_the_running_product_without_recovery():
    credit = latent_chain(tree_of(1.0, NAN), judge=judge_with("keep"))
    assert np.allclose(credit.values_N[1:], [0.9, 0.45, 0.9, 0.45])  # no outcome is read
    assert credit.kind == "value" and credit.cost.judge_calls == 2


def test_recovery_is_a_constant_or_the_judges_own():
    """With fix .2: .9 and .9 * .5 + .1 * .2 = .47; the judge's own second fix is .05: .455."""
    constant = latent_chain(tree_of(1.0), judge=judge_with("keep", "fix"), recovery=0.2)
    assert np.allclose(constant.values_N[1:], [0.9, 0.47])
    own = latent_chain(tree_of(1.0), judge=judge_with("keep", "fix"))
    assert np.allclose(own.values_N[1:], [0.9, 0.455])


def test_posterior_and_blame_use_the_outcome():
    """Wrong, no recovery: blames .1 / .55 and .45 / .55; P(ok after 1 | wrong) = .45 / .55."""
    judge = judge_with("keep")
    label = latent_chain(tree_of(0.0, NAN), judge=judge, read="posterior")
    assert label.kind == "label" and np.allclose(label.values_N[1:3], [0.45 / 0.55, 0.0])
    assert np.all(np.isnan(label.values_N[3:]))  # without outcome there is no posterior
    blame = latent_chain(tree_of(0.0), judge=judge, read="first_error")
    assert np.allclose(blame.values_N[1:], [1 - 0.1 / 0.55, 1 - 0.45 / 0.55])
    assert np.allclose(latent_chain(tree_of(1.0), judge=judge, read="posterior").values_N[1:], 1.0)


def test_retry_and_free_read_their_channels():
    """Noisy-OR of .09 and .05: .09, 1 - .91 * .95 = .1355."""
    retry = latent_chain(tree_of(1.0), judge=judge_with("fix"), link="retry")
    assert np.allclose(retry.values_N[1:], [0.09, 0.1355])
    free = latent_chain(tree_of(0.0), judge=judge_with("keep", "fix"), link="free", read="posterior", fp=0.1)
    expected = chain.posterior(np.array([0.9, 0.5]), np.array([0.09, 0.05]), False, fp=0.1).ok_S
    assert np.allclose(free.values_N[1:], expected)


def test_tool_results_are_passed_over():
    attempt = [Step("a"), Step("seen", kind="tool_result", sampled=False), Step("b")]
    credit = latent_chain(star(PROBLEM, [attempt], [Outcome(reward=1.0)]), judge=judge_with("keep"))
    assert np.allclose(credit.values_N, [NAN, 0.9, NAN, 0.45], equal_nan=True)


def test_shared_steps_get_the_mean_over_the_attempts_through_them():
    """Node 1 (keep .9) ends in b, wrong (posterior .45/.55) and in c, right (posterior 1)."""
    steps = (prompt_step(PROBLEM), Step("a"), Step("b"), Step("c"))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1], (None, None, Outcome(reward=0.0), Outcome(reward=1.0)))
    credit = latent_chain(tree, judge=judge_with("keep"), read="posterior")
    assert np.allclose(credit.values_N[1:], [(0.45 / 0.55 + 1) / 2, 0, 1])


def test_an_abstaining_judge_assigns_nothing():
    def abstain(attempts):
        return [Judgment(NAN, [NAN, NAN], status="abstained") for _ in attempts]

    assert np.all(np.isnan(latent_chain(tree_of(1.0), judge=abstain).values_N))


def test_missing_channels_and_senseless_readings_are_refused():
    with pytest.raises(ValueError, match="link 'retry' needs channel fix; the judge has keep"):
        latent_chain(tree_of(1.0), judge=judge_with("keep"), link="retry")
    with pytest.raises(ValueError, match="the chain starts broken"):
        latent_chain(tree_of(1.0), judge=judge_with("fix"), link="retry", read="first_error")
    with pytest.raises(ValueError, match="read is 'smoothed'; allowed: filtered, posterior, first_error"):
        latent_chain(tree_of(1.0), judge=judge_with("keep"), read="smoothed")
    with pytest.raises(ValueError, match=r"fp \+ fn < 1"):
        latent_chain(tree_of(1.0), judge=judge_with("keep"), fp=0.7, fn=0.3)
