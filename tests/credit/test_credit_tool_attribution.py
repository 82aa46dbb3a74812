"""tool_attribution: ToolPO's two advantages by hand, what a correct call is, and what spam, folds and results earn."""

import json

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.rng import rng
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit import tool_attribution as module
from stepcredit.credit._call_checks import fits, is_correct, plain, result_of
from stepcredit.credit.group_mean import group_mean
from stepcredit.credit.tool_attribution import preferences
from stepcredit.tasks.tool_use import tool_use

NAN = np.nan
PROBLEM = Problem("p", "how many?", meta={"calls": ["count a", "count b"]})
ALL = ("reason", "tool_call", "answer", "evaluation")


def tool_attribution(tree, correct="matches_gold", **knobs):
    return module.tool_attribution(tree, correct=correct, **knobs)


def call(text, result="= 3"):
    """A call, and its result where it has one."""
    behind = [] if result is None else [Step(result, kind="tool_result", sampled=False)]
    return [Step(text, kind="tool_call"), *behind]


def group(attempts, rewards, problem=PROBLEM):
    """Attempts of calls (texts, or (text, result)), each closed by an answer."""
    steps = [[step for one in attempt for step in (call(one) if isinstance(one, str) else call(*one))]
             + [Step("so", kind="answer")] for attempt in attempts]  # fmt: skip
    outcomes = [Outcome(status="truncated") if np.isnan(r) else Outcome(reward=r) for r in rewards]
    return star(problem, steps, outcomes)


def by_kind(tree, credit, kind):
    """The credit of each attempt's steps of this kind."""
    return [[credit.values_N[n] for n in tree.path(leaf) if tree.steps[n].kind == kind] for leaf in tree.leaves]


def test_answers_have_the_advantage_of_success_and_calls_that_of_calls_besides():
    """Rewards 1, 0: +-.5. Right calls 2, 0: R_action 2 and 0, so +-1: 1.5 on each call of the first, -1.5 of the second."""
    tree = group([["count a", "count b"], ["count c"]], [1.0, 0.0])
    credit = tool_attribution(tree)
    assert credit.kind == "advantage"
    assert by_kind(tree, credit, "answer") == [[0.5], [-0.5]]
    assert by_kind(tree, credit, "tool_call") == [[1.5, 1.5], [-1.5]]
    assert np.isnan(credit.values_N[~tree.sampled_N]).all() and np.all(credit.weight_N[~tree.sampled_N] == 0)


def test_the_weights_are_those_of_calls_and_folds():
    tree = group([["count a", "count b"], ["count c"]], [1.0, 0.0])
    assert by_kind(tree, tool_attribution(tree, call_weight=0.25), "tool_call") == [[0.75, 0.75], [-0.75]]
    assert by_kind(tree, tool_attribution(tree, call_weight=0.0), "tool_call") == [[0.5, 0.5], [-0.5]]


@pytest.mark.parametrize("rewards", [(1.0, 0.0, 0.5), (1.0, NAN, 0.0), (1.0, 1.0, 1.0)])
def test_without_calls_it_is_dr_grpo(rewards):
    tree = group([[], [], []], rewards)
    one, other = tool_attribution(tree), group_mean(tree, normalize="none")
    assert np.allclose(one.values_N, other.values_N, rtol=0, atol=1e-15, equal_nan=True)
    assert np.array_equal(one.weight_N, other.weight_N)


def test_a_wrong_attempt_is_told_apart_by_its_calls():
    """All wrong: success says nothing; the calls of the attempt with one right call are +.5, the others' -.5."""
    tree = group([["count a"], ["count c"]], [0.0, 0.0])
    credit = tool_attribution(tree)
    assert by_kind(tree, credit, "answer") == [[0.0], [0.0]]
    assert by_kind(tree, credit, "tool_call") == [[0.5], [-0.5]]


def test_spam_earns_by_the_papers_sum_and_nothing_by_what_is_distinct():
    """Five times the same right call: 5 against 1, +-2; distinct, 1 and 1, nothing; of two due, one half each, nothing."""
    tree = group([["count a"] * 5, ["count a"]], [0.0, 0.0])
    assert by_kind(tree, tool_attribution(tree, count="sum"), "tool_call") == [[2.0] * 5, [-2.0]]
    assert by_kind(tree, tool_attribution(tree), "tool_call") == [[0.0] * 5, [0.0]]
    for count in ("distinct", "share"):
        assert by_kind(tree, tool_attribution(tree, count=count), "tool_call") == [[0.0] * 5, [0.0]], count
        by_each = tool_attribution(tree, count=count, per_call=True)
        first, *again = by_kind(tree, by_each, "tool_call")[0]
        assert first > 0 > max(again), count


def test_the_share_is_of_the_gold_calls():
    """Both right calls against one of two, in any order and writing: 1 and 1/2, so +-1/4."""
    tree = group([["COUNT  b", "count A"], ["count a", "count z"]], [0.0, 0.0])
    assert by_kind(tree, tool_attribution(tree, count="share"), "tool_call") == [[0.25, 0.25], [-0.25, -0.25]]


