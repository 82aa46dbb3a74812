"""A policy's own word as a judgment: read where it stands, asked for where it does not, abstained where it is none."""

import numpy as np
import pytest

from stepcredit import Problem, Step
from stepcredit.core.rng import rng
from stepcredit.judge.post_completion import post_completion
from stepcredit.policy.scripted import scripted

PROBLEM = Problem("p", "2 +3 -1")
LINES = [Step("2+3=0"), Step("0-1=4")]
MARK = Step("<eoc>")


def said(*lines):
    return [Step(line, kind="evaluation") for line in lines]


def test_what_stands_behind_the_marker_is_read_at_no_cost():
    policy = scripted()
    found, other = post_completion(policy=policy, rng=rng(0))(
        [(PROBLEM, [*LINES, MARK, *said("1 0", "0 1")]), (PROBLEM, [*LINES, MARK, *said("1 1", "[0.7,1]")])]
    )
    assert (found.score, dict(found.parts), found.status) == (0.0, {"answer": 0.0, "format": 1.0}, "scored")
    assert np.array_equal(found.step_scores_S, [1, 0, np.nan, np.nan, np.nan], equal_nan=True)
    assert other.score == 0.7 and policy.asked == [] and found.cost.generated_tokens == 0


def test_an_attempt_that_stopped_at_the_marker_is_gone_on_with_by_the_policy():
    policy = scripted(completions=["1 1\n1 1", "0 0\n0 1\n"])
    first, second = post_completion(policy=policy, rng=rng(0))([(PROBLEM, LINES), (PROBLEM, [*LINES, MARK])])
    assert policy.asked == ["2 +3 -1\n2+3=0\n0-1=4\n<eoc>\n"] * 2
    assert first.score == 1.0 and first.step_scores_S.tolist() == [1, 1]
    assert second.score == 0.0 and np.array_equal(second.step_scores_S, [0, 0, np.nan], equal_nan=True)


@pytest.mark.parametrize("lines", [("1 1", "yes"), ("1 1", "2 1"), ("1 1",), ("1", "1", "1"), ("1 1", "open('x')")])
def test_what_cannot_be_read_abstains(lines):
    found = post_completion(policy=scripted(), rng=rng(0))([(PROBLEM, [*LINES, MARK, *said(*lines)])])[0]
    assert found.status == "abstained" if lines != ("1 1",) else found.score == 1.0
    assert np.isnan(found.step_scores_S).all()


def test_bits_that_are_not_one_a_step_are_left_out():
    found = post_completion(policy=scripted(), rng=rng(0))([(PROBLEM, [*LINES, MARK, *said("1 0 1", "0 1")])])[0]
    assert found.score == 0.0 and np.isnan(found.step_scores_S).all()


def test_no_length_is_refused():
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        post_completion(policy=scripted(), rng=rng(0), max_new_tokens=0)
