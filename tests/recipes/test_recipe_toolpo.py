"""ToolPO against success alone: the study runs, and where it trains is not where it is tested."""

import importlib.util

import pytest

from stepcredit import Problem, Step
from stepcredit.core.rng import rng
from stepcredit.recipes._tool_folds import FoldWorld, told
from stepcredit.recipes._tool_rl import ToolWorld
from stepcredit.recipes.toolpo import CREDITS, KINDS, SIZES, WHERE, toolpo
from stepcredit.report._check import check_run

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed"),
]


@pytest.mark.slow
def test_every_arm_runs_and_says_what_success_was_before(tmp_path):
    run = toolpo(size="quick", out=str(tmp_path))
    check_run(run)
    assert len(run["table"]["rows"]) == len(SIZES["quick"].arms) == 4
    assert all("success on the unreliable tool 0." in line and " to 0." in line for line in run["summary"])
    assert run["curves"]["success against generated tokens"]["x"][-1] > 0


def test_the_simulator_is_clean_and_the_test_is_not():
    world = SIZES["small"].world
    assert world.made().name == "tool_use" and dict(world.knobs)["real"] == 0.3
    simulator = world.made(**WHERE["in the simulator"])
    (problem,) = simulator.problems(1, rng(0))
    steps = simulator.demonstrate(problem, rng(1))
    assert not any(step.text == "ERROR busy" for step in steps)


def test_attribution_differs_from_the_shared_reward_on_answers_alone():
    from stepcredit import Outcome
    from stepcredit.core.tree import star

    problem = Problem("p", "?", "7", meta={"calls": ["get 3", "get 4"]})
    good = [Step("get 3", "tool_call"), Step("= 4", "tool_result", sampled=False), Step("answer 9", "answer")]
    bad = [Step("get 9", "tool_call"), Step("= 1", "tool_result", sampled=False), Step("answer 7", "answer")]
    tree = star(problem, [good, bad], [Outcome(0.0), Outcome(1.0)])
    # Success: -1/2, +1/2. Right calls: 1 of 2 and none, so +1/4 and -1/4 on the calls alone.
    assert CREDITS["toolpo"](tree).values_N[[1, 3, 4, 6]].tolist() == [-0.25, -0.5, 0.25, 0.5]
    assert CREDITS["all tokens"](tree).values_N[[1, 3, 4, 6]].tolist() == [-0.25, -0.25, 0.25, 0.25]
    assert CREDITS["success"](tree).values_N[[1, 3, 4, 6]].tolist() == [-0.5, -0.5, 0.5, 0.5]
    # The first attempt's call is worth 1/2, the other's 0: each less the mean over attempts, 1/4, and its success.
    assert CREDITS["per call"](tree).values_N[[1, 3, 4, 6]].tolist() == [-0.25, -0.5, 0.25, 0.5]
    spoilt = [good[0], good[1], Step("get 9", "tool_call"), Step("= 1", "tool_result", sampled=False), good[2]]
    # Of the calls [right 1/2, wrong 0] and [wrong 0]: means 1/4 and 0, so less 1/8: the wrong one beside a right one is not paid.
    each = CREDITS["per call"](star(problem, [spoilt, bad], [Outcome(0.0), Outcome(1.0)])).values_N
    assert each[[1, 3, 6]].tolist() == [-0.125, -0.625, 0.375]
    shared = CREDITS["toolpo"](star(problem, [spoilt, bad], [Outcome(0.0), Outcome(1.0)])).values_N
    assert shared[[1, 3, 6]].tolist() == [-0.25, -0.25, 0.25]
    assert set(KINDS.values()) == {"label-free", "control"}


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no arm 'toolpo'; there are: 'success, on the tool'"):
        toolpo(size="quick", arms=["toolpo"], out=str(tmp_path))
    with pytest.raises(ValueError, match="no arm 'success, on the tool'; there are: 'toolpo, folds', 'toolpo, cut'"):
        toolpo(size="folds", arms=["success, on the tool"], out=str(tmp_path))
    with pytest.raises(ValueError, match="limited is 'short'; allowed: folds, cut, no limit"):
        SIZES["folds"].world.rollout("short", num=1)


def test_a_demonstration_is_told_behind_each_fold_to_its_end():
    from stepcredit.rollout._writing import Writing
    from stepcredit.train.tiny import build_tokenizer

    problem = Problem("p", "from 3 get get", "9")
    steps = [Step("get 3", "tool_call"), Step("= 4", "tool_result", sampled=False), Step("get 4", "tool_call"),
             Step("= 9", "tool_result", sampled=False), Step("answer 9", "answer")]  # fmt: skip
    tokenizer = build_tokenizer([Writing().prefix(problem, steps)])
    # <bos> and the prompt are 6 tokens, a call and its result 6: 12 behind the first turn, 18 behind the second.
    first, *folds = told(problem, steps, 12, Writing(), tokenizer)
    assert first == ("from 3 get get\n", "get 3\n= 4\nget 4\n= 9\nanswer 9\n")
    assert folds == [("from 3 get get\nanswer\nget 4\n= 9\n", "answer 9\n")]
    assert [start for start, _ in told(problem, steps, 11, Writing(), tokenizer)][
        1
    ] == "from 3 get get\nget\nget 3\n= 4\n"


@pytest.mark.slow
def test_behind_the_limit_episodes_go_on_from_a_memory_or_end(tmp_path):
    from stepcredit.core.log_ratios import encode
    from stepcredit.policy.hf import hf
    from stepcredit.rollout._folding import Standing
    from stepcredit.rollout._writing import Writing

    world = FoldWorld(ToolWorld("tool_use", (("backend", "store"),), 40, 4, 8, 3, 2, 6, hidden=16), 20, fold_updates=2)
    policy = hf(str(world.policy(1, tmp_path)))
    problems = world.problems(1)[0]
    read: dict[str, list[int]] = {"folds": [], "cut": [], "no limit": []}
    statuses = {name: [] for name in read}
    for name, lengths in read.items():
        for tree in world.rollout(name, num=4)(problems, policy, rng(2)):
            for leaf in tree.leaves:
                statuses[name].append(tree.outcomes[leaf].status)
                here = Standing.at(Writing().prefix(tree.problem, ()), policy.tokenizer)
                for step in tree.solution(leaf):
                    if step.sampled and step.token_ids:
                        lengths.append(len(encode(policy.tokenizer, [step.context or here.text])[0]))
                    here = here.behind([step], Writing(), policy.tokenizer)
    assert max(read["cut"]) <= 20 < max(read["no limit"])
    assert max(read["folds"]) < max(read["no limit"])
    assert statuses["cut"].count("truncated") > statuses["no limit"].count("truncated")