def test_a_call_that_is_due_twice_is_paid_twice():
    problem = Problem("p", "?", meta={"calls": ["up", "up"]})
    tree = group([["up", "up", "up"], ["up"]], [0.0, 0.0], problem)
    assert by_kind(tree, tool_attribution(tree, count="distinct"), "tool_call") == [[0.5] * 3, [-0.5]]


def test_each_call_may_have_its_own_advantage():
    """C = 1, 0 in one attempt and 0 in the other: means 1/2 and 0, so 1/4: .75, -.25 and -.25 beside +-.5 for success."""
    tree = group([["count a", "count c"], ["count c"]], [1.0, 0.0])
    assert by_kind(tree, tool_attribution(tree), "tool_call") == [[1.0, 1.0], [-1.0]]  # the bad call with the good one
    by_each = tool_attribution(tree, per_call=True)
    assert by_kind(tree, by_each, "tool_call") == [[1.25, 0.25], [-0.75]]
    assert by_kind(tree, by_each, "answer") == [[0.5], [-0.5]]


def test_a_call_that_failed_is_still_due():
    """ERROR busy, then again: both calls were right, and the repetition is no spam. Together they earn one."""
    tree = group([[("count a", "ERROR busy"), "count a"], ["count c"]], [0.0, 0.0])
    calls = by_kind(tree, tool_attribution(tree, count="distinct", per_call=True), "tool_call")
    assert calls == [[0.5, 0.5], [-0.5]]
    assert by_kind(tree, tool_attribution(tree, count="distinct"), "tool_call") == [[0.5, 0.5], [-0.5]]


def test_no_error_is_read_off_the_result():
    """Right and wrong calls alike, but what failed, or has no result, has shown nothing."""
    tree = group([["count a", "count z"], [("count a", "ERROR busy")], [("count b", None)]], [0.0, 0.0, 0.0])
    calls = by_kind(tree, module.tool_attribution(tree), "tool_call")
    assert calls == [pytest.approx([4 / 3] * 2), pytest.approx([-2 / 3]), pytest.approx([-2 / 3])]


def test_a_call_may_be_checked_against_its_tools_schema():
    tools = {
        "count": {"properties": {"table": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["table"]}
    }

    def said(name="count", **arguments):
        return json.dumps({"name": name, "arguments": arguments})

    assert fits(said(table="a"), tools) and fits(said(table="a", limit=3), tools)
    wrong = [said(), said(limit=3), said(table=3), said(table="a", limit=True), said(table="a", more=1), said("sum", table="a"),
             "count a", "[]", '{"name": "count"}']  # fmt: skip
    assert not any(fits(text, tools) for text in wrong)
    tree = group([[said(table="a")], ["count a"]], [0.0, 0.0], Problem("p", "?", meta={"tools": tools}))
    assert by_kind(tree, tool_attribution(tree, correct="schema_valid"), "tool_call") == [[0.5], [-0.5]]
    assert plain(said(table="a")) == plain('{"arguments": {"table": "a"}, "name": "count"}') != plain(said(table="A"))


def test_the_mask_may_be_wider():
    """On all kinds it is the advantage of the sum of both rewards: the arm without attribution."""
    tree = group([["count a", "count b"], ["count c"]], [1.0, 0.0])
    everywhere = tool_attribution(tree, kinds=ALL)
    assert by_kind(tree, everywhere, "answer") == [[1.5], [-1.5]] and by_kind(tree, everywhere, "tool_call")[0] == [
        1.5,
        1.5,
    ]
    assert np.isnan(tool_attribution(tree, kinds=(*ALL, "tool_result")).values_N[~tree.sampled_N]).all()


def test_a_fold_is_preferred_where_it_is_shorter_and_both_ways_succeed():
    """Direct attempts of 30 tokens, a folded one of 10: (30 - 10) / 40 = 1/2. It is 0 where it, or every direct one, failed."""

    def attempt(num, context=None):
        return [Step("t", token_ids=(1,) * (num - 4), kind="tool_call"), Step("u", token_ids=(1,) * 4, context=context)]

    def tree(rewards):
        problem = Problem("p", "how many?", meta={"calls": ["t"]})
        return star(problem, [attempt(30), attempt(10, "how many?\nmemory\n")], [Outcome(reward=r) for r in rewards])

    for rewards, s in (((1.0, 1.0), 0.5), ((1.0, 0.0), 0.0), ((0.0, 1.0), 0.0), ((0.0, 0.0), 0.0)):
        own = tree(rewards)
        found = preferences(own, [own.path(leaf) for leaf in own.leaves], np.array(rewards) > 0.5)
        assert found.tolist() == [0.0, s]
    # Success and calls are equal, so what is left is S: mean .25.
    both = tool_attribution(tree((1.0, 1.0)))
    assert by_kind(tree((1.0, 1.0)), both, "tool_call") == [[-0.25], [0.25]]
    assert by_kind(tree((1.0, 1.0)), tool_attribution(tree((1.0, 1.0)), per_call=True), "tool_call") == [
        [-0.25],
        [0.25],
    ]
    assert by_kind(tree((1.0, 1.0)), tool_attribution(tree((1.0, 1.0)), fold_weight=0.0), "tool_call") == [[0.0], [0.0]]


def test_a_context_that_is_the_path_is_no_fold():
    """A step may say what it was sampled from for its tokens' sake."""
    steps = [[Step("t", kind="tool_call"), Step("u", context="how many?\nt\n")], [Step("long way round")]]
    tree = star(Problem("p", "how many?", meta={"calls": ["t"]}), steps, [Outcome(reward=1.0)] * 2)
    assert preferences(tree, [tree.path(leaf) for leaf in tree.leaves], np.array([True, True])).tolist() == [0.0, 0.0]


def test_shared_calls_have_the_mean_of_their_attempts():
    steps = (prompt_step(PROBLEM), *call("count a"), Step("so"), *call("count b"), Step("so"))
    outcomes = (None, None, None, Outcome(reward=0.0), None, None, Outcome(reward=1.0))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 2, 2, 4, 5], outcomes)
    # Success -.5, +.5; right calls 1 and 2: -.5, +.5. The shared call: mean of -1 and 1.
    assert tool_attribution(tree).values_N == pytest.approx([NAN, 0.0, NAN, -0.5, 1.0, NAN, 0.5], nan_ok=True)


