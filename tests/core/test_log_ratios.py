"""log_ratios: which text a step is asked behind, and what has no ratio."""

import numpy as np
import pytest

from stepcredit import Cost, Problem, Step
from stepcredit.core.log_ratios import asked, difference, logprobs, questions, read_in

PROBLEM = Problem("p", "2+3=?")
NAN, INF = np.nan, np.inf


def test_a_step_is_asked_behind_its_path_and_closed_unless_it_is_the_last():
    before = [Step("look", kind="tool_call"), Step("5", kind="tool_result", sampled=False)]
    assert asked(PROBLEM, before, Step("so 5"), is_last=False) == ("2+3=?\nlook\n5\n", "so 5\n")
    assert asked(PROBLEM, [], Step("5"), is_last=True, prompt_end=" ", delimiter=";") == ("2+3=? ", "5")
    assert asked(PROBLEM, before, Step("so 5", context="folded:"), is_last=True) == ("folded:", "so 5")


def test_the_questions_of_an_attempt_laid_end_to_end_are_its_text():
    steps = [Step("a"), Step("b"), Step("c")]
    questions = [asked(PROBLEM, steps[:j], steps[j], is_last=j == 2) for j in range(3)]
    assert questions[0][0] + "".join(c for _, c in questions) == "2+3=?\na\nb\nc"
    assert all(questions[j + 1][0] == p + c for j, (p, c) in enumerate(questions[:2]))


def test_what_a_policy_cannot_write_has_no_ratio():
    found = difference(np.array([-1.0, -INF, -1.0, -INF, NAN]), np.array([-3.0, -1.0, -INF, -INF, -1.0]))
    assert np.array_equal(found, [2.0, NAN, NAN, NAN, NAN], equal_nan=True)


class Counted:
    """Forwards a token for each character."""

    def __init__(self):
        self.cost = Cost(forwarded_tokens=100)

    def logprob(self, prefixes, continuations):
        self.cost += Cost(forwarded_tokens=sum(len(p + c) for p, c in zip(prefixes, continuations, strict=True)))
        return [-len(c) for c in continuations]


def test_the_cost_is_what_the_policy_forwarded_for_these_questions():
    given, cost = logprobs(Counted(), [("ab", "c"), ("", "de")])
    assert given.tolist() == [-1.0, -2.0] and cost.forwarded_tokens == 5 and cost.seconds > 0
    none, nothing = logprobs(Counted(), [])
    assert none.shape == (0,) and nothing == Cost()


def test_a_policy_that_leaves_questions_unanswered_is_refused():
    class Short:
        def logprob(self, prefixes, continuations):
            return np.zeros(1)

    with pytest.raises(ValueError, match=r"2 steps, but the policy gave log-probabilities \[1\]"):
        logprobs(Short(), [("", "a"), ("", "b")])


def test_a_question_for_each_sampled_step():
    steps = [Step("look"), Step("5", kind="tool_result", sampled=False), Step("so 5")]
    assert questions(PROBLEM, steps) == [("2+3=?\n", "look\n"), ("2+3=?\nlook\n5\n", "so 5")]
    assert questions(PROBLEM, steps[:2]) == [("2+3=?\n", "look\n")] and questions(PROBLEM, []) == []


def test_what_begins_another_is_read_in_the_longest_and_every_host_is_its_own():
    assert read_in([]).tolist() == [] and read_in([[1]]).tolist() == [0]
    assert read_in([[1], [1, 2], [2], [1, 2, 3], [1, 3]]).tolist()[1:] == [3, 2, 3, 4]
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 2, rng.integers(1, 7)).tolist() for _ in range(200)]
    found = read_in(rows)
    for row, host in zip(rows, found, strict=True):
        assert rows[host][: len(row)] == row and found[host] == host
    # No two of those that are read begin one another.
    read = [rows[host] for host in np.unique(found)]
    assert not any(a is not b and b[: len(a)] == a for a in read for b in read)
