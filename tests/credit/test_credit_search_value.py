"""search_value: the means a search backed up, read off its visits again."""

from dataclasses import replace

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.rng import rng
from stepcredit.core.tree import prompt_step
from stepcredit.core.types import Completion, Cost
from stepcredit.credit.search_value import backed_up, evaluations, mixed, search_value
from stepcredit.rollout._mcts import Critics, grow
from stepcredit.rollout._mcts_tree import Growth, Rollout, Settings, Visit
from stepcredit.rollout._writing import Writing

PROBLEM = Problem("p", "?")
NAN = np.nan


def searched(visits=(7, 4, 2, 1, 2, 0, 0)):
    """Prompt: 1 (under it 3, right, once, and 4, wrong, twice) and 2 (with the fast rollouts 5 right and 6 cut)."""
    steps = (prompt_step(PROBLEM), *(Step(str(n)) for n in range(1, 7)))
    rewards = {3: 1.0, 4: 0.0, 5: 1.0}
    outcomes = [Outcome(reward=rewards[n]) if n in rewards else None for n in range(7)]
    outcomes[6] = Outcome(status="truncated")
    return Tree(PROBLEM, steps, [-1, 0, 0, 1, 1, 2, 2], tuple(outcomes), visits_N=visits, group_N=[0, 0, 0, 0, 0, 1, 2])


def test_a_value_is_the_mean_of_the_evaluations_by_visits():
    """1 was evaluated once by nothing: (1 x 1 + 2 x 0)/3. 2, visited twice, has its rollout's 1. Rollouts have no value."""
    credit = search_value(searched())
    assert np.allclose(credit.values_N, [NAN, 1 / 3, 1, 1, 0, NAN, NAN], equal_nan=True)
    assert credit.kind == "value"
    assert np.isclose(backed_up(searched(), evaluations(searched()))[0], 3 / 5)  # (1 + 2 x 0 + 2 x 1)/5


def test_evaluations_are_outcomes_or_fast_rollouts():
    """2 has the one scored rollout behind it; that rollout itself (5) keeps its outcome."""
    assert np.array_equal(evaluations(searched()), [NAN, NAN, 1, 1, 0, 1, NAN], equal_nan=True)


def test_critics_take_part_by_their_weights_where_they_know_a_node():
    """A critic that gives .4 to nodes 1 and 2: e_1 = .4, e_2 = (.4 + 1)/2 = .7, or with betas 1, 3: (.4 + 3)/4 = .85.
    V_1 = (.4 + 1 + 2 x 0)/4.
    """
    tree, critic = searched(), np.array([NAN, 0.4, 0.4, NAN, NAN, NAN, NAN])
    found = backed_up(tree, mixed([critic, evaluations(tree)]))
    assert np.allclose(found[1:5], [0.35, 0.7, 1, 0])
    assert np.isclose(backed_up(tree, mixed([critic, evaluations(tree)], [1, 3]))[2], 0.85)
    assert np.isnan(mixed([critic, critic], [1, 0])[3])


def test_without_visits_every_outcome_counts_once():
    """1: right and wrong; 2: one right, the cut one unknown."""
    tree = replace(searched(), visits_N=None)
    assert np.allclose(search_value(tree).values_N, [NAN, 0.5, 1, 1, 0, 1, NAN], equal_nan=True)


def test_more_visits_below_than_at_a_node_are_refused():
    with pytest.raises(ValueError, match="node 1 has 2 visits, its children together 3; allowed: at most as many"):
        search_value(searched((7, 2, 2, 1, 2, 0, 0)))


def test_visits_that_are_no_searchs_are_refused():
    """rollout/bisect counts the searches that began at a state: attempts have outcomes, the prompt's group and no visits."""
    with pytest.raises(
        ValueError, match=r"node 1 has no visits, .* the group of node 0, .* rollouts, in groups of their own"
    ):
        search_value(searched((2, 0, 0, 0, 0, 0, 0)))


def test_wrong_evaluations_and_critics_are_named():
    with pytest.raises(ValueError, match=r"expected \[7\], got \[3\]"):
        backed_up(searched(), np.zeros(3))
    for betas in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="2 critics and betas"):
            mixed([np.zeros(2), np.zeros(2)], betas)
    with pytest.raises(ValueError, match="0 critics"):
        mixed([])
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        search_value(replace(searched(), outcomes=(None, None, Outcome(reward=2.0), None, None, None, None)))


