import math
import time
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Judgment, Outcome, Problem, Record, Step
from stepcredit.evaluate.curves import curves, majority_at, pass_at, pick_probability, picked

NAN = math.nan


def record_of(name, scores, right, answers=None):
    """One single-step attempt per score; NaN abstains, an answer of None is unparsed."""
    answers = [str(r) for r in right] if answers is None else answers
    outcomes = [
        Outcome(status="unparsed") if a is None else Outcome(float(r), bool(r), answer=a)
        for a, r in zip(answers, right, strict=True)
    ]
    judgments = tuple(
        Judgment(s, [s], status="abstained") if math.isnan(s) else Judgment(s, [s]) for s in map(float, scores)
    )
    return Record(star(Problem(name, "?"), [[Step("s")] for _ in scores], outcomes), judgments=judgments)


def enumerated_picks(score, num):
    """Best-of-N over all subsets, one by one."""
    picks = np.zeros(len(score))
    subsets = list(combinations(range(len(score)), num))
    for subset in subsets:
        ranked = [-math.inf if math.isnan(score[i]) else score[i] for i in subset]
        best = [i for i, s in zip(subset, ranked, strict=True) if s == max(ranked)]
        for i in best:
            picks[i] += 1 / len(best) / len(subsets)
    return picks


def enumerated_majority(votes, right, num, weight):
    total = 0.0
    subsets = list(combinations(range(len(votes)), num))
    for subset in subsets:
        sums, voters = Counter(), {}
        for i in subset:
            if votes[i] is not None and not math.isnan(weight[i]):
                sums[votes[i]] += weight[i]
                voters.setdefault(votes[i], []).append(i)
        if not voters:
            ranked = [-math.inf if math.isnan(weight[i]) else weight[i] for i in subset]
            best = [i for i, w in zip(subset, ranked, strict=True) if w == max(ranked)]
            total += np.mean([right[i] for i in best])
        else:
            tied = [a for a in sums if sums[a] >= max(sums.values()) - 1e-9]
            total += np.mean([np.mean([right[i] for i in voters[a]]) for a in tied])
    return total / len(subsets)


@pytest.mark.parametrize(
    "score",
    [[0.1, 0.9, 0.5, 0.7, 0.3], [0.5, 0.5, 0.9, 0.1, 0.5], [0.2] * 5, [NAN, 0.4, NAN, 0.0, 0.4], [NAN] * 5],
)
def test_pick_probabilities_agree_with_enumeration_of_all_subsets(score):
    for num in range(1, 6):
        found = pick_probability(score, num)
        assert found == pytest.approx(enumerated_picks(score, num)) and found.sum() == pytest.approx(1)


def test_constant_scores_are_exactly_the_random_pick():
    for size in (3, 16, 300):
        for num in (1, 2, size):
            assert np.abs(pick_probability([0.7] * size, num) - 1 / size).max() < 1e-12


def test_best_of_one_is_random_and_best_of_all_is_the_best():
    assert pick_probability([0.3, 0.1, 0.2], 1) == pytest.approx([1 / 3] * 3)
    assert pick_probability([0.3, 0.1, 0.2], 3).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="N is 4; allowed: 1 to the 3"):
        pick_probability([0.3, 0.1, 0.2], 4)


def test_a_score_of_exactly_zero_ranks_before_an_abstention():
    assert pick_probability([0.0, NAN, NAN], 3).tolist() == [1, 0, 0]


def test_pass_at_has_its_closed_form():
    # 2 right of 6: 1 - C(4, 3) / C(6, 3) = 1 - 4 / 20
    assert pass_at([1, 0, 0, 1, 0, 0], 3) == pytest.approx(0.8)
    assert pass_at([0, 0], 2) == 0.0 and pass_at([1, 0], 2) == 1.0


@pytest.mark.parametrize("weight", [[1.0] * 6, [0.9, 0.1, 0.2, 0.3, NAN, 0.6], [0.1, 0.2, 0.3, 0.3, 0.1, 0.2]])
@pytest.mark.parametrize("votes", [list("aabbca"), ["a", None, "b", None, "b", "c"], [None] * 6])
def test_majorities_agree_with_enumeration_of_all_subsets(votes, weight):
    right = np.array([1, 1, 0, 0, 1, 0])  # "a" is right by some attempts and wrong by one: voters share equally
    for num in range(1, 7):
        found = majority_at(votes, right, num, rng=np.random.default_rng(0), weight_G=weight)
        assert found == pytest.approx(enumerated_majority(votes, right, num, weight))


