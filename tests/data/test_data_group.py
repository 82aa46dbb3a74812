import math

import pytest

from stepcredit import Credit, Judgment, Outcome, Problem, Record, Step
from stepcredit.core.tree import star
from stepcredit.data import group

NAN = math.nan


def attempt(problem, *texts, truth=None, score=None, prompt="?"):
    tree = star(Problem(problem, prompt), [[Step(text) for text in texts]], [Outcome(reward=1.0, correct=True)])
    credits = {} if truth is None else {"truth": Credit([NAN, *truth], "label", [0, *(1 for _ in truth)], "recorded")}
    return Record(tree, credits, () if score is None else (Judgment(score, [score] * len(texts)),))


def test_attempts_of_a_problem_join_at_the_prompt_and_all_that_was_said_moves_with_them():
    first, second = group([
        attempt("p", "a", "b", truth=[1, 0], score=0.1),
        attempt("q", "z"),
        attempt("p", "c", truth=[1], score=0.2),
    ])  # fmt: skip
    assert first.tree.parent_N.tolist() == [-1, 0, 1, 0] and first.tree.leaves == (2, 3)
    assert first.tree.group_N.tolist() == [0, 0, 0, 1]
    assert first.credits["truth"].values_N.tolist()[1:] == [1, 0, 1] and first.credits["truth"].method == "recorded"
    assert [judgment.score for judgment in first.judgments] == [0.1, 0.2]
    assert second.tree.problem.id == "q"


def test_a_credit_some_attempts_lack_is_unknown_there():
    (record,) = group([attempt("p", "a"), attempt("p", "b", truth=[0])])
    assert math.isnan(record.credits["truth"].values_N[1]) and record.credits["truth"].weight_N.tolist() == [0, 0, 1]


def test_the_prompt_keeps_a_value_only_where_all_agree():
    def valued(root):
        tree = attempt("p", "a").tree
        return Record(tree, {"v": Credit([root, 0.5], "value", [1, 1], "m")})

    assert group([valued(0.3), valued(0.3)])[0].credits["v"].values_N[0] == 0.3
    assert math.isnan(group([valued(0.3), valued(0.4)])[0].credits["v"].values_N[0])


def test_one_id_with_two_prompts_stays_apart():
    assert len(group([attempt("p", "a"), attempt("p", "a", prompt="!")])) == 2


def test_half_judged_problems_and_mixed_kinds_are_refused():
    with pytest.raises(ValueError, match="only 1 of its 2 records have judgments"):
        group([attempt("p", "a", score=0.5), attempt("p", "b")])
    other = Record(attempt("p", "b").tree, {"truth": Credit([NAN, 1], "value", [0, 1], "m")})
    with pytest.raises(ValueError, match="credit 'truth' is of more than one kind: label, value"):
        group([attempt("p", "a", truth=[1]), other])
