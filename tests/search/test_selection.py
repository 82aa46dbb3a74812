import math
from collections import Counter

import numpy as np
import pytest

from stepcredit.core.registry import entries, get
from stepcredit.core.tree import star
from stepcredit.core.types import Judgment, Outcome, Problem, Step
from stepcredit.search.best_of_n import best_of_n
from stepcredit.search.majority import majority
from stepcredit.search.weighted_majority import weighted_majority

ABSTAINED = Judgment(math.nan, [math.nan], status="abstained")


def tree_of(answers, right=None):
    """One single-step attempt per answer; None is unparsed. Leaves are nodes 1, 2, ..."""
    right = [False] * len(answers) if right is None else right
    outcomes = [
        Outcome(status="unparsed") if a is None else Outcome(float(r), r, answer=a)
        for a, r in zip(answers, right, strict=True)
    ]
    return star(Problem("p", "?"), [[Step("s")] for _ in answers], outcomes)


def judged(*scores):
    return tuple(ABSTAINED if math.isnan(s) else Judgment(s, [s]) for s in scores)


def shares(choose, draws=4000):
    """How often each leaf is chosen."""
    rng = np.random.default_rng(0)
    counts = Counter(choose(rng) for _ in range(draws))
    return {leaf: counts[leaf] / draws for leaf in sorted(counts)}


def test_the_family_holds_three_registered_methods():
    assert {"best_of_n", "majority", "weighted_majority"} <= {entry.name for entry in entries("search")}
    assert get("search", "best_of_n").resources == {"rng": "Rng"}
    assert get("search", "best_of_n").knobs == {"num": None, "aggregation": "judge"}


def test_the_highest_score_is_chosen():
    assert best_of_n(tree_of("abc"), judged(0.2, 0.9, 0.5), rng=np.random.default_rng(0)) == 2


def test_the_aggregation_asked_for_is_the_one_used():
    # Peers' final scoring says "last" whatever was asked. Steps: a = (.9, .1, .8), b = (.5, .5, .5), c = (.6, .9, .1).
    tree = star(Problem("p", "?"), [[Step("s")] * 3] * 3)
    judgments = [Judgment(0.0, [0.9, 0.1, 0.8]), Judgment(0.9, [0.5, 0.5, 0.5]), Judgment(0.5, [0.6, 0.9, 0.1])]
    chosen = {
        how: best_of_n(tree, judgments, rng=np.random.default_rng(0), aggregation=how)
        for how in ("judge", "min", "last", "mean", "product", "geometric_mean")
    }
    # min .1 .5 .1; last .8 .5 .1; mean .6 .5 .533; product .072 .125 .054
    assert chosen == {"judge": 6, "min": 6, "last": 3, "mean": 3, "product": 6, "geometric_mean": 6}


def test_a_step_scored_exactly_zero_still_counts():
    tree = star(Problem("p", "?"), [[Step("s")] * 3] * 2)
    judgments = [Judgment(0.5, [0.9, 0.0, 0.9]), Judgment(0.5, [0.2, 0.2, 0.2])]
    assert best_of_n(tree, judgments, rng=np.random.default_rng(0), aggregation="min") == 6


def test_ties_are_uniform_and_never_broken_by_the_outcome():
    right = shares(lambda rng: best_of_n(tree_of("abc", [True, False, False]), judged(0.5, 0.5, 0.1), rng=rng))
    wrong = shares(lambda rng: best_of_n(tree_of("abc", [False, True, True]), judged(0.5, 0.5, 0.1), rng=rng))
    assert right == wrong and set(right) == {1, 2}
    assert right[1] == pytest.approx(0.5, abs=0.03)


def test_an_abstained_judgment_is_chosen_only_where_all_abstain():
    assert set(shares(lambda rng: best_of_n(tree_of("ab"), judged(math.nan, 0.0), rng=rng))) == {2}
    assert set(shares(lambda rng: best_of_n(tree_of("ab"), judged(math.nan, math.nan), rng=rng))) == {1, 2}
    assert set(shares(lambda rng: weighted_majority(tree_of("aab"), judged(math.nan, math.nan, 0.1), rng=rng))) == {3}


def test_num_takes_the_first_attempts():
    assert best_of_n(tree_of("abc"), judged(0.2, 0.3, 0.9), rng=np.random.default_rng(0), num=2) == 2
    assert majority(tree_of("abbaa"), rng=np.random.default_rng(0), num=3) in (2, 3)
    with pytest.raises(ValueError, match="num is 4; allowed: 1 to its 3 attempts"):
        best_of_n(tree_of("abc"), judged(0.2, 0.3, 0.9), rng=np.random.default_rng(0), num=4)


def test_majority_groups_normalised_answers():
    # "x = 1" and " X =  1" are one answer with two votes against one and one.
    assert set(shares(lambda rng: majority(tree_of(["x = 1", "y", " X =  1", "z"]), rng=rng))) == {1, 3}


def test_unparsed_attempts_do_not_vote():
    assert set(shares(lambda rng: majority(tree_of([None, None, None, "a"]), rng=rng))) == {4}
    assert set(shares(lambda rng: majority(tree_of([None, None]), rng=rng))) == {1, 2}


def test_tied_answers_share_equally_whatever_their_correctness():
    # a and b have two votes each, c one: 1/2 for each answer, 1/4 for each of its voters.
    found = shares(lambda rng: majority(tree_of("aabbc", [True, True, False, False, True]), rng=rng))
    assert set(found) == {1, 2, 3, 4}
    assert all(value == pytest.approx(0.25, abs=0.03) for value in found.values())


def test_weights_can_overrule_the_count_and_constant_weights_cannot():
    rng = np.random.default_rng(0)
    # a: .2 + .2 + .2 = .6 against b: .9
    assert weighted_majority(tree_of("aaab"), judged(0.2, 0.2, 0.2, 0.9), rng=rng) == 4
    assert weighted_majority(tree_of("aaab"), judged(0.5, 0.5, 0.5, 0.5), rng=rng) in (1, 2, 3)


def test_equal_sums_in_another_order_are_a_tie():
    # .1 + .2 is not .3 in floating point; it is a tie all the same.
    found = shares(lambda rng: weighted_majority(tree_of("aab"), judged(0.1, 0.2, 0.3), rng=rng))
    assert found[3] == pytest.approx(0.5, abs=0.03)


def test_where_nobody_votes_the_weighted_majority_is_the_best_score():
    assert weighted_majority(tree_of([None, None]), judged(0.1, 0.7), rng=np.random.default_rng(0)) == 2


def test_judgments_that_do_not_align_are_refused():
    with pytest.raises(ValueError, match="3 attempts need as many judgments, got 2"):
        best_of_n(tree_of("abc"), judged(0.1, 0.2), rng=np.random.default_rng(0))
