"""branch: the shape of the trees, which nodes are continued, what it costs, and that leaves are the policy's own."""

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.truth import verified
from stepcredit.core.types import Completion, Cost, Judgment, Problem, Record
from stepcredit.credit.sibling import values
from stepcredit.credit.tree_advantage import tree_advantage
from stepcredit.rollout.branch import branch

PROBLEM = Problem("p", "q")


class Counting:
    """Writes attempts of `depth` steps, numbered as they are written; a token a step. Surprise is told by `nats`."""

    def __init__(self, depth=3, nats=None, finish="stop"):
        self.depth, self.nats, self.finish = depth, nats, finish
        self.calls, self.written, self.cost = [], 0, Cost()

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.calls.append((list(prefixes), num))
        self.cost += Cost(forwarded_tokens=7)
        return [[self._one(prefix) for _ in range(num)] for prefix in prefixes]

    def _one(self, prefix):
        done = prefix.count("\n") - 1
        lines = [f"{self.written}.{j}" for j in range(done, self.depth)]
        self.written += 1
        logprobs = None if self.nats is None else tuple(-self.nats(line) for line in lines)
        return Completion("".join(line + "\n" for line in lines), logprobs=logprobs, finish=self.finish)

    def logprob(self, prefixes, continuations):
        raise NotImplementedError


def grow(policy, seed=0, **knobs):
    return branch([PROBLEM], policy=policy, rng=rng(seed), **knobs)[0]


def texts(tree, node):
    return [step.text for step in tree.solution(node)]


def test_m_chains_share_the_prompt_and_are_trees_of_their_own():
    policy = Counting(2)
    tree = grow(policy, num_trees=3, num_rounds=0)
    assert policy.calls == [(["q\n"], 3)]
    assert tree.parent_N.tolist() == [-1, 0, 1, 0, 3, 0, 5] and tree.group_N.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert [texts(tree, leaf) for leaf in tree.leaves] == [["0.0", "0.1"], ["1.0", "1.1"], ["2.0", "2.1"]]


def test_a_round_continues_each_chosen_node_to_its_end_in_its_own_tree():
    """One tree, attempt 0.0-0.1 and no root: the only choice is node 1, twice, asked for once."""
    policy = Counting(2)
    tree = grow(policy, num_trees=1, num_nodes=2, root=False)
    assert policy.calls == [(["q\n"], 1), (["q\n0.0\n"], 2)]
    assert tree.parent_N.tolist() == [-1, 0, 1, 1, 1] and tree.group_N.tolist() == [0] * 5
    assert [step.text for step in tree.steps] == ["q", "0.0", "0.1", "1.1", "2.1"]


@pytest.mark.parametrize(("num_trees", "num_nodes", "num_rounds"), [(2, 2, 1), (1, 6, 1), (3, 1, 4), (4, 5, 2)])
def test_there_are_1_plus_l_n_leaves_a_tree(num_trees, num_nodes, num_rounds):
    tree = grow(Counting(4), num_trees=num_trees, num_nodes=num_nodes, num_rounds=num_rounds)
    per_tree = np.bincount(tree.group_N[list(tree.leaves)], minlength=num_trees)
    assert per_tree.tolist() == [1 + num_nodes * num_rounds] * num_trees
    assert all(len(texts(tree, leaf)) == 4 for leaf in tree.leaves)  # every continuation ends its attempt
    # Nodes of a tree hang on nodes of the same tree, or on the prompt.
    assert all(parent == 0 or tree.group_N[node] == tree.group_N[parent]
               for node, parent in enumerate(tree.parent_N) if node)  # fmt: skip


def test_later_rounds_may_continue_what_earlier_ones_wrote():
    found = set()
    for seed in range(20):
        tree = grow(Counting(4), seed, num_trees=1, num_nodes=1, num_rounds=2)
        second = next(leaf for leaf in tree.leaves if texts(tree, leaf)[-1].startswith("2."))
        found.add(tuple(sorted({text.split(".")[0] for text in texts(tree, second)})))
    assert ("1", "2") in found or ("0", "1", "2") in found


