"""Rows of tokens: what is trained, by how much, and under which prompt."""

import numpy as np
import pytest

from stepcredit import Cost, Credit, Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.group_mean import group_mean
from stepcredit.train.groups import apart, grouped
from stepcredit.train.policy_samples import Rules, policy_samples, rows, segments, weights, without_signal

PROBLEM = Problem("p", "ask")


class Characters:
    """A tokenizer of characters whose prompts begin with token 1."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, texts, add_special_tokens=True, verbose=True):
        return {"input_ids": [[1] * add_special_tokens + list(map(ord, text)) for text in texts]}


def wrote(text, **given):
    return Step(text, token_ids=tuple(map(ord, text + "\n")), logprobs=tuple([-0.5] * (len(text) + 1)), **given)


def shown(text):
    return Step(text, kind="tool_result", sampled=False)


def advantages(tree, *values):
    value_N = np.array([np.nan, *values])
    return Credit(value_N, "advantage", (~np.isnan(value_N)).astype(float), "made_up")


def trained(sample):
    """The trained tokens as text, with their advantages."""
    return [
        (chr(t), a) for t, a, m in zip(sample.token_ids_T, sample.advantage_T, sample.loss_mask_T, strict=True) if m
    ]


def text(sample):
    return "".join(map(chr, sample.token_ids_T[1:]))


def test_what_the_environment_wrote_is_context():
    tree = star(PROBLEM, [[wrote("call"), shown("42"), wrote("so")]], [Outcome(reward=1.0)])
    (sample,) = policy_samples([tree], [advantages(tree, 2.0, np.nan, -1.0)], Characters())
    assert text(sample) == "ask\ncall\n42\nso\n"
    assert trained(sample) == [*((c, 2.0) for c in "call\n"), *((c, -1.0) for c in "so\n")]
    assert np.all(sample.advantage_T[~sample.loss_mask_T] == 0.0)
    assert sample.old_logprob_T[sample.loss_mask_T].tolist() == [-0.5] * 8 and sample.ratio == "on_policy"


def test_a_given_prefix_is_prompt():
    tree = star(PROBLEM, [[Step("given", sampled=False), wrote("on")]], [Outcome(reward=1.0)])
    (sample,) = policy_samples([tree], [advantages(tree, np.nan, 1.0)], Characters())
    assert text(sample) == "ask\ngiven\non\n" and trained(sample) == [(c, 1.0) for c in "on\n"]


def test_unassigned_is_not_trained_and_zero_is():
    tree = star(PROBLEM, [[wrote("a"), wrote("b")]], [Outcome(reward=1.0)])
    (sample,) = policy_samples([tree], [advantages(tree, np.nan, 0.0)], Characters())
    assert trained(sample) == [("b", 0.0), ("\n", 0.0)]
    assert policy_samples([tree], [advantages(tree, np.nan, np.nan)], Characters()) == []


def test_split_steps_carry_their_advantage_whatever_their_length():
    tree = star(PROBLEM, [[wrote("abcde"), wrote("f")]], [Outcome(reward=1.0)])
    (sample,) = policy_samples([tree], [advantages(tree, 3.0, 3.0)], Characters(), rules=Rules(spread="split"))
    # Six tokens at 1/2, two tokens at 3/2: three each.
    assert [a for _, a in trained(sample)] == [0.5] * 6 + [1.5] * 2


def test_surprising_tokens_carry_more_of_a_step():
    # -log p is 1 and 3 (and the floor of .001 each): a quarter and three quarters of 2.
    step = Step("ab", token_ids=(97, 98), logprobs=(-1.0, -3.0))
    tree = star(PROBLEM, [[step]], [Outcome(reward=1.0)])
    (sample,) = policy_samples([tree], [advantages(tree, 2.0)], Characters(), rules=Rules(spread="surprise"))
    assert np.allclose([a for _, a in trained(sample)], [2 * 1.001 / 4.002, 2 * 3.001 / 4.002])
    certain = star(PROBLEM, [[Step("ab", token_ids=(97, 98), logprobs=(0.0, 0.0))]], [Outcome(reward=1.0)])
    (sample,) = policy_samples([certain], [advantages(certain, 2.0)], Characters(), rules=Rules(spread="surprise"))
    assert [a for _, a in trained(sample)] == [1.0, 1.0]
    recorded = star(PROBLEM, [[Step("ab")]], [Outcome(reward=1.0)])
    with pytest.raises(ValueError, match="needs log-probabilities, and step 'ab' has none"):
        policy_samples([recorded], [advantages(recorded, 2.0)], Characters(), rules=Rules(spread="surprise"))


def cut_and_whole(spread):
    """The trained tokens of "abcd" as one step and as two, each half credited as the whole is."""
    ends = [Outcome(reward=1.0), Outcome(reward=0.0)]
    whole = star(PROBLEM, [[wrote("abcd")], [wrote("e")]], ends)
    halves = star(PROBLEM, [[Step("ab", token_ids=(97, 98)), wrote("cd")], [wrote("e")]], ends)
    return [trained(policy_samples([tree], [group_mean(tree)], Characters(), rules=Rules(spread=spread))[0])
            for tree in (whole, halves)]  # fmt: skip


def test_cutting_a_step_in_two_changes_no_token():
    whole, halves = cut_and_whole("same")
    assert whole == halves


def test_where_steps_share_an_advantage_a_cut_counts_twice():
    """Why "same" is the default: under "split" the number of steps matters, as the length does not."""
    whole, halves = cut_and_whole("split")
    assert sum(a for _, a in halves) == pytest.approx(2 * sum(a for _, a in whole))


def branching():
    """A shared first step with two ends, right and wrong, and a chain beside it, wrong."""
    steps = (prompt_step(PROBLEM), wrote("s"), wrote("x"), wrote("y"), wrote("z"))
    outcomes = (None, None, Outcome(reward=1.0), Outcome(reward=0.0), Outcome(reward=0.0))
    return Tree(PROBLEM, steps, np.array([-1, 0, 1, 1, 0]), outcomes)


def test_a_shared_step_is_trained_in_one_row():
    tree = branching()
    rows = policy_samples([tree], [advantages(tree, 0.5, 1.0, -1.0, -0.5)], Characters(), rules=Rules(shared="once"))
    assert [text(row) for row in rows] == ["ask\ns\nx\n", "ask\ns\ny\n", "ask\nz\n"]
    assert [trained(row)[0] for row in rows] == [("s", 0.5), ("y", -1.0), ("z", -0.5)]


def test_it_weighs_once_as_often_as_it_is_shared_or_as_the_credit_says():
    tree = branching()
    values = [np.nan, 0.5, 1.0, -1.0, -0.5]
    credit = Credit(values, "advantage", [0, 3, 1, 1, 1], "made_up")
    first = {shared: trained(policy_samples([tree], [credit], Characters(), rules=Rules(shared=shared))[0])[0][1]
             for shared in ("once", "descendants", "credit")}  # fmt: skip
    assert first == {"once": 0.5, "descendants": 1.0, "credit": 1.5}


def test_branches_weigh_what_they_stand_for():
    # Three credited attempts: the root's two branches stand for 3/2 each, the first's two for 3/4.
    tree = branching()
    rows = policy_samples([tree], [advantages(tree, 1.0, 1.0, 1.0, 1.0)], Characters(), rules=Rules(shared="branches"))
    assert [a for row in rows for _, a in trained(row)][::2] == [1.5, 0.75, 0.75, 1.5]


def test_attempts_without_credit_weigh_nothing():
    tree = branching()
    credit = Credit([np.nan, 0.5, 0.5, np.nan, -0.5], "advantage", [0, 1, 1, 0, 1], "made_up")
    for shared, first in (
        ("descendants", 0.5),
        ("branches", 0.5),
    ):  # one of two below is credited; of two credited, half
        rows = policy_samples([tree], [credit], Characters(), rules=Rules(shared=shared))
        assert trained(rows[0])[0] == ("s", first)


def test_a_fold_is_a_row_under_its_own_prompt():
    attempt = [wrote("one"), wrote("two", context="ask, folded\n"), shown("r"), wrote("three")]
    tree = star(PROBLEM, [attempt], [Outcome(reward=1.0)])
    rows = policy_samples([tree], [advantages(tree, 1.0, 1.0, np.nan, 1.0)], Characters())
    assert [text(row) for row in rows] == ["ask\none\n", "ask, folded\ntwo\nr\nthree\n"]
    assert ["".join(c for c, _ in trained(row)) for row in rows] == ["one\n", "two\nthree\n"]
    assert {row.ratio for row in rows} == {"on_policy"} and len({row.key for row in rows}) == 1


def test_a_refinement_is_conditioned_on_the_question_alone_and_shaped():
    attempts = [[wrote("bad")], [wrote("good", context="ask\nbad\nwrong, try again\n")]]
    tree = star(PROBLEM, attempts, [Outcome(reward=0.0), Outcome(reward=1.0)])
    first, second = policy_samples([tree], [group_mean(tree)], Characters(), rules=Rules(contexts="path"))
    assert (text(first), first.ratio) == ("ask\nbad\n", "on_policy")
    assert (text(second), second.ratio) == ("ask\ngood\n", "shaped")


def test_folds_and_turns_read_otherwise_are_no_refinements():
    """A rollout of episodes gives a step a context for a fold, and for a text whose tokens are not those of its path."""
    fold = [wrote("one"), shown("r"), wrote("two", context="ask, folded\n"), wrote("three")]
    spelt = [wrote("one", context="ask\n"), shown("r"), wrote("two", context="ask\none\nr\n")]
    tree = star(PROBLEM, [fold, spelt], [Outcome(reward=1.0), Outcome(reward=0.0)])
    own = policy_samples([tree], [group_mean(tree)], Characters(), rules=Rules(contexts="own"))
    path = policy_samples([tree], [group_mean(tree)], Characters(), rules=Rules(contexts="path"))
    assert [row.ratio for row in path] == ["on_policy"] * 4
    assert [text(row) for row in path] == [
        "ask\none\nr\n",
        "ask, folded\ntwo\nthree\n",
        "ask\none\nr\n",
        "ask\none\nr\ntwo\n",
    ]
    assert [trained(row) for row in path] == [trained(row) for row in own] and [text(row) for row in own] == list(
        map(text, path)
    )


def test_a_fold_behind_a_refinement_is_a_row_of_its_own_and_not_shaped():
    attempt = [wrote("a", context="ask\nbad\nwrong\n"), wrote("b"), wrote("c", context="ask, folded\n"), wrote("d")]
    behind = Step("g", sampled=False)
    tree = star(PROBLEM, [attempt, [behind, *attempt[:2]]], [Outcome(reward=1.0), Outcome(reward=0.0)])
    found = policy_samples([tree], [group_mean(tree)], Characters(), rules=Rules(contexts="path"))
    assert [(text(row), row.ratio) for row in found] == [
        ("ask\na\nb\n", "shaped"), ("ask, folded\nc\nd\n", "on_policy"), ("ask\ng\na\nb\n", "shaped"),
    ]  # fmt: skip


def test_rows_name_what_they_train_and_come_where_nothing_is_trained_too():
    tree = branching()
    credit = Credit([np.nan, 0.5, 1.0, np.nan, -0.5], "advantage", [0, 3, 1, 0, 1], "made_up")
    found = rows(tree, credit, Rules())
    assert [(row.leaf, row.nodes, row.trains()) for row in found] == [
        (2, (1, 2), True),
        (3, (1, 3), False),
        (4, (4,), True),
    ]
    assert np.array_equal(found[0].advantage_S, [1.5, 1.0]) and np.isnan(found[1].advantage_S).all()  # 3 x 0.5, 1 x 1
    assert weights(tree, credit, "credit").tolist() == [0, 3, 1, 0, 1]
    assert segments(tree, 3, Rules(prompt_end=": ")) == [("ask: ", [1, 3], "on_policy")]


def test_recorded_steps_are_tokenised_with_their_delimiter():
    tree = star(PROBLEM, [[Step("ab"), shown("r"), Step("c")]], [Outcome(reward=1.0)])
    (sample,) = policy_samples([tree], [advantages(tree, 1.0, np.nan, 1.0)], Characters())
    assert text(sample) == "ask\nab\nr\nc\n" and np.isnan(sample.old_logprob_T).all()
    assert "".join(c for c, _ in trained(sample)) == "ab\nc\n"


def given(prefix, end, problem=PROBLEM):
    return star(
        problem, [[*(Step(one, sampled=False) for one in prefix), wrote(end)]], [Outcome(reward=float(end == "x"))]
    )


def test_a_group_is_a_problem_with_its_given_prefix():
    same = [given(["g", "h"], "x"), given(["g", "h"], "y")]
    trees = grouped([*same, given(["g"], "x"), given(["g", "h"], "x", Problem("q", "ask")), given([], "y")])
    assert [len(tree.leaves) for tree in trees] == [2, 1, 1, 1]
    joined = trees[0]
    assert [step.text for step in joined.steps] == ["ask", "g", "h", "x", "y"]
    assert joined.parent_N.tolist() == [-1, 0, 1, 2, 2] and joined.group_N[3] != joined.group_N[4]
    # Together they have a baseline; apart each would be a group of one, worth nothing.
    assert group_mean(joined, normalize="none").values_N[3:].tolist() == [0.5, -0.5]


def test_a_tree_whose_attempts_start_in_several_places_is_taken_apart():
    """As files of mixed starts are joined: each attempt with its own copy of what it was given."""
    behind, alone = [Step("g", sampled=False)], []
    attempts = [[*behind, wrote("x")], [*alone, wrote("y")], [*behind, wrote("z")]]
    tree = star(PROBLEM, attempts, [Outcome(1.0), Outcome(0.0), Outcome(1.0)], cost=Cost(generated_tokens=6))
    first, second = grouped([tree])
    assert [step.text for step in first.steps] == ["ask", "g", "x", "z"] and first.parent_N.tolist() == [-1, 0, 1, 1]
    assert [step.text for step in second.steps] == ["ask", "y"]
    assert group_mean(first).values_N[2:].tolist() == [0.0, 0.0]  # both right: no baseline from the other start
    assert (first.cost.generated_tokens, second.cost.generated_tokens) == (6, 0)


def test_what_is_taken_apart_says_where_each_node_was():
    behind = Step("g", sampled=False)
    tree = star(
        PROBLEM, [[behind, wrote("x")], [wrote("y")], [behind, wrote("z"), wrote("w")]], [Outcome(1.0), None, None]
    )
    # Nodes: prompt, g, x, y, g, z, w. The second g is the first one's copy.
    (first, of_first), (second, of_second) = apart(tree)
    assert of_first.tolist() == [0, 1, 2, 5, 6] and of_second.tolist() == [0, 3]
    for part, was in ((first, of_first), (second, of_second)):
        assert [step.text for step in part.steps] == [tree.steps[node].text for node in was]
    same = [part for part, _ in apart(tree)]
    assert [part.parent_N.tolist() for part in same] == [part.parent_N.tolist() for part in grouped([tree])]
    ((whole, of_whole),) = apart(branching())
    assert whole.parent_N.tolist() == branching().parent_N.tolist() and of_whole.tolist() == [0, 1, 2, 3, 4]


def test_problems_of_merged_datasets_never_share_a_group():
    """Place 0 of two datasets is not one problem: ids and prompts tell, places are never read."""
    first, second = Problem("gsm8k/0", "one"), Problem("math/0", "two")
    assert len(grouped([given([], "x", first), given([], "y", second)])) == 2


def test_groups_without_signal_are_counted():
    equal = star(PROBLEM, [[wrote("a")], [wrote("b")]], [Outcome(reward=0.1), Outcome(reward=0.1)])
    mixed = star(PROBLEM, [[wrote("a")], [wrote("b")]], [Outcome(reward=0.1), Outcome(reward=0.9)])
    unscored = star(PROBLEM, [[wrote("a")]], [Outcome(status="timeout")])
    trees = [equal, mixed, unscored]
    assert without_signal(trees, [group_mean(tree) for tree in trees]) == (1, 2)


def test_what_does_not_fit_is_refused():
    tree = branching()
    with pytest.raises(ValueError, match="1 trees need as many credits, got 0"):
        policy_samples([tree], [], Characters())
    with pytest.raises(ValueError, match="spread is 'even'; allowed: same, split, surprise"):
        Rules(spread="even")
