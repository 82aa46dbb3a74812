"""Trees of episodes against chains: the study runs, arms spend what they should, what branches is whole turns."""

import importlib.util

import pytest

from stepcredit.core.environment import num_calls
from stepcredit.core.rng import rng
from stepcredit.policy.hf import hf
from stepcredit.recipes.tree_grpo import ARMS, SIZES, X4, results, tree_grpo
from stepcredit.report._check import check_run

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tree_grpo"))


@pytest.mark.slow
def test_every_arm_runs_and_spends_its_tokens(out):
    run = tree_grpo(size="quick", worlds=["three hops"], out=out)
    check_run(run)
    assert {row["arm"] for row in run["table"]["rows"]} == {f"{arm} (three hops)" for arm in ARMS}
    tokens = SIZES["quick"].tokens
    for arm, (one,) in results("quick", [1], ["three hops"], out=out)["three hops"].items():
        spent, batch = one.cost["generated_tokens"], one.curve[1]["tokens"]
        limit = tokens * (4 if arm == X4 else 1)
        assert limit <= spent < limit + 4 * batch, arm


def test_trees_branch_at_whole_turns_and_tests_know_no_oracle_in_their_success(tmp_path):
    world = dict(SIZES["quick"].worlds)["three hops"]
    train, test = world.problems(1)
    assert not {p.id for p in train} & {p.id for p in test}
    policy = hf(str(world.policy(1, tmp_path)))
    trees = world.rollout(num=2, num_nodes=2, num_rounds=1)(train[:3], policy, rng(0))
    for tree in trees:
        assert all(
            tree.steps[n].kind != "tool_call" or any(tree.parent_N == n) or n in tree.leaves
            for n in range(tree.num_nodes)
        )
        assert num_calls(tree) == sum(not step.sampled for step in tree.steps) - 1
    assert set(world.test(test, 0)(policy)) == {"success", "calls", "sound calls", "tokens an episode"}


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no 'nine hops'; there are: three hops, one hop"):
        tree_grpo(size="quick", worlds=["nine hops"], out=str(tmp_path))
    with pytest.raises(ValueError, match="give one seed or more"):
        tree_grpo(size="quick", seeds=[], out=str(tmp_path))
