"""Restarts grow where they are asked, keep what was there, and are what Monte Carlo reads."""

from dataclasses import replace

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.truth import verified
from stepcredit.core.types import Completion, Cost, Outcome, Problem, Record, Step
from stepcredit.credit.monte_carlo import counts, monte_carlo
from stepcredit.rollout.chains import chains
from stepcredit.rollout.restart import restart


class Scripted:
    """Answers every prefix with the same completions and remembers what it was asked."""

    def __init__(self, *texts: str, finish: str = "stop") -> None:
        self.texts, self.finish, self.asked, self.cost = texts, finish, [], Cost()

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked.extend(prefixes)
        self.cost += Cost(forwarded_tokens=10 * len(prefixes))
        return [[Completion(self.texts[k % len(self.texts)], finish=self.finish) for k in range(num)] for _ in prefixes]

    def logprob(self, prefixes, continuations):
        raise NotImplementedError


TREE = star(Problem("p", "q"), [[Step("a"), Step("b"), Step("c")], [Step("d")]])


def test_a_restart_hangs_behind_its_node_in_a_group_of_its_own_and_old_nodes_keep_their_numbers() -> None:
    policy = Scripted("x\ny\n", "z")
    (grown,) = restart([TREE], policy=policy, rng=rng(0), num=2)
    # Nodes 1 a, 2 b, 3 c (leaf), 4 d (leaf): restarts from 1 and 2 alone.
    assert policy.asked == ["q\na\n", "q\na\nb\n"]
    assert [step.text for step in grown.steps] == ["q", "a", "b", "c", "d", "x", "y", "z", "x", "y", "z"]
    assert grown.parent_N.tolist() == [-1, 0, 1, 2, 0, 1, 5, 1, 2, 8, 2]
    assert grown.group_N is not None
    assert grown.group_N.tolist() == [0, 0, 0, 0, 1, 2, 2, 3, 4, 4, 5]
    assert grown.cost.forwarded_tokens == 20


def test_only_the_asked_nodes_are_restarted_and_a_wrong_one_is_named() -> None:
    policy = Scripted("x")
    (grown,) = restart([TREE], policy=policy, rng=rng(0), num=1, nodes=[[2]])
    assert policy.asked == ["q\na\nb\n"] and grown.num_nodes == TREE.num_nodes + 1
    with pytest.raises(ValueError, match="no restart from node 3; allowed: sampled steps that are no leaf"):
        restart([TREE], policy=policy, rng=rng(0), nodes=[[3]])
    with pytest.raises(ValueError, match="1 trees need as many lists of nodes, got 2"):
        restart([TREE], policy=policy, rng=rng(0), nodes=[[1], [1]])
    with pytest.raises(ValueError, match="num 0"):
        restart([TREE], policy=policy, rng=rng(0), num=0)


def test_a_tool_result_is_no_place_to_restart_from() -> None:
    tool = Step("result", kind="tool_result", sampled=False)
    tree = star(Problem("p", "q"), [[Step("a"), tool, Step("b")]])
    policy = Scripted("x")
    (grown,) = restart([tree], policy=policy, rng=rng(0), num=1)
    # The call's restart has read the result, holds a copy of it, and hangs behind the call, which it values.
    assert policy.asked == ["q\na\nresult\n"]
    assert [step.text for step in grown.solution(5)] == ["a", "result", "x"] and grown.steps[4] == tool
    assert grown.parent_N.tolist() == [-1, 0, 1, 2, 1, 4]
    right = replace(grown, outcomes=(None, None, None, Outcome(0.0), None, Outcome(1.0)))
    assert counts(right)[1].tolist()[:3] == [0, 1, 0] and counts(right)[0][1] == 1


class Slow(Scripted):
    """Reads seven tokens in all, however much is asked."""

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        found = super().sample(prefixes, num, rng)
        self.cost = Cost(forwarded_tokens=7)
        return found


def test_shares_of_what_was_forwarded_and_of_the_time_add_up() -> None:
    grown = restart([TREE, TREE, TREE], policy=Slow("x"), rng=rng(0), num=1)
    # Six nodes: one token more for the first of them, two nodes a tree.
    assert [tree.cost.forwarded_tokens for tree in grown] == [3, 2, 2]
    assert grown[0].cost.seconds > 0 and len({tree.cost.seconds for tree in grown}) == 1


def test_a_tree_without_inner_steps_comes_back_and_a_cut_restart_is_truncated() -> None:
    short = star(Problem("p", "q"), [[Step("a")]])
    assert restart([short], policy=Scripted("x"), rng=rng(0)) == [short]
    (grown,) = restart([TREE], policy=Scripted("x", finish="length"), rng=rng(0), num=1, nodes=[[1]])
    outcome = grown.outcomes[-1]
    assert outcome is not None and outcome.status == "truncated"


def test_monte_carlo_over_restarts_is_unbiased_for_the_closed_form_value() -> None:
    task, policy = registry.bind("tasks", "chain")(), registry.bind("policy", "tabular")()
    problems = task.problems(20, rng(0, "problems"))
    trees = chains(problems, policy=policy, rng=rng(0, "attempts"), num=2)
    grown = [
        verified(Record(tree), task.verify).tree
        for tree in restart(trees, policy=policy, rng=rng(0, "restart"), num=64)
    ]
    z, num = [], 0
    for tree, old in zip(grown, trees, strict=True):
        value_N = monte_carlo(tree).values_N
        _, rollouts_N = counts(tree)
        for node in range(1, old.num_nodes):
            if node in old.leaves:
                continue
            prefix = tree.problem.prompt + "\n" + "".join(step.text + "\n" for step in tree.solution(node))
            exact = float(policy.value([prefix])[0])
            # 64 restarts and the attempt itself, which is in the node's own group and is not counted.
            assert rollouts_N[node] == 64
            if 0 < exact < 1:
                z.append((value_N[node] - exact) / np.sqrt(exact * (1 - exact) / 64))
                num += 1
    # Means of unbiased standardised errors: |mean| < 4 / sqrt(n), and variance 1.
    assert num > 100 and abs(np.mean(z)) < 4 / np.sqrt(num) and 0.7 < np.var(z) < 1.3


def test_restarts_of_restarts_belong_to_nobody_else() -> None:
    (once,) = restart([TREE], policy=Scripted("x\ny"), rng=rng(0), num=1, nodes=[[1]])
    (twice,) = restart([replace(once)], policy=Scripted("z"), rng=rng(0), num=1, nodes=[[5]])
    assert twice.group_N is not None and twice.group_N.tolist()[-1] == twice.group_N.max() and twice.parent_N[-1] == 5
