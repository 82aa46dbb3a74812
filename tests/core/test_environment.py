"""Environments: replies, results that a policy did not write, and state that the path alone decides."""

import pytest

from stepcredit.core.environment import Reply, executed, num_calls, observed, one_by_one, results, turn
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Problem, Step

PROBLEM = Problem("p", "?")


def counting(problem, steps, draw):
    """Says how many calls were carried out before; "break" fails, "end" is the answer, "hm" a thought."""
    text = steps[-1].text
    if text in ("end", "hm"):
        return Reply("answer" if text == "end" else "reason")
    return Reply("tool_call", "ERROR broken" if text == "break" else f"{len(executed(steps[:-1]))}")


def test_a_reply_makes_a_turn_and_a_result_is_never_sampled():
    call = turn(one_by_one(counting), PROBLEM, [], Step("go", token_ids=(1,)), rng(0))
    assert [(s.text, s.kind, s.sampled, s.token_ids) for s in call] == [
        ("go", "tool_call", True, (1,)), ("0", "tool_result", False, None),
    ]  # fmt: skip
    assert turn(one_by_one(counting), PROBLEM, call, Step("hm"), rng(0)) == [Step("hm")]
    assert [s.kind for s in turn(one_by_one(counting), PROBLEM, call, Step("end"), rng(0))] == ["answer"]


@pytest.mark.parametrize(("kind", "result"), [("tool_call", None), ("answer", "x"), ("reason", "x"), ("prompt", None)])
def test_only_a_call_has_a_result(kind, result):
    with pytest.raises(ValueError, match="allowed: tool_call with a result, reason and answer without"):
        Reply(kind, result)


def test_a_call_that_failed_changed_nothing_and_old_results_are_replaced():
    texts = ["go", "break", "go", "hm", "go", "end", "go"]
    given = [s for text in texts for s in (Step(text), Step("stale", kind="tool_result", sampled=False))]
    seen = observed(one_by_one(counting), PROBLEM, given, rng(0))
    # hm is a thought, which the count takes for carried out; nothing is done after the answer.
    assert [s.text for s in seen] == ["go", "0", "break", "ERROR broken", "go", "1", "hm", "go", "3", "end"]
    assert executed(seen) == ["go", "go", "hm", "go", "end"] and executed([]) == []


def test_calls_are_counted_by_their_results():
    done = observed(one_by_one(counting), PROBLEM, [Step("go"), Step("break"), Step("end")], rng(0))
    assert num_calls(star(PROBLEM, [done, [Step("end")]])) == 2


def call(text):
    return Step(text, kind="tool_call")


def seen(text):
    return Step(text, kind="tool_result", sampled=False)


def test_calls_made_together_have_their_results_in_the_same_order():
    """As in chats: two calls of one message, then their results. The first failed, and stands two places before its result."""
    turn_of_two = [call("put a"), call("put b"), seen("ERROR busy"), seen("ok")]
    assert results(turn_of_two) == ["ERROR busy", "ok", None, None] and executed(turn_of_two) == ["put b"]
    thought = [Step("hm"), call("put a"), call("put b"), seen("ok"), seen("ERROR busy"), call("put c"), seen("ok")]
    assert executed(thought) == ["hm", "put a", "put c"]  # a thought before the calls has no result
    # Of three, the last was never answered: it counts as carried out. A user who says ERROR is no result.
    cut = [call("a"), call("b"), call("c"), seen("ok"), seen("ERROR"), Step("ERROR?", kind="prompt", sampled=False)]
    assert results(cut) == ["ok", "ERROR", None, None, None, None] and executed(cut) == ["a", "c"]


def test_more_results_than_calls_fail_nothing_else():
    assert executed([call("a"), seen("ok"), seen("ERROR twice"), call("b"), seen("ok")]) == ["a", "b"]
    assert results([seen("ERROR"), call("a")]) == [None, None] and results([]) == []
