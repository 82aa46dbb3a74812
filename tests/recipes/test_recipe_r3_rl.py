"""R3 as reinforcement learning: the curricula, what a curve says, the whole run, its claims."""

import importlib
import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.registry import bind
from stepcredit.core.rng import rng
from stepcredit.core.tree import star, with_outcomes
from stepcredit.core.types import Cost, Outcome, Problem, Step
from stepcredit.recipes import _r3_rl_starts as starts
from stepcredit.recipes import r3_rl as recipe
from stepcredit.recipes._r3_rl_study import first_at, forgotten, log_slope, study_of, tokens_of
from stepcredit.report import write_report
from stepcredit.rollout._paths import extended
from stepcredit.tasks.parities import parities

CLAIMS = Path(__file__).resolve().parents[2] / "claims"
PROBLEM = Problem("p", "1 aA bb CC Dd", "0001", ("aA0", "bb0", "CC0", "Dd1"), {"carry": True})
needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed")


def grower(right_of, asked):
    """A rollout like `given` with two attempts a start, of which `right_of(k)` are right; 10 tokens each."""

    def grow(problems, *, policy, rng, starts=None, scratch=None):
        trees = []
        for problem, k in zip(problems, starts, strict=True):
            asked.append(k)
            base = star(problem, [[Step(text, sampled=False) for text in problem.reference[:k]]] if k else [])
            tree = extended(base, [((k, place + 1), [Step("x", token_ids=(1,) * 10)], None) for place in range(2)],
                            Cost(generated_tokens=20))  # fmt: skip
            good = right_of(k)
            trees.append(
                with_outcomes(tree, {leaf: Outcome(float(n < good), n < good) for n, leaf in enumerate(tree.leaves)})
            )
        return trees

    return grow


def test_stages_slide_back_by_an_equal_share_of_the_tokens_each():
    asked = []
    staged = starts.Staged(grower(lambda k: 1, asked), budget=160)
    for _ in range(10):
        staged([PROBLEM], None, rng(0))
    # 20 tokens a batch, 40 a stage of four: two batches each, and the last stage goes on.
    assert asked == [3, 3, 2, 2, 1, 1, 0, 0, 0, 0]


def test_adaptive_reveals_more_after_failure_and_less_after_success():
    asked = []
    adaptive = starts.Adaptive(grower(lambda k: 0, asked), share=0.0)
    draw = rng(0)
    for _ in range(30):
        adaptive([PROBLEM], None, draw)
    assert adaptive.between["p"][0] > 0.9 and adaptive.between["p"][1] == 1.0 and asked[-1] == 3
    # From then on everything succeeds: half of what is revealed is enough the next time, in the mean.
    adaptive.grow = grower(lambda k: 1, asked)
    for _ in range(30):
        adaptive([PROBLEM], None, draw)
    assert adaptive.between["p"][0] == 0.0 and adaptive.between["p"][1] < 0.1 and asked[-1] == 0


def test_adaptive_settles_where_half_succeed():
    asked = []
    adaptive = starts.Adaptive(grower(lambda k: 2 if k >= 2 else 0, asked), share=0.0)
    draw = rng(1)
    for _ in range(400):
        adaptive([PROBLEM], None, draw)
    # It fails from 0 and 1 and succeeds from 2 on: rho falls from above .5 and rises from below, for ever.
    assert {1, 2} <= set(asked[-200:]) and np.mean([k in (1, 2) for k in asked[-200:]]) > 0.6


def test_a_tenth_of_adaptive_starts_reveal_nothing_and_failing_there_moves_nothing():
    asked = []
    adaptive = starts.Adaptive(grower(lambda k: 2 if k else 0, asked), between={"p": (0.5, 0.6)})
    problem = PROBLEM
    draw = rng(2)
    found = []
    for _ in range(2000):
        adaptive.between["p"] = (0.5, 0.6)
        adaptive([problem], None, draw)
        found.append(asked[-1])
        if asked[-1] == 0:
            assert adaptive.between["p"] == (0.5, 0.6)
    assert set(found) == {0, 2} and abs(np.mean(np.array(found) == 0) - 0.1) < 0.03  # standard deviation .007


def test_partial_reward_is_no_success_and_is_off_by_default():
    problem = PROBLEM
    wrong, right, unread = ([Step(text) for text in texts] for texts in (
        ("aA1", "bb1", "CC1", "Dd0"), problem.reference, ("what",)))  # fmt: skip
    verify = starts.with_partial_reward(parities().verify, 0.2)
    found = verify(problem, [wrong, right, unread])
    assert [outcome.reward for outcome in found[:2]] == [0.2, 1.0] and found[2].status == "unparsed"
    assert [outcome.correct for outcome in found[:2]] == [False, True]
    plain = parities().verify
    assert starts.with_partial_reward(plain, 0.0) is plain
    with pytest.raises(ValueError, match=r"partial reward 0\.5"):
        starts.with_partial_reward(plain, 0.5)


def test_partial_reward_pays_for_the_form_of_an_attempt():
    # The paper's .2 puts a wrong attempt in the right form above an unreadable one: format is what is learnt.
    verify = starts.with_partial_reward(parities().verify, 0.2)
    wrong, short = [[Step(text) for text in texts] for texts in (("aA1", "bb1", "CC1", "Dd0"), ("aA0",))]
    tree = star(PROBLEM, [wrong, short], verify(PROBLEM, [wrong, short]))
    assert bind("credit", "group_mean", normalize="none")(tree).values_N[1:].round(3).tolist() == [0.1] * 4 + [-0.1]


