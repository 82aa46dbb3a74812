"""The search tree by hand, its rules one by one, and against exact values; what a kill leaves behind."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Cost, Judgment, Outcome, Problem, Record, Step, Tree
from stepcredit.credit.search_value import search_value
from stepcredit.data import read, write
from stepcredit.policy.scripted import scripted
from stepcredit.rollout._mcts import Critics, grow
from stepcredit.rollout._mcts_tree import Growth, Settings, Visit
from stepcredit.rollout._writing import Writing
from stepcredit.rollout.mcts import mcts

PROBLEM = Problem("p", "q")
WAYS = {"num_rollouts": 0, "root_min_children": 2, "root_max_children": 2, "min_children": 1, "max_children": 1}


def says(scores, channel=None):
    """A judge that knows a score for each last step."""

    def judge(attempts):
        found = []
        for _, steps in attempts:
            score = scores.get(steps[-1].text, math.nan)
            status = "abstained" if math.isnan(score) else "scored"
            found.append(Judgment(score, [score] * len(steps), status=status))
        return found

    return judge


def unasked(problem, solutions):
    raise AssertionError("nothing here is finished")


def rewards(by_last):
    """A verifier that knows the reward of each last step; None is unparsed."""

    def verify(problem, solutions):
        known = [by_last[solution[-1].text] for solution in solutions]
        return [Outcome(status="unparsed") if r is None else Outcome(float(r), r > 0.5) for r in known]

    return verify


class Replies:
    """A policy that answers each prefix with its own list, in order and from the start again; counts what it is asked."""

    def __init__(self, replies, stops_after=None):
        self.replies, self.stops_after, self.num, self.at = replies, stops_after, 0, {}

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.num += 1
        if self.stops_after is not None and self.num > self.stops_after:
            raise KeyboardInterrupt
        return [[self._next(prefix, stop) for _ in range(num)] for prefix in prefixes]

    def _next(self, prefix, stop):
        own = self.replies[prefix]
        text = own[self.at.get(prefix, 0) % len(own)]
        self.at[prefix] = self.at.get(prefix, 0) + 1
        text = text[: min((text.find(mark) for mark in stop if mark in text), default=len(text))]
        return Completion(text, logprobs=(-1.0,) * len(text))


def chain_world(**knobs):
    return registry.bind("tasks", "chain")(**knobs), registry.bind("policy", "tabular")(
        **{name: value for name, value in knobs.items() if name in ("modulus", "random_slip", "systematic_slip", "num_slips")}
    )  # fmt: skip


def test_selection_visits_and_backup_of_a_small_tree_by_hand():
    # Searches: 1 the prompt, which no critic can value; 2 a (.8); 3 b (.2).
    # 4 a .8 + sqrt(ln 3) beats b: c (.4) behind a;       a: N 2, q .6
    # 5 a .6 + sqrt(ln 4 / 2) = 1.43 beats b .2 + sqrt(ln 4) = 1.38; a is full: d (0) behind c;   c: q .2; a: N 3, q .4
    # 6 b .2 + sqrt(ln 5) = 1.47 beats a .4 + sqrt(ln 5 / 3) = 1.13: e (.6) behind b;   b: N 2, q .4
    policy = scripted(completions=["a", "b", "c", "d", "e"])
    value = says({"a": 0.8, "b": 0.2, "c": 0.4, "d": 0.0, "e": 0.6})
    settings = Settings(num_searches=6, **WAYS)
    (tree,) = grow([PROBLEM], policy=policy, fast=None, critics=Critics(unasked, value), rng=rng(0), writing=Writing(),
                   settings=settings)  # fmt: skip
    assert policy.asked == ["q\n", "q\n", "q\na\n", "q\na\nc\n", "q\nb\n"]
    assert [step.text for step in tree.steps] == ["q", "a", "b", "c", "d", "e"]
    assert tree.parents == [-1, 0, 0, 1, 3, 2]
    assert tree.visits == [6, 3, 2, 2, 1, 1]
    # The root's mean is over the five that were valued: (.8 + .2 + .4 + 0 + .6) / 5.
    assert [tree.q(n) for n in range(6)] == pytest.approx([0.4, 0.4, 0.4, 0.2, 0.0, 0.6])
    assert [tree.ucb(n) for n in (1, 2, 3)] == pytest.approx(
        [0.4 + math.sqrt(math.log(6) / 3), 0.4 + math.sqrt(math.log(6) / 2), 0.2 + math.sqrt(math.log(3) / 2)]
    )
    (again,) = mcts([PROBLEM], policy=scripted(completions=["a", "b", "c", "d", "e"]), verify=unasked, value=value, rng=rng(0),
                    num_searches=6, **WAYS)  # fmt: skip
    assert again.visits_N.tolist() == tree.visits and again.cost.judge_calls == 5
    assert {again.outcomes[leaf].status for leaf in again.leaves} == {"truncated"}


def test_equal_bounds_go_to_the_child_sampled_first():
    tree = Growth(PROBLEM, Settings(**WAYS))
    tree.apply(Visit(0))
    for text in "ab":
        tree.apply(Visit(0, Step(text), critics={"value": 0.5}))
    assert tree.select({}) == (1, True)


def test_a_finished_attempt_is_visited_again_and_the_search_still_leaves_it():
    # Released OmegaPRM code re-selects one rollout for ever because its count never grows. Here every visit counts:
    # a ends with reward 1; b, worth .3, is searched once a's bound has fallen below its own.
    policy = Replies(
        {"q\n": ["a\n", "b\n"], "q\na\n": [""], "q\nb\n": ["c\n"], "q\nb\nc\n": ["d\n"], "q\nb\nc\nd\n": ["e\n"]}
    )
    value = says({"a": 1.0, "b": 0.3, "c": 0.3, "d": 0.3, "e": 0.3})
    (tree,) = mcts([PROBLEM], policy=policy, verify=rewards({"a": 1}), value=value, rng=rng(0), num_searches=10, **WAYS)
    # UCB(a) = 1 + sqrt(ln N / n_a) against .3 + sqrt(ln N / n_b): at N = 3, 4 a; N = 5: a 1.732, b 1.569;
    # N = 6: a 1 + sqrt(1.792 / 4) = 1.669, b .3 + sqrt(1.792) = 1.639: a;  N = 7: a 1.624, b 1.695: b; N = 8: a 1.645,
    # b .3 + sqrt(2.079 / 2) = 1.320: a; N = 9: a 1 + sqrt(2.197 / 6) = 1.605, b 1.348: a.
    assert tree.visits_N.tolist() == [10, 7, 2, 1]
    assert tree.outcomes[1].correct and tree.cost.verifier_calls == 1


def test_critics_are_mixed_on_one_scale_and_a_silent_one_is_left_out():
    tree = Growth(PROBLEM, Settings(weights=(1.0, 2.0, 1.0)))
    tree.apply(Visit(0))
    full = tree.apply(Visit(0, Step("a"), critics={"value": 0.8, "prm": 0.4, "outcome": 0.6}))
    part = tree.apply(Visit(0, Step("b"), critics={"value": 0.8, "prm": math.nan, "outcome": 0.0}))
    none = tree.apply(Visit(0, Step("c"), critics={"value": math.nan}))
    assert tree.own(full) == pytest.approx((0.8 + 2 * 0.4 + 0.6) / 4)
    assert tree.own(part) == pytest.approx((0.8 + 0.0) / 2)
    assert math.isnan(tree.own(none)) and tree.visits[0] == 4 and tree.valued[0] == 2
    # A child nobody could value is as good as its parent: q(root) = (.55 + .4) / 2.
    assert tree.ucb(none) == pytest.approx(0.475 + math.sqrt(math.log(4)))


def test_rollouts_value_a_node_by_those_that_were_scored():
    # Rollouts of a: x right, y unparsed, z wrong: 1/2. The tree keeps each in a group of its own, without visits.
    policy = Replies({"q\n": ["a\n"]})
    fast = Replies({"q\n": ["x"], "q\na\n": ["x", "y", "w\nz"]})
    verify = rewards({"x": 1, "y": None, "z": 0})
    knobs = {"policy": policy, "fast": fast, "rng": rng(0), "settings": Settings(num_searches=2, num_rollouts=3)}
    critics = Critics(lambda p, s: ([(o.reward, o) for o in verify(p, s)], Cost(verifier_calls=len(s))))
    (grown,) = grow([PROBLEM], critics=critics, writing=Writing(), **knobs)
    node = grown.steps.index(Step("a"))
    tree = grown.tree()
    assert grown.own(0) == 1.0 and grown.own(node) == 0.5 and grown.q(0) == 0.75
    assert [step.text for step in tree.steps] == ["q", "x", "x", "x", "a", "x", "y", "w", "z"]
    assert tree.group_N.tolist() == [0, 1, 2, 3, 0, 4, 5, 6, 6]
    assert tree.visits_N.tolist() == [2, 0, 0, 0, 1, 0, 0, 0, 0]
    assert [tree.outcomes[n].status for n in (5, 6, 8)] == ["scored", "unparsed", "scored"]
    # Tokens (one a letter here): a; x three times; x, y, and w, newline, z.
    assert tree.cost.generated_tokens == 1 + 3 + 5 and tree.cost.verifier_calls == 6


def test_a_reward_or_a_critic_off_the_scale_is_refused():
    policy = Replies({"q\n": ["a\n"], "q\na\n": [""]})
    with pytest.raises(ValueError, match=r"worth 2\.0; critics are mixed on one scale, allowed: 0 to 1"):
        mcts([PROBLEM], policy=policy, verify=rewards({"a": 2}), rng=rng(0), num_searches=3)
    with pytest.raises(ValueError, match=r"value says -1\.0 .* allowed: 0 to 1"):
        mcts([PROBLEM], policy=policy, verify=rewards({"a": 1}), value=says({"a": -1.0}), rng=rng(0), num_searches=3)


def test_important_nodes_have_more_children_and_the_number_never_shrinks():
    own = Settings(importance=8.0, min_children=2, max_children=4, root_min_children=1, root_max_children=9)
    tree = Growth(PROBLEM, own)
    tree.apply(Visit(0))
    node = tree.apply(Visit(0, Step("s"), critics={"value": 0.5}))
    assert tree.num_children(node) == 2
    tree.apply(Visit(node, Step("a"), critics={"value": 0.4}))  # I = .1: floor(.8) + 1 = 1, below the minimum
    assert tree.num_children(node) == 2
    tree.apply(Visit(node, Step("b"), critics={"value": 0.75}))  # I = .25: floor(2) + 1 = 3
    assert tree.importance(node) == 0.25 and tree.num_children(node) == 3
    tree.apply(Visit(node, Step("c"), critics={"value": 1.0}))  # I = .5: 5, cut to 4
    assert tree.num_children(node) == 4
    tree.apply(Visit(node, Step("d"), critics={"value": 0.5}))
    for child in tree.children[node]:
        tree.critics[child] = {"value": 0.5}  # I = 0 asks for one; there are four
    assert tree.importance(node) == 0.0 and tree.num_children(node) == 4
    # v(root) is unknown: its only child is its own mean.
    assert tree.importance(0) == 0.0 and tree.num_children(0) == 1


def test_a_repeated_option_is_drawn_again_paid_for_and_at_last_merged():
    # Searches: prompt; a; then a repeats (1 draw and 2 resamples), so the search goes on behind a. Root looks again when
    # its 2 visits have become 4, at the fifth search, and finds b.
    replies = {"q\n": ["a\n"] * 4 + ["b\n"], "q\na\n": ["c\n", "d\n"]}
    policy = Replies(replies)
    value = says(dict.fromkeys("abcd", 0.5))
    knobs = {**WAYS, "min_children": 2, "max_children": 2}
    (tree,) = mcts(
        [PROBLEM], policy=policy, verify=unasked, value=value, rng=rng(0), num_searches=5, max_resamples=2, **knobs
    )
    assert [step.text for step in tree.steps] == ["q", "a", "c", "d", "b"]
    assert tree.cost.generated_tokens == 5 + 2 and tree.visits_N.tolist() == [5, 3, 1, 1, 1]


def test_near_options_merge_by_their_share_of_edits():
    # 3+4=2 and 3+4=1 are a fifth apart: one state at .2, two below it. An absolute distance of 20 merges every line.
    for distance, num in ((0.0, 2), (0.19, 2), (0.2, 1)):
        policy = Replies({"q\n": ["3+4=2\n", "3+4=1\n"], "q\n3+4=2\n": ["x\n"], "q\n3+4=1\n": ["x\n"]})
        (tree,) = mcts([PROBLEM], policy=policy, verify=unasked, value=says({}), rng=rng(0), num_searches=3,
                       merge_distance=distance, **WAYS)  # fmt: skip
        assert np.count_nonzero(tree.parent_N == 0) == num


def test_an_attempt_that_ends_where_others_go_on_has_a_leaf_of_its_own():
    # Behind a the policy goes on with b, then ends: a copy of a is that attempt's leaf; a second end is the same state.
    policy = Replies({"q\n": ["a\n"], "q\na\n": ["b\n", "", ""], "q\na\nb\n": ["c\n"]})
    knobs = {**WAYS, "root_min_children": 1, "root_max_children": 1, "min_children": 3, "max_children": 3}
    (tree,) = mcts([PROBLEM], policy=policy, verify=rewards({"a": 1}), value=says({"a": 0.1, "b": 0.1}), rng=rng(0),
                   num_searches=4, max_resamples=0, **knobs)  # fmt: skip
    assert [step.text for step in tree.steps] == ["q", "a", "b", "a"]
    assert tree.parent_N.tolist() == [-1, 0, 1, 0] and tree.leaves == (2, 3)
    assert tree.outcomes[3].correct and tree.outcomes[2].status == "truncated"


def test_an_empty_attempt_is_one_empty_step_and_a_deep_one_is_cut():
    (tree,) = mcts([PROBLEM], policy=Replies({"q\n": [""]}), verify=rewards({"": 0}), rng=rng(0), num_searches=3)
    assert {tree.steps[n].text for n in tree.leaves} == {""} and tree.visits_N[0] == 3
    policy = Replies({"q\n": ["a\n"], "q\na\n": ["b\n"]})
    (tree,) = mcts([PROBLEM], policy=policy, verify=unasked, value=says({"a": 0.5, "b": 0.5}), rng=rng(0), num_searches=9,
                   max_steps=2, **WAYS)  # fmt: skip
    assert tree.num_nodes == 3 and tree.outcomes[2].status == "truncated" and tree.visits_N[0] == 9


def test_in_the_exact_world_rollouts_are_unbiased_and_every_visit_and_token_is_accounted_for():
    task, policy = chain_world()
    problems = task.problems(8, rng(0, "problems"))
    lines, calls = [], []

    class Counting:
        def sample(self, *args, **kwargs):
            found = policy.sample(*args, **kwargs)
            lines.extend(len(one.logprobs) for group in found for one in group)
            return found

        def logprob(self, prefixes, continuations):
            raise NotImplementedError

    def verify(problem, solutions):
        calls.extend(solutions)
        return task.verify(problem, solutions)

    knobs = {"policy": Counting(), "verify": verify, "num_searches": 20, "num_rollouts": 4}
    trees = mcts(problems, rng=rng(0, "search"), **knobs)
    assert sum(tree.cost.generated_tokens for tree in trees) == sum(lines) > 0
    assert sum(tree.cost.verifier_calls for tree in trees) == len(calls) > 0
    z = []
    for tree in trees:
        searched = [node for node in range(tree.num_nodes) if tree.visits_N[node]]
        assert tree.visits_N[0] == 20
        for node in searched:
            kids = [child for child in searched if tree.parent_N[child] == node]
            ended = tree.outcomes[node] is not None and node in tree.leaves
            assert tree.group_N[node] == 0 and (ended or tree.visits_N[node] == 1 + tree.visits_N[kids].sum())
            rolled = [leaf for leaf in tree.leaves if not tree.visits_N[leaf] and _first_searched(tree, leaf) == node]
            assert len(rolled) in (0, 4) and len(rolled) + ended > 0
            texts = [tree.steps[child].text for child in kids]
            assert len(set(texts)) == len(texts)
            prefix = tree.problem.prompt + "\n" + "".join(step.text + "\n" for step in tree.solution(node))
            exact = float(policy.value([prefix])[0])
            if ended:
                assert tree.outcomes[node].reward == exact
            elif 0 < exact < 1:
                z.append(
                    (np.mean([tree.outcomes[leaf].reward for leaf in rolled]) - exact)
                    / np.sqrt(exact * (1 - exact) / 4)
                )
    assert len(z) > 60 and abs(np.mean(z)) < 4 / np.sqrt(len(z)) and 0.6 < np.var(z) < 1.5
    # Same seed, same trees.
    for tree, again in zip(trees, mcts(problems, rng=rng(0, "search"), **knobs), strict=True):
        assert same(tree, again)


def _first_searched(tree, node):
    while not tree.visits_N[node]:
        node = int(tree.parent_N[node])
    return node


def same(first, second):
    return (
        first.steps == second.steps
        and first.parent_N.tolist() == second.parent_N.tolist()
        and first.visits_N.tolist() == second.visits_N.tolist()
        and [None if o is None else (o.status, o.correct) for o in first.outcomes]
        == [None if o is None else (o.status, o.correct) for o in second.outcomes]
        and first.cost.generated_tokens == second.cost.generated_tokens
        and first.cost.verifier_calls == second.cost.verifier_calls
    )


class Killed:
    """A policy that dies after so many calls."""

    def __init__(self, policy, num_calls):
        self.policy, self.left = policy, num_calls

    def sample(self, *args, **kwargs):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.policy.sample(*args, **kwargs)


def test_more_searches_go_on_from_the_folder_of_fewer(tmp_path):
    task, policy = chain_world()
    problems = task.problems(3, rng(0, "problems"))
    knobs = {"verify": task.verify, "num_rollouts": 2, "value": says({}), "folder": str(tmp_path / "kept")}
    mcts(problems, policy=policy, rng=rng(1), num_searches=12, **knobs)
    counted = Killed(policy, 10**9)
    more = mcts(problems, policy=counted, rng=rng(1), num_searches=20, **knobs)
    asked = 10**9 - counted.left
    alone = Killed(policy, 10**9)
    whole = mcts(problems, policy=alone, rng=rng(1), num_searches=20, **{**knobs, "folder": None})
    assert all(map(same, more, whole)) and 0 < asked < 10**9 - alone.left
    # A finished search costs no call at all; another seed starts afresh.
    assert all(map(same, whole, mcts(problems, policy=Killed(policy, 0), rng=rng(1), num_searches=20, **knobs)))
    with pytest.raises(KeyboardInterrupt):
        mcts(problems, policy=Killed(policy, 0), rng=rng(2), num_searches=12, **knobs)


def test_what_was_kept_at_another_length_is_refused_where_it_differs(tmp_path):
    """One tree had ten searches, the other none: with more asked for, both are searched in rounds that one had alone."""
    task, policy = chain_world()
    first, second = task.problems(2, rng(0, "problems"))
    knobs = {"policy": policy, "verify": task.verify}
    (begun,) = mcts([first], rng=rng(0), num_searches=10, **knobs)
    mcts([begun, second], rng=rng(1), num_searches=12, folder=str(tmp_path), **knobs)
    with pytest.raises(ValueError, match=r"asked for otherwise, .* name another folder"):
        mcts([begun, second], rng=rng(1), num_searches=14, folder=str(tmp_path), **knobs)


def test_numpy_token_ids_are_kept_in_a_folder(tmp_path):
    class Arrays:
        def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
            ids = np.array([ord("a"), 0])
            return [
                [Completion("a", tuple(ids), tuple(np.float32([-0.5, -0.25]))) for _ in range(num)] for _ in prefixes
            ]

        def token_ends(self, token_ids):
            return [1, 1][: len(token_ids)]

    class Dead(Arrays):
        def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
            raise KeyboardInterrupt

    knobs = {"verify": rewards({"a": 1}), "rng": rng(0), "num_searches": 2, "folder": str(tmp_path)}
    (tree,) = mcts([PROBLEM], policy=Arrays(), **knobs)
    (again,) = mcts([PROBLEM], policy=Dead(), **{**knobs, "rng": rng(0)})
    assert same(tree, again) and again.steps[1].token_ids == (97, 0) and again.steps[1].logprobs == (-0.5, -0.25)


def test_a_tree_grown_before_goes_on_where_it_stood():
    task, policy = chain_world()
    problems = task.problems(4, rng(0, "problems"))
    value = says({})
    knobs = {"policy": policy, "fast": None, "writing": Writing(), "rng": rng(3)}
    verify = task.verify
    critics = Critics(lambda p, s: ([(o.reward, o) for o in verify(p, s)], Cost(verifier_calls=len(s))), value)
    grown = grow(problems, critics=critics, settings=Settings(num_searches=15), **knobs)
    trees = [one.tree() for one in grown]
    for one, tree in zip(grown, trees, strict=True):  # credit reads off the tree what the search believed
        searched = np.flatnonzero(tree.visits_N)[1:]
        assert np.allclose(search_value(tree).values_N[searched], [one.q(n) for n in searched])
    kept = grow(trees, critics=critics, settings=Settings(num_searches=15), **knobs)
    for before, after in zip(grown, kept, strict=True):
        assert after.visits == before.visits and after.children == before.children and after.over == before.over
        found = [[one.q(n) for n in range(len(one.steps)) if one.visits[n]] for one in (before, after)]
        assert np.allclose(*found) and after.scores[1:] == pytest.approx(before.scores[1:], nan_ok=True)
        assert after.cost.generated_tokens == before.cost.generated_tokens
    further = mcts(trees, policy=policy, verify=task.verify, rng=rng(3), num_searches=30)
    for tree, more in zip(trees, further, strict=True):
        assert more.visits_N[0] == 30 and more.steps[: tree.num_nodes] == tree.steps
        assert more.cost.generated_tokens > tree.cost.generated_tokens
        assert more.cost.verifier_calls > tree.cost.verifier_calls
    with pytest.raises(ValueError, match="the tree holds no search"):
        mcts([star(PROBLEM, [[Step("a")]])], policy=policy, verify=verify, rng=rng(0))


class Cut:
    """Behind the prompt a, cut at its length; then b; behind b c, d and e. Whether anything is asked behind a is kept."""

    def __init__(self):
        self.replies, self.asked = Replies({"q\n": ["a", "b\n"], "q\nb\n": ["c\n"], "q\nb\nc\n": ["d\n"]}), []

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked += prefixes
        found = self.replies.sample(prefixes, num, rng, stop=stop)
        return [[replace(one, finish="length") if one.text == "a" else one for one in group] for group in found]


@pytest.mark.parametrize("through", ["memory", "file"])
def test_an_option_that_was_cut_stays_over_where_a_search_goes_on(through, tmp_path):
    """And a leaf that nothing was tried behind yet does not, whichever way the tree came back."""
    knobs = {"verify": unasked, "value": says({"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.5}), "exploration": 2.0, **WAYS}
    (tree,) = mcts([PROBLEM], policy=Cut(), rng=rng(0), num_searches=3, **knobs)
    assert [step.text for step in tree.steps] == ["q", "a", "b"]
    assert [tree.outcomes[leaf].status for leaf in (1, 2)] == ["truncated"] * 2
    if through == "file":
        assert write(tmp_path / "tree.jsonl", [Record(tree)]) == 1
        tree = next(iter(read(tmp_path / "tree.jsonl"))).tree
    own = Growth.of(tree, Settings())
    assert own.over == [False, True, False] and own.outcomes[1] is not None and own.outcomes[2] is None
    policy = Cut()
    (more,) = mcts([tree], policy=policy, rng=rng(0), num_searches=9, **knobs)
    (whole,) = mcts([PROBLEM], policy=Cut(), rng=rng(0), num_searches=9, **knobs)
    assert "q\nb\n" in policy.asked and "q\na\n" not in policy.asked
    assert [step.text for step in more.steps] == [step.text for step in whole.steps] == ["q", "a", "b", "c", "d"]
    assert more.visits_N.tolist() == whole.visits_N.tolist()


@pytest.mark.parametrize(
    ("visits", "groups", "said"),
    [
        # rollout/bisect counts searches from a state: none at node 1, two behind it; or at the prompt alone.
        ([1, 0, 2, 0, 0], [0, 0, 0, 0, 1], "node 1 has 0 visits, its children together 2; allowed: .* one of its own"),
        ([2, 1, 1, 0, 0], [0, 0, 0, 0, 1], "node 1 has 1 visits, its children together 1"),
        ([3, 0, 0, 0, 0], [0, 0, 0, 0, 1], "node 1 has no visits and stands in the group of node 0"),
    ],
)
def test_a_tree_whose_visits_no_search_counted_is_refused(visits, groups, said):
    steps = (Step("q", kind="prompt", sampled=False), *map(Step, "abcd"))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 2, 1], (None, None, None, Outcome(0.0), Outcome(1.0)), visits, groups)
    with pytest.raises(ValueError, match="holds no search of mcts: " + said):
        mcts([tree], policy=Replies({}), verify=unasked, rng=rng(0))


def test_a_token_budget_ends_the_search_and_counts_rollouts():
    task, policy = chain_world()
    problems = task.problems(3, rng(0, "problems"))
    for tree in mcts(problems, policy=policy, verify=task.verify, rng=rng(0), num_searches=1000, token_budget=120):
        # One search more at most: an option with its repeats, and four rollouts of at most eight lines.
        assert 120 <= tree.cost.generated_tokens < 120 + 8 * 6 + 4 * 8 and tree.visits_N[0] < 1000


def test_more_searches_with_an_exact_value_find_more_right_attempts():
    task, policy = chain_world(random_slip=0.3, systematic_slip=0.0, num_slips=0, min_ops=4, max_ops=5, zero_share=0.0)
    problems = task.problems(25, rng(0, "problems"))

    def value(attempts):
        prefixes = [p.prompt + "\n" + "".join(s.text + "\n" for s in steps) for p, steps in attempts]
        return [Judgment(v, [v] * len(steps)) for v, (_, steps) in zip(policy.value(prefixes), attempts, strict=True)]

    def solved(num_searches, value):
        trees = mcts(problems, policy=policy, verify=task.verify, rng=rng(0), num_searches=num_searches, value=value,
                     num_rollouts=0, root_min_children=2, root_max_children=5, max_children=5, exploration=0.3)  # fmt: skip
        lines = sum(tree.cost.generated_tokens for tree in trees)
        return np.mean([any(o is not None and o.correct for o in tree.outcomes) for tree in trees]), lines

    blind, guided = solved(25, None), solved(25, value)
    assert guided[0] > blind[0] + 0.4 and guided[0] > 0.9


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"num_searches": 0}, "num_searches is 0; allowed: 1 or more"),
        ({"min_children": 3, "max_children": 2}, "children 3 to 2"),
        ({"merge_distance": 1.0}, "merge_distance is 1.0"),
        ({"weights": (0.0, 0.0, 0.0)}, "not all 0"),
        ({"token_budget": 0}, "token_budget is 0"),
        ({"delimiter": ""}, "delimiter ''"),
        ({"stop": ["\n\n"]}, "holds the delimiter"),
    ],
)
def test_knobs_out_of_range_are_named(knobs, said):
    with pytest.raises(ValueError, match=said):
        mcts([PROBLEM], policy=Replies({}), verify=unasked, rng=rng(0), **knobs)
