"""Bias and variance of what is read off grown trees, against the exact values of `policy/tabular` by enumeration.

Four operations modulo 5, each slipped with probability .2 to one of four wrong results: a sound state stays sound with .8,
a broken one is hit back with .05, so V after 0 to 4 sound lines is .453, .5375, .65, .8, 1. Where an estimator is not
listed here: monte_carlo (soft, hard, intervals) in tests/credit/test_credit_monte_carlo.py and test_rollout_restart.py,
reverse_curriculum in its own test, adaptive's error rate in test_rollout_adaptive.py, mcts in test_rollout_mcts.py.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import prompt_step, star
from stepcredit.core.types import Completion, Outcome, Problem, Step, Tree
from stepcredit.credit.monte_carlo import monte_carlo
from stepcredit.credit.relative_progress import relative_progress
from stepcredit.credit.search_value import backed_up, evaluations
from stepcredit.credit.sibling import sibling
from stepcredit.credit.tree_advantage import tree_advantage
from stepcredit.rollout._verified import verified
from stepcredit.rollout.bisect import bisect
from stepcredit.rollout.mcts import mcts
from stepcredit.rollout.restart import restart

KNOBS = {"random_slip": 0.2, "systematic_slip": 0.0, "num_slips": 0}
POLICY = registry.bind("policy", "tabular", **KNOBS)()
VERIFY = registry.bind("tasks", "chain", **KNOBS)().verify
PROMPT, ANSWER = "3 +4 +1 +2 +1", "1"
SOUND = ("3+4=2", "2+1=3", "3+2=0", "0+1=1")
BROKEN = ("3+4=2", "2+1=4", "4+2=1", "1+1=2")  # slips at the second line and carries it on


def problem(n=0):
    return Problem(str(n), PROMPT, ANSWER)


def value(lines):
    return float(POLICY.value(["\n".join([PROMPT, *lines]) + "\n"])[0])


def coin_variance(p):
    return p * (1 - p)


def mean_is(found, expected, variance):
    """Within four standard errors of the exact mean; the variance is exact too."""
    found = np.asarray(found, dtype=float)
    assert abs(found.mean() - expected) < 4 * math.sqrt(variance / len(found)), (found.mean(), expected)


def variance_is(found, expected):
    """Within four standard errors, taken from the sample's own fourth moment, of the exact variance."""
    found = np.asarray(found, dtype=float)
    around = (found - found.mean()) ** 2
    assert abs(around.mean() - expected) < 4 * around.std() / math.sqrt(len(found)), (around.mean(), expected)


def binomial(num, p):
    """P(k of num), k = 0..num."""
    return [math.comb(num, k) * p**k * (1 - p) ** (num - k) for k in range(num + 1)]


def by_hand(rule, before, after):
    """The papers' rules on exact fractions, each at its own bound; GenPRM's are 0 behind a value of 0."""
    if rule == "absolute":
        return after > 0
    if rule == "effective":
        best = [1 - (1 - q) ** 4 for q in (before, after)]
        return after + Fraction(2, 5) * (best[1] - best[0]) > 0
    if rule == "difference":
        return before > 0 and after - before >= Fraction(-3, 10)
    if before == 0:
        return rule == "ratio" and after > 0
    return after / before > Fraction(4, 5) if rule == "ratio" else after / before >= Fraction(4, 5)


@pytest.fixture(scope="module", params=[(SOUND, 2), (BROKEN, 2), (BROKEN, 3)], ids=["sound", "broken", "after"])
def restarted(request):
    """A node, the values before and at it, and 600 copies of its attempt with four restarts behind both, verified."""
    lines, node = request.param
    trees = [star(problem(n), [[Step(line) for line in lines]], [Outcome(float(lines == SOUND))]) for n in range(600)]
    grown = restart(trees, policy=POLICY, rng=rng(1, lines[1], node), num=4, nodes=[[node - 1, node]] * 600)
    return node, value(lines[: node - 1]), value(lines[:node]), [verified(tree, VERIFY) for tree in grown]


@pytest.mark.parametrize("rule", ["absolute", "ratio", "effective", "progress", "difference"])
def test_the_share_of_steps_that_a_rule_calls_sound_is_the_enumerated_one(restarted, rule):
    """P(label = 1) = sum over a, b of P(a of 4 | V_1) P(b of 4 | V_2) [rule(a / 4, b / 4)]; a coin's variance with it."""
    node, first, second, trees = restarted
    pairs = itertools.product(enumerate(binomial(4, first)), enumerate(binomial(4, second)))
    expected = sum(p * q for (a, p), (b, q) in pairs if by_hand(rule, Fraction(a, 4), Fraction(b, 4)))
    found = [
        relative_progress(tree, values=monte_carlo(tree), rule=rule, first="given", start=0.5).values_N[node]
        for tree in trees
    ]
    assert 0 < expected < 1
    mean_is(found, expected, coin_variance(expected))


