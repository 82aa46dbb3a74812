"""Arms of reinforcement learning side by side: what is kept, what is tested, what the page shows."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit import Estimate, Outcome, Problem
from stepcredit.core.registry import bind
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._rl import Cells, RlArm, mean_cost, paired, run_of, success, train_arm, verified_rollout
from stepcredit.report._check import check_run
from stepcredit.rollout.chains import chains
from stepcredit.train.grpo import Settings
from stepcredit.train.tiny import build_tokenizer, tiny_config

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed"),
]
PROBLEMS = [Problem("one", "0 1"), Problem("two", "1 0")]


def even(problem, solutions):
    return [Outcome(float(sum(len(step.text) for step in steps) % 2 == 0)) for steps in solutions]


@pytest.fixture
def folder(tmp_path):
    tokenizer = build_tokenizer(["0 1\n2"], kind="word", max_positions=48)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=48)).save_pretrained(
            tmp_path / "lm"
        )
    tokenizer.save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


def test_an_arm_is_tested_before_on_the_way_and_after(folder, tmp_path):
    rollout = verified_rollout(chains, even, num=4, max_new_tokens=8)
    arm = RlArm(rollout, bind("credit", "group_mean", normalize="none"),
                Settings(num_updates=4, num_problems=2, learning_rate=1e-3, max_new_tokens=8))  # fmt: skip
    found = train_arm(
        folder, PROBLEMS, arm, test=success(PROBLEMS, rollout, seed=0), seed=0, every=2, save_to=tmp_path / "out"
    )
    assert [row["update"] for row in found.curve] == [0, 1, 2, 3, 4]
    assert [row["update"] for row in found.curve if "success" in row] == [0, 2, 4]
    assert found.curve[-1]["success"] == found.estimates["success"].value
    assert found.cost["generated_tokens"] == found.curve[-1]["tokens"] > 0
    assert (tmp_path / "out" / "model.safetensors").is_file()


def result(value, tokens):
    curve = [{"tokens": 0.0, "success": 0.0}, {"tokens": tokens, "success": value}]
    return ArmResult(
        {"success": Estimate(value, value, value, 9, "share")}, curve=curve, cost={"generated_tokens": tokens}
    )


def test_arms_stand_on_one_grid_of_tokens_each_to_its_own_end():
    # The shorter arm ends at 100: half of the longer's way, where that stands at .5; it is not drawn beyond.
    found = {"a": [result(1.0, 200.0), result(1.0, 200.0)], "b": [result(0.4, 100.0), result(0.2, 100.0)]}
    run = run_of(
        found, {"a": "label-free", "b": "control"}, ["success"], title="t", seeds=[1, 2], expectation="e", config={}
    )
    check_run(run)
    curve = run["curves"]["success against generated tokens"]
    middle = curve["x"].index(100.0)
    assert curve["x"][-1] == 200.0
    a, b = curve["series"]
    assert a["y"][middle] == 0.5 and a["y"][-1] == 1.0
    assert b["y"][middle] == pytest.approx(0.3) and set(b["y"][middle + 1 :]) == {None}
    # Two seeds at .4 and .2: mean .3, t(1) = 12.706 times .1 on each side.
    assert b["high"][middle] == pytest.approx(0.3 + 1.2706, abs=1e-3)
    assert paired(found["a"], found["b"], "success", "difference").value == pytest.approx(0.7)
    assert mean_cost(found["b"]) == {"generated_tokens": 100.0}
    json.dumps(run)


def test_one_seed_s_curve_has_the_intervals_of_its_tests(folder):
    rollout = verified_rollout(chains, even, num=4, max_new_tokens=8)
    arm = RlArm(rollout, bind("credit", "group_mean", normalize="none"),
                Settings(num_updates=1, num_problems=2, learning_rate=1e-3, max_new_tokens=8))  # fmt: skip
    found = train_arm(folder, PROBLEMS, arm, test=success(PROBLEMS, rollout, seed=0), seed=0)
    run = run_of({"a": [found]}, {"a": "label-free"}, ["success"], title="t", seeds=[0], expectation="e", config={})
    line = run["curves"]["success against generated tokens"]["series"][0]
    last = found.estimates["success"]
    assert (line["low"][-1], line["y"][-1], line["high"][-1]) == (last.low, last.value, last.high)
    assert found.curve[0]["success low"] <= found.curve[0]["success"] <= found.curve[0]["success high"]


def test_finished_arms_are_read_back(tmp_path):
    calls = []

    def run():
        calls.append(1)
        return result(0.5, 10.0)

    for _ in range(2):
        again = Cells(tmp_path, {"size": 1}).result("arm", 3, run)
    assert len(calls) == 1 and again == result(0.5, 10.0)
    Cells(tmp_path, {"size": 2}).result("arm", 3, run)
    assert len(calls) == 2 and np.isclose(again.estimates["success"].value, 0.5)