def test_the_root_is_a_candidate_or_not_and_choices_are_uniform():
    """Attempts of 4 steps: the prompt and 3 nodes, a quarter each; without the root a third. 1,000 choices, 4 errors."""
    for root, shares in ((True, [0.25] * 4), (False, [0.0, 1 / 3, 1 / 3, 1 / 3])):
        policy = Counting(4)
        branch([PROBLEM] * 500, policy=policy, rng=rng(1), num_trees=1, num_nodes=2, root=root)
        depth = [
            prefix.count("\n") - 1 for prefixes, num in policy.calls[1:] for prefix in prefixes for _ in range(num)
        ]
        found = np.bincount(depth, minlength=4) / 1000
        assert len(depth) == 1000 and np.all(np.abs(found - shares) < 4 * np.sqrt(0.22 / 1000)), found


@pytest.mark.parametrize(("root", "share"), [(True, 5 / 8), (False, 1 / 2)])
def test_the_measured_budget_is_that_of_the_formula(root, share):
    """Attempts of 4 lines, a token each: a continuation costs 4 (D + 1)/2D = 2.5 with the root, 2 without, on average."""
    policy = registry.bind("policy", "tabular")()
    problems = [Problem(f"{i}", "3 +4 *2 -1 +2") for i in range(200)]
    trees = branch(problems, policy=policy, rng=rng(2), num_trees=2, num_nodes=2, root=root)
    tokens = np.array([tree.cost.generated_tokens for tree in trees])
    expected = 2 * 4 + 2 * 2 * 4 * share  # M B + L N M B times the share
    assert abs(tokens.mean() - expected) < 4 * tokens.std() / np.sqrt(len(trees))
    assert tokens.std() > 0 and all(tree.num_nodes - 1 == cost for tree, cost in zip(trees, tokens, strict=True))


def test_surprise_chooses_the_nodes_before_the_steps_that_were_least_likely():
    """Step 0.2 was the great surprise, then 0.0: so node 2 (after 0.1) is continued, then the prompt, then node 1."""
    nats = {"0.0": 2.0, "0.1": 1.0, "0.2": 5.0}
    policy = Counting(3, lambda line: nats.get(line, 0.1))
    grow(policy, num_trees=1, num_nodes=2, choose="entropy")
    assert policy.calls[1:] == [(["q\n0.0\n0.1\n", "q\n"], 1)] or policy.calls[1:] == [(["q\n", "q\n0.0\n0.1\n"], 1)]
    policy = Counting(3, lambda line: nats.get(line, 0.1))
    grow(policy, num_trees=1, num_nodes=2, choose="entropy", root=False)
    assert sorted(policy.calls[1][0]) == ["q\n0.0\n", "q\n0.0\n0.1\n"]


def test_surprise_averages_over_what_followed_and_ties_go_to_the_earlier_node():
    policy = Counting(3, lambda line: 1.0)
    grow(policy, num_trees=1, num_nodes=1, choose="entropy")
    assert policy.calls[1] == (["q\n"], 1)
    # Node 1 was followed by surprises 9 and 1 (mean 5), node 2 by 6: node 2 is next.
    nats = {"0.0": 0.5, "0.1": 9.0, "0.2": 6.0, "1.1": 1.0, "1.2": 0.0}
    policy = Counting(3, lambda line: nats.get(line, 0.0))
    grow(policy, num_trees=1, num_nodes=1, num_rounds=2, choose="entropy", root=False)
    assert [call[0] for call in policy.calls] == [["q\n"], ["q\n0.0\n"], ["q\n0.0\n0.1\n"]]


def test_fewer_nodes_than_wanted_are_chosen_again_in_turn():
    policy = Counting(2, lambda line: 1.0)
    grow(policy, num_trees=1, num_nodes=3, choose="entropy", root=False)
    assert policy.calls[1] == (["q\n0.0\n"], 3)


