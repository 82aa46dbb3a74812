import pytest

from stepcredit.core.registry import bind
from stepcredit.core.rng import rng
from stepcredit.core.types import Completion, Cost, Problem
from stepcredit.policy.scripted import scripted
from stepcredit.rollout.chains import chains

PROBLEM = Problem("p", "3 +4 *0", answer="0")


class Spelling:
    """A policy whose token i spells `pieces[i]`; token 0 is the end."""

    pieces = ("", "3+4=", "2", "\n", "2*0=0", "\n0", "\n\n")

    def __init__(self, *attempts, finish="stop"):
        self.attempts, self.finish, self.cost = attempts, finish, Cost()

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.cost += Cost(forwarded_tokens=7)
        self.prefixes = list(prefixes)
        group = [
            Completion("".join(self.pieces[i] for i in ids), ids, tuple(-0.1 * i for i in ids), self.finish)
            for ids in self.attempts
        ]
        return [group[:num] for _ in prefixes]

    def logprob(self, prefixes, continuations):
        raise NotImplementedError

    def token_ends(self, token_ids):
        ends = [len("".join(self.pieces[i] for i in token_ids[: t + 1])) for t in range(len(token_ids))]
        return ends


def texts(tree):
    return [[step.text for step in tree.solution(leaf)] for leaf in tree.leaves]


def test_attempts_become_a_star_of_chains():
    policy = scripted(completions=["3+4=2\n2*0=0", "3+4=3\n3*0=0\n"])
    (tree,) = chains([PROBLEM], policy=policy, rng=rng(0), num=2)
    assert texts(tree) == [["3+4=2", "2*0=0"], ["3+4=3", "3*0=0"]]
    assert tree.parent_N.tolist() == [-1, 0, 1, 0, 3] and policy.asked == ["3 +4 *0\n"] * 2
    assert tree.outcomes == (None,) * 5 and tree.steps[1].token_ids is None


def test_inner_empty_pieces_stay_and_an_empty_attempt_is_one_empty_step():
    policy = scripted(completions=["a\n\nb\n", "", "\n"])
    (tree,) = chains([PROBLEM], policy=policy, rng=rng(0), num=3)
    assert texts(tree) == [["a", "", "b"], [""], [""]]


def test_delimiter_prompt_end_and_stop_are_knobs():
    policy = scripted(completions=["a;b. c"])
    (tree,) = bind("rollout", "chains", policy=policy, rng=rng(0), num=1, delimiter=";", prompt_end=" =", stop=["."])(
        [PROBLEM]
    )
    assert texts(tree) == [["a", "b"]] and policy.asked == ["3 +4 *0 ="]


def test_tokens_go_to_the_step_they_begin_in():
    # "3+4=" "2" "\n" | "2*0=0" end: the delimiter closes the first step, the end token the second.
    (tree,) = chains([PROBLEM], policy=Spelling((1, 2, 3, 4, 0)), rng=rng(0), num=1)
    assert [step.token_ids for step in tree.steps[1:]] == [(1, 2, 3), (4, 0)]
    assert tree.steps[1].logprobs == pytest.approx((-0.1, -0.2, -0.3))
    # "\n0" begins as the delimiter of the first step, and carries the text of the second with it.
    (tree,) = chains([PROBLEM], policy=Spelling((1, 2, 5, 0)), rng=rng(0), num=1)
    assert [step.token_ids for step in tree.steps[1:]] == [(1, 2, 5), (0,)]


def test_all_sampled_tokens_are_kept_in_order():
    for ids in [(1, 2, 3, 4, 3, 0), (1, 2, 6, 4, 0), (0,), (3, 0), (6, 6, 0)]:
        (tree,) = chains([PROBLEM], policy=Spelling(ids), rng=rng(0), num=1)
        assert sum((step.token_ids for step in tree.steps[1:]), ()) == ids


def test_a_truncated_attempt_says_so_at_its_leaf():
    (tree,) = chains([PROBLEM], policy=Spelling((1, 2, 3, 4), (1,), finish="length"), rng=rng(0), num=2)
    assert [tree.outcomes[leaf].status for leaf in tree.leaves] == ["truncated", "truncated"]
    assert tree.outcomes[1] is None and tree.reward_N[2] != tree.reward_N[2]


def test_cost_is_divided_among_the_trees():
    other = Problem("q", "1 +1", answer="2")
    trees = chains([PROBLEM, other], policy=Spelling((1, 2, 0), (4, 0)), rng=rng(0), num=2)
    assert [tree.cost.generated_tokens for tree in trees] == [5, 5]
    assert [tree.cost.forwarded_tokens for tree in trees] == [4, 3]  # 7 in one call
    assert trees[0].cost.seconds == trees[1].cost.seconds > 0


def test_no_problems_give_no_trees_and_mistakes_are_named():
    assert chains([], policy=scripted(), rng=rng(0)) == []
    with pytest.raises(ValueError, match="delimiter ''"):
        chains([PROBLEM], policy=scripted(), rng=rng(0), delimiter="")
    with pytest.raises(ValueError, match="num 0"):
        chains([PROBLEM], policy=scripted(), rng=rng(0), num=0)