def test_unscored_attempts_take_no_part():
    with_one = tool_attribution(group([["count a"], ["count c"], ["count b"] * 9], [1.0, 0.0, NAN]))
    without = tool_attribution(group([["count a"], ["count c"]], [1.0, 0.0]))
    num = len(without.values_N)
    assert np.array_equal(with_one.values_N[:num], without.values_N, equal_nan=True)
    assert np.isnan(with_one.values_N[num:]).all()


def test_demonstrations_of_the_tool_task_are_paid_by_their_right_calls():
    """Each right call counts once; all that the task's oracle finds sound are right (a right call made too early is not sound)."""
    task = tool_use(slip=0.4)
    for problem in task.problems(5, rng(3, "tools")):
        attempts = [task.demonstrate(problem, rng(seed, "tools", problem.id)) for seed in range(6)]
        tree = star(problem, attempts, [Outcome(reward=0.0)] * 6)
        num = []
        for steps in attempts:
            made = {step.text for step in steps if step.kind == "tool_call"} & set(problem.meta["calls"])
            written = [step for step in steps if step.sampled]
            label_S = task.label_steps(problem, steps)
            sound = {step.text for step, ok in zip(written, label_S, strict=True) if ok and step.kind == "tool_call"}
            assert sound <= made
            num.append(len(made))
        paid = [values[0] for values in by_kind(tree, tool_attribution(tree, count="distinct"), "tool_call")]
        assert np.allclose(paid, np.array(num) - np.mean(num)) and np.ptp(num) > 0


def test_what_is_missing_or_wrong_is_named():
    tree = group([["count a"], ["x"]], [1.0, 0.0], Problem("p", "?"))
    with pytest.raises(ValueError, match=r"'p' has no right calls in meta\['calls'\] or reference"):
        tool_attribution(tree)
    with pytest.raises(ValueError, match=r"'p' has no schemas in meta\['tools'\]"):
        tool_attribution(tree, correct="schema_valid")
    assert np.isfinite(tool_attribution(tree, correct="no_error").values_N[tree.sampled_N]).all()
    for knob in ("correct", "count", "normalize"):
        with pytest.raises(ValueError, match=f"{knob} is 'x'; allowed: "):
            tool_attribution(tree, **{"correct": "no_error", knob: "x"})
    for kinds in ("tool_call", ("call",)):
        with pytest.raises(ValueError, match=r"kinds is .* allowed: a tuple of prompt, reason"):
            tool_attribution(tree, kinds=kinds)


def test_calls_made_together_have_the_results_behind_them_in_order():
    """Two calls of one message, then two results: the second failed, as recorded agents write it."""
    attempt = [Step("f", "tool_call"), Step("g", "tool_call"), Step("ok1", "tool_result", sampled=False),
               Step("Error: no such user", "tool_result", sampled=False), Step("done", "answer")]  # fmt: skip
    tree = star(Problem("p", "?"), [attempt, [Step("done", "answer")]], [Outcome(reward=1.0), Outcome(reward=1.0)])
    path = tree.path(tree.leaves[0])
    assert [result_of(tree, path, node) for node in path[:2]] == ["ok1", "Error: no such user"]
    assert [is_correct(tree, path, node, "no_error") for node in path[:2]] == [True, False]


def test_a_users_turn_is_no_result():
    """A call that nobody answered before the user spoke has shown nothing: under no_error it is not correct."""
    attempt = [Step("f", "tool_call"), Step("thanks", "prompt", sampled=False), Step("done", "answer")]
    tree = star(Problem("p", "?"), [attempt], [Outcome(reward=1.0)])
    path = tree.path(tree.leaves[0])
    assert result_of(tree, path, path[0]) is None and not is_correct(tree, path, path[0], "no_error")
