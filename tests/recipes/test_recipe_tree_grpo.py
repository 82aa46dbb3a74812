"""Trees of episodes against chains: the study runs, arms spend what they should, what branches is whole turns."""

import importlib.util
from dataclasses import asdict

import pytest

from stepcredit.core.environment import num_calls
from stepcredit.core.rng import rng
from stepcredit.policy.hf import hf
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._rl import Cells
from stepcredit.recipes.tree_grpo import ARMS, SIZES, TREES, X4, results, tree_grpo
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


def test_finished_arms_of_a_size_are_found_again(tmp_path):
    # What decides an arm's numbers is hashed: a field more in a size would run all its arms anew.
    for size, key in (("small", "5ee4d3be7557"), ("deep", "63bdbfaecb28")):
        Cells(tmp_path, asdict(SIZES[size])).result("an arm", 1, lambda: ArmResult({}))
        assert (tmp_path / "arms" / key / "1" / "an arm.json").is_file()


@pytest.mark.parametrize(("arm", "problems"), [("tree, siblings, exact", 2), ("tree, N = 6", 1)])
def test_larger_trees_take_fewer_problems_a_batch(arm, problems, out):
    # Two problems a batch: 2 x (1 + 2) leaves each, or one problem with 2 x (1 + 6).
    (one,) = results("quick", [1], ["three hops"], [arm], out=out)["three hops"][arm]
    leaves = problems * 2 * (1 + TREES[arm].num_nodes)
    assert all(row["train attempts"] <= leaves for row in one.curve[1:])
    assert max(row["train attempts"] for row in one.curve[1:]) > leaves - 2 * problems


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no 'nine hops'; there are: 'three hops', 'one hop'"):
        tree_grpo(size="quick", worlds=["nine hops"], out=str(tmp_path))
    with pytest.raises(ValueError, match="give one seed or more"):
        tree_grpo(size="quick", seeds=[], out=str(tmp_path))