class Hasty:
    """Writes `x` or `y` a line; before each, ends with probability 1/2, so that many rollouts are empty."""

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        return [[self._next(rng, stop) for _ in range(num)] for _ in prefixes]

    def _next(self, rng, stop):
        lines = []
        while rng.random() < 0.5 and len(lines) < (1 if "\n" in stop else 5):
            lines.append("xy"[int(rng.integers(2))])
        return Completion("\n".join(lines), logprobs=(-1.0,) * (len(lines) + 1))


@pytest.mark.parametrize("fast", [None, Hasty()])
def test_it_is_the_q_of_a_search_with_empty_rollouts(fast):
    """Right is an even number of x: an empty rollout is an attempt like others, and its outcome stands in the tree."""
    asked = []

    def ends(problem, attempts):
        asked.extend(attempts)
        found = [Outcome(reward=float(sum(step.text == "x" for step in steps) % 2 == 0)) for steps in attempts]
        return [(one.reward, one) for one in found], Cost(verifier_calls=len(attempts))

    (growth,) = grow([PROBLEM], policy=Hasty(), fast=fast, critics=Critics(ends), rng=rng(0), writing=Writing(),
                     settings=Settings(num_searches=40, root_min_children=3))  # fmt: skip
    tree = growth.tree()
    searched_N = tree.visits_N > 0
    empty = [n for n in tree.leaves if not searched_N[n] and tree.steps[n].text == "" and tree.parent_N[n]]
    assert len(empty) > 5 and np.isfinite(tree.reward_N[empty]).all()
    assert np.isfinite(tree.reward_N).sum() == len(asked) == tree.cost.verifier_calls  # all that was paid for is there
    expected = [growth.q(n) for n in range(1, tree.num_nodes) if searched_N[n]]
    assert np.allclose(search_value(tree).values_N[1:][searched_N[1:]], expected, equal_nan=True)
    # What is verified is what was written: no attempt that says something ends in an empty step.
    assert all(len(steps) == 1 or steps[-1].text for steps in asked)


@pytest.mark.parametrize("weights", [(0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (0.5, 0.0, 2.0)])
def test_it_is_the_q_of_the_search_itself(weights):
    """A random search of 60 visits with rollouts, ends that are visited again, and critics that are sometimes silent."""
    generator = np.random.default_rng(5)
    growth = Growth(PROBLEM, Settings(weights=weights))
    for count in range(60):
        inner = [n for n, over in enumerate(growth.over) if not over and growth.groups[n] == 0]
        ends = [n for n, over in enumerate(growth.over) if over and growth.groups[n] == 0]
        if count and ends and generator.random() < 0.2:
            growth.apply(Visit(int(generator.choice(ends))))
            continue
        over = bool(count > 3 and generator.random() < 0.4)
        critics = {name: float(generator.random()) for name in ("value", "prm") if generator.random() < 0.8}
        rewards = [float(generator.integers(2)) for _ in range(1 if over else generator.integers(0, 3))]
        if rewards:
            critics["outcome"] = float(np.mean(rewards))
        own = Outcome(reward=rewards[0]) if over else None
        wrote = [(Step("a"), Step("b")), (Step(""),)]  # the second wrote nothing: an empty step, and as good as others
        rollouts = () if over else tuple(Rollout(wrote[count % 2], Outcome(reward=r)) for r in rewards)
        node, step = (int(generator.choice(inner)), Step(str(count))) if count else (0, None)
        growth.apply(Visit(node, step, over=over, outcome=own, critics=critics, rollouts=rollouts))
    tree = growth.tree()
    known = [np.array([one.get(name, NAN) for one in growth.critics]) for name in ("value", "prm")]
    found = backed_up(tree, mixed([*known, evaluations(tree)], weights))
    expected = [growth.q(n) if growth.visits[n] else NAN for n in range(tree.num_nodes)]
    assert np.allclose(found, expected, equal_nan=True) and np.isfinite(found).sum() > 20
    if weights == (0.0, 0.0, 1.0):
        assert np.allclose(search_value(tree).values_N[1:], expected[1:], equal_nan=True)