@pytest.mark.parametrize("restarted", [(SOUND, 2)], indirect=True)
def test_the_labels_of_the_first_step_are_biased_by_the_given_start_as_enumerated(restarted):
    """Ratio above .8: from a start of .6 a value above .48, so 2 of 4 or more; from 1, all four."""
    _, first, _, trees = restarted
    for start, least in ((0.6, 2), (1.0, 4)):
        expected = sum(binomial(4, first)[least:])
        found = [
            relative_progress(tree, values=monte_carlo(tree), first="given", start=start).values_N[1] for tree in trees
        ]
        mean_is(found, expected, coin_variance(expected))


def forest(num_trees, num_leaves, count):
    """`count` trees: `num_trees` first lines by the policy, `num_leaves` continuations behind each, verified."""
    (first,) = POLICY.sample([PROMPT + "\n"], count * num_trees, rng(2, "first"), stop=["\n"])
    lines = [one.text for one in first]
    rest = POLICY.sample([f"{PROMPT}\n{line}\n" for line in lines], num_leaves, rng(2, "rest"))
    found = []
    for n in range(count):
        steps, parents, groups = [prompt_step(problem())], [-1], [0]
        for group in range(num_trees):
            shared = len(steps)
            steps.append(Step(lines[n * num_trees + group]))
            parents.append(0)
            groups.append(group)
            for one in rest[n * num_trees + group]:
                for depth, text in enumerate(one.text.splitlines()):
                    parents.append(shared if depth == 0 else len(steps) - 1)
                    steps.append(Step(text))
                    groups.append(group)
        tree = Tree(problem(n), tuple(steps), parents, (None,) * len(steps), group_N=groups)
        found.append(verified(tree, VERIFY))
    return found


# The first line is right with .8, each of four wrong ones has .05: V = .8 Q_right + .2 Q_wrong, and between lines Q varies.
Q = {True: value(SOUND[:1]), False: value(["3+4=0"])}
V = value([])
BETWEEN = 0.8 * Q[True] ** 2 + 0.2 * Q[False] ** 2 - V**2
WITHIN = 0.8 * coin_variance(Q[True]) + 0.2 * coin_variance(Q[False])


def test_the_world_is_the_one_that_the_numbers_are_of():
    assert pytest.approx(V) == 0.8 * Q[True] + 0.2 * Q[False]
    assert [round(value(SOUND[:n]), 4) for n in range(5)] == [0.4531, 0.5375, 0.65, 0.8, 1.0]
    assert value(BROKEN[:2]) == pytest.approx(0.0875) and value(BROKEN[:1]) == value(SOUND[:1])


@pytest.fixture(scope="module")
def trees():
    """Three first lines, two continuations of each, 500 times."""
    return forest(3, 2, 500)


def of_first_lines(trees, credit):
    """The credit of first lines, by whether they are right."""
    found = {True: [], False: []}
    for tree in trees:
        values_N = credit(tree).values_N
        for node in np.flatnonzero(tree.parent_N == 0).tolist():
            found[tree.steps[node].text == SOUND[0]].append(values_N[node])
    return found


@pytest.mark.parametrize(("leave_one_out", "scale"), [(True, 1.0), (False, 2 / 3)])
def test_mean_and_variance_of_a_choice_against_its_siblings(trees, leave_one_out, scale):
    """A = V_own - mean of the two others, or 2/3 of it: E = Q - V, Var = Q (1 - Q) / 2 + (BETWEEN + WITHIN / 2) / 2."""
    found = of_first_lines(trees, lambda tree: sibling(tree, leave_one_out=leave_one_out))
    for right, values in found.items():
        variance = scale**2 * (coin_variance(Q[right]) / 2 + (BETWEEN + WITHIN / 2) / 2)
        mean_is(values, scale * (Q[right] - V), variance)
        variance_is(values, variance)


def test_mean_and_variance_of_a_tree_against_all_trees(trees):
    """inter of a shared line: the mean of its 2 leaves less that of all 6: E = 2/3 (Q - V), variance as for siblings."""
    found = of_first_lines(trees, lambda tree: tree_advantage(tree, over="inter", normalize="none"))
    for right, values in found.items():
        variance = 4 / 9 * (coin_variance(Q[right]) / 2 + (BETWEEN + WITHIN / 2) / 2)
        mean_is(values, 2 / 3 * (Q[right] - V), variance)
        variance_is(values, variance)


def test_mean_and_variance_of_a_leaf_against_its_own_tree(trees):
    """intra of a second line behind a right first: half of own less the other leaf: E = (Q_2 - Q_1) / 2,
    Var = (Q_2 (1 - Q_2) + Q_1 (1 - Q_1)) / 4; a shared line has none.
    """
    found = {True: [], False: []}
    for tree in trees:
        intra_N = tree_advantage(tree, over="intra", normalize="none").values_N
        assert np.abs(intra_N[tree.parent_N == 0]).max() < 1e-12
        for node in range(1, tree.num_nodes):
            parent = int(tree.parent_N[node])
            if parent and tree.parent_N[parent] == 0 and tree.steps[parent].text == SOUND[0]:
                found[tree.steps[node].text == SOUND[1]].append(intra_N[node])
    for right, second in ((True, value(SOUND[:2])), (False, value(BROKEN[:2]))):
        variance = (coin_variance(second) + coin_variance(Q[True])) / 4
        mean_is(found[right], (second - Q[True]) / 2, variance)
        variance_is(found[right], variance)