def test_drawn_subsets_come_close_to_all_of_them():
    # C(16, 8) = 12,870 subsets: 500 are drawn. 9 votes right, 7 wrong: P(more right of 8) + P(4 to 4) / 2
    votes, right = ["a"] * 9 + ["b"] * 7, [1.0] * 9 + [0.0] * 7
    ways = [math.comb(9, k) * math.comb(7, 8 - k) / math.comb(16, 8) for k in range(9)]
    exact = sum(ways[5:]) + ways[4] / 2
    found = majority_at(votes, right, 8, rng=np.random.default_rng(0))
    assert found == pytest.approx(exact, abs=0.06)
    assert found == majority_at(votes, right, 8, rng=np.random.default_rng(0))


def test_a_curve_averages_problems_and_gains_are_paired():
    records = [record_of("p", [0.9, 0.1], [1, 0]), record_of("q", [0.9, 0.1], [0, 1])]
    found = curves(records, rng=np.random.default_rng(0), num_list=[1, 2, 4])
    assert found["best_of_2"].value == 0.5 and found["random_of_2"].value == 0.5 and found["pass_at_2"].value == 1.0
    assert found["best_of_1"].value == 0.5 and found["best_of_2"].n == 2
    assert found["best_of_2_minus_random"].value == 0.0
    assert not any(name.endswith("_4") for name in found)


def test_attempts_of_one_problem_in_several_records_are_one_pool():
    rows = [record_of("p", [0.9], [1]), record_of("p", [0.1], [0]), record_of("q", [0.2, 0.3], [1, 0])]
    found = curves(rows, rng=np.random.default_rng(0), num_list=[2])
    assert found["best_of_2"].value == 0.5 and found["best_of_2"].n == 2


def test_unparsed_attempts_are_wrong_picks_and_unverified_problems_are_left_out():
    unparsed = record_of("p", [0.9, 0.1], [0, 1], [None, "x"])
    assert curves([unparsed], rng=np.random.default_rng(0), num_list=[2])["best_of_2"].value == 0.0
    tree = star(Problem("q", "?"), [[Step("s")], [Step("s")]], [Outcome(1.0, True), None])
    unverified = Record(tree, judgments=(Judgment(0.5, [0.5]), Judgment(0.6, [0.6])))
    assert curves([unparsed, unverified], rng=np.random.default_rng(0), num_list=[2])["best_of_2"].n == 1
    with pytest.raises(ValueError, match="no problem has an outcome"):
        curves([unverified], rng=np.random.default_rng(0))


def test_one_attempt_per_problem_gives_no_curve():
    with pytest.raises(ValueError, match="one attempt per problem"):
        curves([record_of("p", [0.5], [1])], rng=np.random.default_rng(0))


def test_a_problem_with_too_few_attempts_is_left_out_at_that_n():
    records = [record_of("p", [0.9, 0.1], [1, 0]), record_of("q", [0.9, 0.5, 0.1], [0, 0, 1])]
    found = curves(records, rng=np.random.default_rng(0), num_list=[2, 3])
    assert (found["best_of_2"].n, found["best_of_3"].n) == (2, 1)


def test_the_aggregation_asked_for_ranks_the_attempts():
    tree = star(Problem("p", "?"), [[Step("s")] * 2] * 2, [Outcome(1.0, True), Outcome(0.0, False)])
    record = Record(tree, judgments=(Judgment(0.0, [0.5, 0.4]), Judgment(1.0, [0.1, 0.9])))
    for scoring, expected in (("judge", 0.0), ("min", 1.0), ("last", 0.0)):
        found = curves([record], rng=np.random.default_rng(0), num_list=[2], scoring=scoring)
        assert found["best_of_2"].value == expected


def test_what_is_picked_is_named():
    records = [record_of("p", [0.9, 0.5, 0.1], [0, 1, 0])]
    found = picked(records, num=2, rng=np.random.default_rng(0), kinds=[["slip", "none", "format"]])
    # Of the pairs (0 1), (0 2), (1 2) the first is picked twice, the second once.
    assert {kind: estimate.value for kind, estimate in found.items()} == pytest.approx(
        {"slip": 2 / 3, "none": 1 / 3, "format": 0.0}
    )
    with pytest.raises(ValueError, match="3 in all; got 1"):
        picked(records, num=2, rng=np.random.default_rng(0), kinds=[["slip"]])


def test_picks_are_named_by_answer_and_steps_where_no_kind_is_given():
    record = record_of("p", [0.9, 0.1], [1, 0])
    truth = Credit([NAN, 0.0, NAN], "label", [0, 1, 0], "recorded")
    found = picked([Record(record.tree, {"truth": truth}, record.judgments)], num=2, rng=np.random.default_rng(0))
    assert found["right answer, wrong step"].value == 1.0 and found["wrong answer, steps unknown"].value == 0.0


@pytest.mark.slow
def test_curves_of_300_problems_with_16_attempts_take_seconds():
    rng = np.random.default_rng(0)
    records = [record_of(f"p{i}", rng.random(16), rng.integers(0, 2, 16).tolist()) for i in range(300)]
    started = time.perf_counter()
    curves(records, rng=rng)
    assert time.perf_counter() - started < 10  # about 1 s on one free core