class Doubting:
    """Scores steps by their position; None abstains."""

    def __init__(self, scores):
        self.scores, self.num = scores, 0

    def __call__(self, attempts):
        self.num += len(attempts)
        cost = Cost(judge_calls=1)
        if self.scores is None:
            return [Judgment(np.nan, [np.nan] * len(steps), status="abstained", cost=cost) for _, steps in attempts]
        return [Judgment(0.5, self.scores[: len(steps)], cost=cost) for _, steps in attempts]


def test_a_judge_chooses_what_it_is_least_sure_of_and_its_calls_are_paid_for():
    policy, judge = Counting(4), Doubting([0.9, 0.45, 0.2, 0.5])
    tree = grow(policy, num_trees=1, num_nodes=2, choose="judge", judge=judge)
    # The last step is a leaf: nodes 2 (.05 from a half) and 3 (.3) are continued, never the prompt.
    assert sorted(policy.calls[1][0]) == ["q\n0.0\n0.1\n", "q\n0.0\n0.1\n0.2\n"]
    assert tree.cost.judge_calls == 1 == judge.num


def test_a_judge_that_keeps_no_count_was_still_called():
    def judge(attempts):
        return [Judgment(0.5, [0.5] * len(steps)) for _, steps in attempts]

    assert grow(Counting(4), num_trees=3, num_nodes=1, choose="judge", judge=judge).cost.judge_calls == 3


def test_nothing_to_choose_is_nothing_continued():
    assert len(grow(Counting(4), num_trees=2, choose="judge", judge=Doubting(None)).leaves) == 2
    assert len(grow(Counting(1), num_trees=2, root=False).leaves) == 2
    assert len(grow(Counting(1), num_trees=2).leaves) == 6  # one-step attempts from the prompt again


def test_pruning_keeps_k_leaves_a_tree_and_only_what_they_need_at_the_whole_cost():
    whole = grow(Counting(4), num_trees=2, num_nodes=5)
    tree = grow(Counting(4), num_trees=2, num_nodes=5, num_leaves=2)
    assert np.bincount(tree.group_N[list(tree.leaves)]).tolist() == [2, 2]
    assert tree.cost.generated_tokens == whole.cost.generated_tokens
    kept = {tuple(texts(tree, leaf)) for leaf in tree.leaves}
    assert kept <= {tuple(texts(whole, leaf)) for leaf in whole.leaves} and len(kept) == 4
    used = {node for leaf in tree.leaves for node in tree.path(leaf)}
    assert used == set(range(1, tree.num_nodes))


def test_which_leaves_are_kept_is_drawn_evenly():
    """Of 1 + 3 leaves 2 are kept: the first attempt in half of the trees; 300 trees, four standard errors."""
    trees = branch([PROBLEM] * 300, policy=Counting(2), rng=rng(4), num_trees=1, num_nodes=3, num_leaves=2, root=False)
    first = [any(len({t.split(".")[0] for t in texts(tree, leaf)}) == 1 for leaf in tree.leaves) for tree in trees]
    assert abs(np.mean(first) - 0.5) < 4 * 0.5 / np.sqrt(300)


def test_costs_add_up_to_what_the_policy_spent():
    policy = Counting(3)
    trees = branch([PROBLEM] * 3, policy=policy, rng=rng(0), num_trees=2, num_nodes=3, num_rounds=2)
    assert sum((tree.cost for tree in trees), Cost()).forwarded_tokens == policy.cost.forwarded_tokens


def test_the_same_seed_gives_the_same_trees():
    policy = registry.bind("policy", "tabular")()
    problems = [Problem("a", "3 +4 *2 -1"), Problem("b", "1 *3 +2")]
    one, two, other = (branch(problems, policy=policy, rng=rng(seed), num_nodes=4) for seed in (5, 5, 6))
    for a, b in zip(one, two, strict=True):
        assert a.steps == b.steps and a.parent_N.tolist() == b.parent_N.tolist()
    assert any(a.steps != b.steps for a, b in zip(one, other, strict=True))