def row(tokens, success, **more):
    return {"tokens": tokens, "success": success, **more}


def test_tokens_to_a_target_lie_on_the_line_between_two_tests():
    rows = [row(0, 0.0), row(100, 0.4), row(200, 0.8), row(300, 0.6)]
    assert first_at(rows, 0.5, 300) == (125.0, True) and first_at(rows, 0.8, 300) == (200.0, True)
    assert first_at(rows, 0.9, 300) == (300.0, False)
    assert first_at([row(0, 0.6)], 0.5, 300) == (0.0, True)


def test_what_is_forgotten_is_the_fall_one_stage_later():
    # Two lines, budget 100: stage 1 ends at 50, stage 0 at 100. From 1: .8 at its end, .6 at the end of the other.
    rows = [row(0, 0.0, **{"from 1": 0.0}), row(50, 0.1, **{"from 1": 0.8}), row(100, 0.5, **{"from 1": 0.6})]
    assert forgotten(rows, 2, 100) == pytest.approx(0.2)


def test_a_cost_that_doubles_with_every_line_has_slope_one():
    assert log_slope([4, 6, 8], [10, 40, 160]) == pytest.approx(1.0)
    assert log_slope([4, 8], [10, 20]) == pytest.approx(0.25)  # linear from 4 to 8


def test_the_budget_is_in_whole_attempts_from_the_prompt():
    scale = replace(recipe.SIZES["quick"], budget=3, num_problems=4, num_attempts=5)
    assert tokens_of(scale, 2) == 3 * 4 * 5 * 7  # two lines of three tokens, and an end
    longer = replace(scale, budget=(3, 9))
    assert tokens_of(longer, 2) == 3 * 4 * 5 * 7 and tokens_of(longer, 3) == 9 * 4 * 5 * 10
    assert recipe.wanted("long") == [(arm, n) for n in (4, 6, 8) for arm in ("start", "scratch", "mix")]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return str(tmp_path_factory.mktemp("r3_rl"))


@pytest.fixture(scope="module")
def run(out, one_thread):
    return recipe.r3_rl(size="quick", seeds=(3, 4), out=out)


@needs_trl
@pytest.mark.slow
def test_the_run_has_every_arm_within_its_budget_and_can_be_shown(run, tmp_path):
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    assert set(rows) == {f"{arm} ({length})" for arm, length in recipe.wanted("quick")}
    scale = recipe.SIZES["quick"]
    batch = scale.num_problems * scale.num_attempts
    for name, one in rows.items():
        length = int(name[-2])
        spent, budget = one["cost"]["generated_tokens"], tokens_of(scale, length)
        if one["kind"] != "null" and not name.startswith("imitation ("):
            # It stops at the first batch at which the budget is spent.
            assert budget <= spent <= budget + batch * (3 * length + 4)
    write_report(run, tmp_path / "report.html")


@needs_trl
@pytest.mark.slow
def test_the_trainer_reads_a_given_prefix_as_the_policy_did(run, out):
    from stepcredit.policy.hf import hf
    from stepcredit.train.grpo import Settings, grpo

    world = study_of(recipe.SIZES["quick"], 3, out).world
    rollout = starts.mix(world.grow(3, 4), 0.0)  # every attempt behind one or two given lines
    settings = Settings(num_updates=2, num_problems=4, num_mini_batches=2, max_new_tokens=13)
    done = grpo(hf(str(world.policy)), world.problems(3)["pool"], rollout=rollout, credit=bind("credit", "group_mean", normalize="none"),
                settings=settings)  # fmt: skip
    # Log-probabilities at sampling and the trainer's, of the same tokens behind the same prefix.
    assert done.curve[0]["sampling_gap"] < 1e-4 and done.curve[0]["attempts"] == 16
    assert done.curve[0]["trained"] == done.curve[0]["tokens"]  # what was written, and none of what was given


@needs_trl
@pytest.mark.slow
def test_imitation_and_then_the_prompt_is_an_arm_too(run, out):
    found = recipe.results("quick", (3,), [("imitation+scratch", 3), ("imitation", 3)], out=out)
    before, after = found["imitation (3)"][0], found["imitation+scratch (3)"][0]
    assert after.curve[0]["success"] == before.estimates["success"].value and after.cost["generated_tokens"] > 0


@needs_trl
@pytest.mark.slow
def test_a_second_run_reads_everything_back(run, out, monkeypatch):
    monkeypatch.setattr("stepcredit.recipes._r3_rl_study.train_arm", lambda *_, **__: pytest.fail("an arm was trained"))
    assert str(recipe.r3_rl(size="quick", seeds=(3, 4), out=out)) == str(run)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"size": "huge"}, "no size 'huge'"),
        ({"seeds": ()}, "give one or more"),
        ({"seeds": (1, 1)}, "each once"),
        ({"partial_reward": 0.7}, "partial reward 0.7"),
    ],
)
def test_wrong_knobs_are_named(knobs, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        recipe.r3_rl(**{"size": "quick", "out": str(tmp_path), **knobs})


@needs_trl
@pytest.mark.slow
def test_every_claim_names_numbers_that_the_recipe_measures(run, out, monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    monkeypatch.delitem(sys.modules, "r3_rl", raising=False)
    claims = importlib.import_module("r3_rl")
    assert len({claim.slug for claim in claims.CLAIMS}) == len(claims.CLAIMS)
    for claim in claims.CLAIMS:
        gap, cost = claims.measure(replace(claim, seeds=(3, 4)), size="quick", out=out)
        assert gap.n == 2 and math.isfinite(gap.value) and cost