def test_the_first_error_that_a_binary_search_finds_is_distributed_as_enumerated():
    """States behind lines 1 to 3 look sound with 1 - (1 - V)^k: by hand over the middle, then one of its neighbours."""
    num, k = 500, 3
    sound = [1 - (1 - value(BROKEN[:n])) ** k for n in (1, 2, 3)]
    expected = [
        (1 - sound[1]) * (1 - sound[0]),
        (1 - sound[1]) * sound[0],
        sound[1] * (1 - sound[2]),
        sound[1] * sound[2],
    ]
    steps = [[Step(line) for line in lines] for lines in (BROKEN, SOUND)]
    trees = [star(problem(n), steps, [Outcome(0.0, False), Outcome(1.0, True)]) for n in range(num)]
    grown = bisect(trees, policy=POLICY, verify=VERIFY, rng=rng(3), num=k, num_searches=1)
    found, asked = np.zeros(4), np.zeros(4)
    for tree in grown:
        value_N = monte_carlo(tree, soft=False).values_N
        found[max((node for node in (1, 2, 3) if value_N[node] == 1), default=0)] += 1
        asked += ~np.isnan(value_N[:4])
    # The middle is always asked for, then what lies behind it where it looks sound, before it where it looks broken.
    assert asked[2] == num and asked[1] + asked[3] == num
    mean_is([1.0] * int(asked[3]) + [0.0] * int(asked[1]), sound[1], coin_variance(sound[1]))
    assert sum(expected) == pytest.approx(1) and min(expected) > 0.03
    for share, p in zip(found / num, expected, strict=True):
        assert abs(share - p) < 4 * math.sqrt(coin_variance(p) / num)


CHANCE = {"a": 0.9, "b": 0.2}


class TwoWays:
    """Writes a or b, evenly; whatever stands behind, an attempt comes right with the chance of its first line."""

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        return [[self._one(prefix, rng, stop) for _ in range(num)] for prefix in prefixes]

    def _one(self, prefix, rng, stop):
        lines = prefix.split("\n")[1:-1]
        new = [] if lines else ["ab"[int(rng.integers(2))]]
        first = lines[0] if lines else new[0]
        if "\n" in stop:  # one line
            new = new or ["on"]
        else:
            new.append("right" if rng.random() < CHANCE[first] else "wrong")
        end = "" if "\n" in stop else "\n"
        return Completion("\n".join(new) + end, logprobs=(-1.0,) * len(new))


def test_what_a_search_believes_is_too_high_by_what_it_chose_to_look_at():
    """Four searches: the prompt, a and b in either order, then the one that looks better (the first sampled of equals).

    e_1 ~ V = (p_a + p_b) / 2, e_2 and e_3 ~ p_a and p_b, e_4 ~ p_selected, one rollout each. With w = P(a is selected) =
    p_a (1 - p_b) + (p_a p_b + (1 - p_a) (1 - p_b)) / 2:   E q(prompt) = (V + p_a + p_b + w p_a + (1 - w) p_b) / 4, which is
    above V; what was left behind looked bad: E[q(b) | a selected] = p_b p_a / 2 / w.
    """
    num, a, b = 600, CHANCE["a"], CHANCE["b"]

    def verify(problem, solutions):
        return [Outcome(float(steps[-1].text == "right")) for steps in solutions]

    trees = mcts([problem(n) for n in range(num)], policy=TwoWays(), verify=verify, rng=rng(4), num_searches=4,
                 num_rollouts=1, root_min_children=2, root_max_children=2, max_resamples=50)  # fmt: skip
    selected = a * (1 - b) + (a * b + (1 - a) * (1 - b)) / 2
    middle, expected = (a + b) / 2, ((a + b) / 2 + a + b + selected * a + (1 - selected) * b) / 4
    found, of_a, left, went_on = [], [], [], []
    for tree in trees:
        value_N = backed_up(tree, evaluations(tree))
        node = {text: next(n for n in np.flatnonzero(tree.parent_N == 0).tolist()
                           if tree.visits_N[n] and tree.steps[n].text == text) for text in "ab"}  # fmt: skip
        found.append(value_N[0])
        of_a.append(tree.visits_N[node["a"]] == 2)
        if of_a[-1]:
            left.append(value_N[node["b"]])
            went_on.append(value_N[node["a"]])
    assert expected - middle > 0.04
    mean_is(of_a, selected, coin_variance(selected))
    mean_is(found, expected, np.var(found))
    assert abs(np.mean(found) - middle) > 4 * np.std(found) / math.sqrt(num)  # the unbiased number is told apart
    left_b = a * b / 2 / selected
    mean_is(left, left_b, coin_variance(left_b))
    # E[q(a) | selected] = (P(e_2 = 1 | selected) + p_a) / 2 : selected with 1 against 0, or with equals, half of them.
    won = (a * (1 - b) + a * b / 2) / selected
    mean_is(went_on, (won + a) / 2, np.var(went_on))