def test_a_cut_attempt_is_truncated_and_no_problem_is_no_tree():
    tree = grow(Counting(2, finish="length"))
    assert all(tree.outcomes[leaf].status == "truncated" for leaf in tree.leaves)
    assert branch([], policy=Counting(), rng=rng(0)) == []


def test_every_leaf_is_a_sample_of_the_policy_and_values_are_unbiased():
    """Fixed length, so choices say nothing of outcomes: leaf means and children means have the closed-form mean."""
    task, policy = registry.bind("tasks", "chain")(), registry.bind("policy", "tabular")(random_slip=0.2)
    problems = task.problems(120, rng(7, "problems"))
    exact = policy.value([problem.prompt + "\n" for problem in problems])
    trees = branch(problems, policy=policy, rng=rng(7), num_trees=2, num_nodes=3, num_rounds=2, num_leaves=4)
    trees = [verified(Record(tree), task.verify).tree for tree in trees]
    for found in (np.array([tree.reward_N[list(tree.leaves)].mean() for tree in trees]),
                  np.array([values(tree)[0] for tree in trees])):  # fmt: skip
        error = found - exact
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))
    # And its trees are what tree_advantage reads: within each tree, leaves sum to nothing.
    for tree in trees[:20]:
        intra = tree_advantage(tree, over="intra", normalize="none").values_N
        for group in (0, 1):
            own = [leaf for leaf in tree.leaves if tree.group_N[leaf] == group]
            assert abs(intra[own].sum()) < 1e-9


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"num_trees": 0}, "0 trees"),
        ({"num_nodes": 0}, "0 nodes"),
        ({"num_rounds": -1}, "-1 rounds"),
        ({"num_leaves": 4}, "4 leaves; .* 1 to 3"),
        ({"num_leaves": 0}, "0 leaves"),
        ({"delimiter": ""}, "delimiter ''"),
        ({"choose": "best"}, "choose is 'best'.*allowed: random, entropy, judge"),
        ({"choose": "judge"}, "judge not given"),
        ({"judge": Doubting([0.5])}, "choose is 'random', judge given"),
        ({"choose": "entropy"}, "needs log-probabilities"),
    ],
)
def test_wrong_knobs_are_named(knobs, said):
    with pytest.raises(ValueError, match=said):
        grow(Counting(2), **knobs)


class Reaching:
    """A tokenizer and policy in which one token, 9, spells ".\\n\\n" over a step's end; the rest are characters."""

    bos_token_id, eos_token_id = 1, 2
    tokenizer = property(lambda self: self)

    def __call__(self, texts, add_special_tokens=True, verbose=True):
        return {"input_ids": [[1] * add_special_tokens + self.ids(text) for text in texts]
                if not isinstance(texts, str) else self.ids(texts)}  # fmt: skip

    def ids(self, text):
        found = []
        while text:
            found.append(9 if text.startswith(".\n\n") else ord(text[0]))
            text = text[3 if found[-1] == 9 else 1 :]
        return found

    def token_ends(self, ids):
        return list(np.cumsum([3 if one == 9 else 1 for one in ids]))

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        text = "a.\n\nb"
        return [
            [Completion(text, tuple(self.ids(text)), tuple([-1.0] * len(self.ids(text)))) for _ in range(num)]
            for _ in prefixes
        ]


def test_a_continuation_says_what_it_was_sampled_from_where_a_token_reaches_over_the_border():
    """Behind "a." the row's tokens spell "a.", newline, newline; the policy was given one newline."""
    (tree,) = branch(
        [Problem("p", "q")], policy=Reaching(), rng=rng(0), num_trees=1, num_nodes=8, num_rounds=1, root=False
    )
    firsts = [node for node in range(1, tree.num_nodes) if tree.steps[node].context is not None]
    assert {tree.steps[node].context for node in firsts} == {"q\na.\n"}
    assert {tree.steps[tree.parent_N[node]].text for node in firsts} == {"a."}
