"""reverse_curriculum: success rates of start states on a demonstration, against counts and against exact values."""

import numpy as np

from stepcredit import Outcome, Problem, Record, Step, Tree
from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import merge, prompt_step, star
from stepcredit.core.truth import verified
from stepcredit.credit.monte_carlo import monte_carlo
from stepcredit.credit.reverse_curriculum import reverse_curriculum, starts
from stepcredit.rollout.restart import restart

NAN = np.nan
PROBLEM = Problem("p", "?")


def curriculum():
    """Demonstration 1-2-3 (right). From 1: 4 right, 5-6 wrong with the partial reward .2, 7 cut. From 2: 8 right, and from 9,
    which reads as 1 in another demonstration 9-10 (right): 11 wrong. From 5, itself a continuation: 12 right.
    """
    texts = ["?", "a", "b", "c", "x", "y", "z", "w", "v", "a", "d", "u", "t"]
    steps = (prompt_step(PROBLEM), *(Step(text) for text in texts[1:]))
    rewards = {3: 1.0, 4: 1.0, 6: 0.2, 8: 1.0, 10: 1.0, 11: 0.0, 12: 1.0}
    outcomes = [Outcome(reward=rewards[n]) if n in rewards else None for n in range(13)]
    outcomes[7] = Outcome(status="truncated")
    parents = [-1, 0, 1, 2, 1, 1, 5, 1, 2, 0, 9, 9, 5]
    return Tree(PROBLEM, steps, parents, tuple(outcomes), group_N=[0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7])


def test_a_step_s_value_is_how_often_the_policy_succeeds_from_there():
    """Behind "a" (nodes 1 and 9): right, wrong, wrong of three scored, so 1/3. Behind 2: 1 of 1. Ends: their own outcome.
    Continuations, node 5 with its restart among them, are evidence.
    """
    credit = reverse_curriculum(curriculum())
    expected = [NAN, 1 / 3, 1, 1, NAN, NAN, NAN, NAN, NAN, 1 / 3, 1, NAN, NAN]
    assert np.allclose(credit.values_N, expected, equal_nan=True)
    assert credit.kind == "value"


def test_a_partial_reward_is_no_success():
    """Monte Carlo means count it: (1 + .2)/2 = .6 from node 1's own scored continuations."""
    assert np.isclose(monte_carlo(curriculum()).values_N[1], 0.6)
    num_right_N, num_scored_N = starts(curriculum())
    assert (num_right_N[1], num_scored_N[1]) == (1, 3) == (num_right_N[9], num_scored_N[9])
    assert (num_right_N[5], num_scored_N[5]) == (1, 1)
    assert (num_right_N[0], num_scored_N[0]) == (0, 0)  # of the policy from the prompt; both attempts are an expert's


def test_from_the_prompt_the_policy_s_attempts_count_and_demonstrations_do_not():
    own = star(PROBLEM, [[Step("a"), Step("e")], [Step("f")]], [Outcome(reward=0.0), Outcome(reward=1.0)])
    num_right_N, num_scored_N = starts(merge([curriculum(), own]))
    assert (num_right_N[0], num_scored_N[0]) == (1, 2)  # "a-e" begins as a demonstration does, and is none
    assert (num_right_N[1], num_scored_N[1]) == (1, 3)


def test_without_a_start_nothing_is_known():
    tree = star(PROBLEM, [[Step("a"), Step("b")]], [Outcome(reward=1.0)])
    credit = reverse_curriculum(tree)
    assert np.isnan(credit.values_N).all() and not credit.weight_N.any()


def test_it_is_unbiased_for_the_exact_values_along_a_demonstration():
    task, policy = registry.bind("tasks", "chain")(), registry.bind("policy", "tabular")()
    problems = task.problems(20, rng(0, "demonstrated"))
    trees = [star(p, [task.demonstrate(p, rng(0, "demonstration", p.id))]) for p in problems]
    z = []
    for old, tree in zip(trees, restart(trees, policy=policy, rng=rng(0, "starts"), num=24), strict=True):
        value_N = reverse_curriculum(verified(Record(tree), task.verify).tree).values_N
        for node in range(1, old.num_nodes - 1):
            prefix = tree.problem.prompt + "\n" + "".join(step.text + "\n" for step in tree.solution(node))
            exact = float(policy.value([prefix])[0])
            if 0 < exact < 1:
                z.append((value_N[node] - exact) / np.sqrt(exact * (1 - exact) / 24))
            else:
                assert value_N[node] == exact
    # Unbiased and binomial: standardised errors of mean 0 (four standard errors) and variance 1.
    assert len(z) > 30 and abs(np.mean(z)) < 4 / np.sqrt(len(z)) and 0.6 < np.var(z) < 1.5
