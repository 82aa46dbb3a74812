"""sprm: the task whose attempts differ in length, the aggregations it separates, and the whole recipe at its smallest."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Estimate, Judgment, Outcome, Problem, Record, Step
from stepcredit.recipes import sprm as recipe
from stepcredit.recipes._sprm_measure import SprmResult, binned, load, measure, save, score_gap
from stepcredit.recipes._sprm_run import run_of
from stepcredit.recipes._sprm_study import SprmStudy
from stepcredit.recipes._sprm_task import with_repeats
from stepcredit.recipes._sprm_warm import warmed
from stepcredit.report._check import check_run

HAS_TRL = importlib.util.find_spec("trl") is not None
CLAIMS = Path(__file__).resolve().parents[2] / "claims"


@pytest.fixture(scope="module")
def task():
    return with_repeats(registry.bind("tasks", "chain")(), 0.5)


def steps(*texts):
    return [Step(text) for text in texts]


def test_the_warm_up_weighs_right_and_wrong_alike_and_hands_over_to_the_filter():
    calls = []

    def filter_(score, outcome, step):
        calls.append(len(outcome))
        return score, step

    score = np.full((3, 2), 0.5)
    outcome = np.array([1.0, 0.0, np.nan])
    step = np.array([[True, True], [True, False], [True, True]])
    relabel = warmed(filter_, 1)
    label, weight = relabel(score, outcome, step)
    # P = 1 + 2, N = 1 + 1: right steps weigh 2 / 5, the wrong one 3 / 5; no outcome, or no step: nothing
    np.testing.assert_array_equal(label, [[1, 1], [0, np.nan], [np.nan, np.nan]])
    np.testing.assert_allclose(weight, [[0.4, 0.4], [0.6, 0], [0, 0]])
    assert not calls and relabel(score, outcome, step)[0] is score and calls == [3]
    with pytest.raises(ValueError, match="num_updates is -1"):
        warmed(filter_, -1)


def judged(scores, right, problem="p"):
    """A star of attempts with these step scores and outcomes, their judge reading the geometric mean."""
    tree = star(Problem(problem, "?"), [[Step("x")] * len(one) for one in scores],
                [Outcome(float(r), correct=bool(r), answer=str(i)) for i, r in enumerate(right)])  # fmt: skip
    judgments = tuple(Judgment(float(np.exp(np.mean(np.log(one)))), one) for one in scores)
    return Record(tree, judgments=judgments)


def test_a_repeat_is_sound_iff_it_says_the_last_result(task):
    problem = Problem("p", "3 +4 *2", "4")  # modulo 5: 3+4=2, 2*2=4
    assert task.label_steps(problem, steps("=3", "3+4=2", "=2", "=2", "2*2=4", "=3")).tolist() == [1, 1, 1, 1, 1, 0]
    # a wrong line is still what a repeat repeats; behind no line there is nothing to repeat
    said = task.label_steps(problem, steps("3+4=1", "=1", "what", "=2", "2*2=4"))
    assert said[:3].tolist() == [0, 1, 0] and np.isnan(said[3])
    # the line after a wrong repeat is judged by the result before it, not by the repeat
    assert task.label_steps(problem, steps("3+4=2", "=3", "3*2=1")).tolist() == [1, 0, 0]


def test_repeats_change_no_outcome(task):
    problem = Problem("p", "3 +4 *2", "4")
    solutions = [steps("3+4=2", "2*2=4"), steps("3+4=2", "=2", "2*2=4", "=3"), steps("3+4=2", "=2"), steps("=3")]
    found = task.verify(problem, solutions)
    assert [o.status for o in found] == ["scored", "scored", "scored", "unparsed"]
    assert [o.reward for o in found[:3]] == [1.0, 1.0, 0.0]


def test_demonstrations_repeat_what_they_wrote_at_the_asked_share(task):
    problem = task.problems(1, rng(0, "p"))[0]
    found = [task.demonstrate(problem, rng(i, "d")) for i in range(200)]
    num_lines = len(problem.reference)
    assert len({len(one) for one in found}) > 2
    for one in found:
        labels = task.label_steps(problem, one)
        assert all(labels[i] == 1 for i, step in enumerate(one) if step.text.startswith("="))
    share = np.mean([len(one) - num_lines for one in found]) / num_lines
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(200 * num_lines)
    bare = with_repeats(registry.bind("tasks", "chain")(), 0.0)
    assert [len(bare.demonstrate(problem, rng(i, "d"))) for i in range(5)] == [num_lines] * 5
    with pytest.raises(ValueError, match=r"share of repeats is 1\.5"):
        with_repeats(bare, 1.5)


def test_the_product_prefers_short_attempts_and_the_means_do_not():
    # right: four steps at .9 (product .656); wrong: two at .85 (product .7225); right ends lower than it starts
    record = judged([[0.9, 0.9, 0.9, 0.9], [0.85, 0.85]], [1, 0])
    found = measure([record, judged([[0.9] * 4, [0.85] * 2], [1, 0], "q")], [2], rng=rng(0, "m"))
    at = {how: found[f"best_of_2 by {how}"].value for how in ("geometric_mean", "mean", "product", "last", "min")}
    assert at == {"geometric_mean": 1.0, "mean": 1.0, "product": 0.0, "last": 1.0, "min": 1.0}
    assert (found["best_of_2"].value, found["random_of_1"].value, found["pass_at_2"].value) == (1.0, 0.5, 1.0)
    # one step near zero: the arithmetic mean forgives it (.64 against .6), the geometric does not (.29 against .6)
    forgiven = [judged([[0.99, 0.02, 0.91], [0.6, 0.6, 0.6]], [0, 1], name) for name in "pq"]
    found = measure(forgiven, [2], rng=rng(0, "m"))
    assert (found["best_of_2 by mean"].value, found["best_of_2 by geometric_mean"].value) == (0.0, 1.0)


def test_the_gap_is_between_right_and_wrong_attempts():
    records = [judged([[0.9], [0.5], [0.7]], [1, 0, 1], "a"), judged([[0.4], [0.2]], [0, 0], "b")]
    found = score_gap(records, rng=rng(0, "g"))
    # right: (.9 + .7) / 2; wrong: (.5 + .4 + .2) / 3
    assert found["score_right"].value == pytest.approx(0.8)
    assert found["score_wrong"].value == pytest.approx(1.1 / 3)
    assert found["score_gap"].value == pytest.approx(0.8 - 1.1 / 3)
    assert found["score_gap"].n == 5
    assert score_gap([judged([[0.9], [0.5]], [1, 1])], rng=rng(0, "g")) == {}


def test_a_curve_is_averaged_over_windows_and_gaps_stay_gaps():
    rows = [{"update": 1.0, "a": 1.0}, {"update": 2.0, "a": 3.0}, {"update": 3.0}, {"update": 4.0, "a": float("nan")},
            {"update": 5.0, "a": 7.0}]  # fmt: skip
    last, means = binned(rows, "a", 2)
    assert last == [2.0, 4.0, 5.0] and means[0] == 2.0 and np.isnan(means[1]) and means[2] == 7.0


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    given = SprmResult({"random_of_1": Estimate(0.5, 0.4, 0.6, 9, "accuracy")}, lines=["x"], curve=[{"update": 1.0}])
    save(given, tmp_path / "deep" / "arm.json")
    assert load(tmp_path / "deep" / "arm.json") == given
    assert load(tmp_path / "other.json") is None


def result(accuracy, failed=""):
    names = ["random_of_1", "best_of_2", "best_of_8", "majority_of_8", "pass_at_8", "score_gap", "best_of_8 by product"]
    return SprmResult({} if failed else {name: Estimate(accuracy, accuracy, accuracy, 9, "accuracy") for name in names},
                      curve=[{"update": float(u), "score_right": 0.6, "score_wrong": 0.5, "accuracy": accuracy}
                             for u in range(1, 5)], failed=failed)  # fmt: skip


def test_the_policy_is_compared_with_reinforcement_alone_paired_by_seed():
    results = {"frozen_bce": [result(0.5), result(0.5)], "grpo_alone": [result(0.6), result(0.7)],
               "joint": [result(0.625), result(0.725)]}  # fmt: skip
    knobs = {"control": "grpo_alone", "declared": "joint", "expectation": "e", "config": {}}
    run = run_of(results, {}, recipe.forms(), [1, 2], {"low": 2, "medium": 8}, **knobs)
    check_run(run)
    assert "Policy accuracy, joint minus grpo_alone: +0.025 [+0.025, +0.025], 2 seeds paired." in run["summary"]
    assert (
        "frozen_bce: one attempt 0.500; low (best of 2) 0.500, medium (best of 8) 0.500; a perfect judge 0.500."
        in run["summary"]
    )
    assert run["curves"]["joint gap"]["series"][0]["y"] == pytest.approx([0.1] * 4)
    assert [line["name"] for line in run["curves"]["policy accuracy"]["series"]] == ["grpo_alone", "joint"]
    one = run_of(
        {name: of[:1] for name, of in results.items()}, {}, recipe.forms(), [1], {"low": 2, "medium": 8}, **knobs
    )
    assert "Policy accuracy, joint minus grpo_alone: +0.025, one seed." in one["summary"]
    # a collapsed seed takes the arm's numbers away and is told
    fallen = run_of({**results, "joint": [result(0.6), result(0.6, "the filter fell")]}, {}, recipe.forms(), [1, 2],
                    {"low": 2, "medium": 8}, **knobs)  # fmt: skip
    assert not any("Policy accuracy" in line for line in fallen["summary"])
    assert "1 of 2 seeds collapsed: the filter fell" in {row["note"] for row in fallen["table"]["rows"]}


def test_a_key_follows_every_setting(tmp_path):
    plan = recipe.SIZES["quick"]
    study = SprmStudy(plan, recipe._budget(plan), recipe.RATES, -2, [2, 8], 1, tmp_path)
    joint = recipe.forms()["joint"]
    assert replace(study, plan=replace(plan, every=99)).path(joint) == study.path(joint)
    others = (
        replace(study, layer=-1), replace(study, num_list=[2]), replace(study, seed=2),
        replace(study, plan=replace(plan, joint_warmup_updates=3)),
        replace(study, rates={**study.rates, "learning_rate": 1e-3}),
    )  # fmt: skip
    paths = [each.path(joint) for each in others] + [each.path() for each in (study, *others)]
    paths += [
        study.path(form) for form in (joint, replace(joint, weighting="released"), replace(joint, gradient_scale=0.1))
    ]
    assert len(set(paths)) == len(paths)


def test_the_declared_joint_arm_has_the_papers_scale_and_the_control_none():
    known = recipe.forms()
    assert (known["joint"].gradient_scale, known["grpo_alone"].gradient_scale) == (1e-4, 0.0)
    assert all((form.teaching is None) == (name in recipe.JOINT) for name, form in known.items())
    assert set(known) == {*recipe.JOINT, *recipe.FROZEN}


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"size": "huge"}, "no size 'huge'; there are: quick, small"),
        ({"arms": ["joint_7"]}, "no arm joint_7; there are: frozen_released"),
        ({"weighting": "none"}, "weighting is 'none'; allowed: paper, released"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(tmp_path, knobs, said):
    with pytest.raises(ValueError, match=said):
        recipe.sprm(**{"size": "quick", "out": str(tmp_path), **knobs})


def test_without_trl_a_joint_arm_names_the_extra_before_anything_is_sampled(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(RuntimeError, match=r"stepcredit\[rl\].*leave out joint"):
        recipe.arm_results("quick", [1], arms=["frozen_bce", "joint"], out=str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_nothing_heavy_is_imported_with_the_recipe():
    code = (
        "import sys, stepcredit.recipes.sprm; print(*{'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_every_claim_names_two_numbers_of_known_arms(monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    claims = importlib.import_module("sprm")
    assert {claim.slug for claim in claims.CLAIMS} == set(claims.PAIRS)
    assert all(len(set(claim.seeds)) >= 5 for claim in claims.CLAIMS)
    assert {arm for pair in claims.PAIRS.values() for arm, _ in pair} <= set(recipe.forms())
    # the difference of the pair, by seed: .7 - .6 and .5 - .6; a seed without a number leaves no verdict
    known = {"joint": [result(0.7), result(0.5)], "grpo_alone": [result(0.6), result(0.6)]}
    monkeypatch.setattr(recipe, "arm_results", lambda *given, **named: known)
    claim = replace(next(c for c in claims.CLAIMS if c.slug == "joint_keeps_policy"), seeds=(1, 2))
    assert claims.measure(claim)[0].value == pytest.approx(0.0)
    known["joint"][1] = result(0.5, "the filter fell")
    gap, _ = claims.measure(claim)
    assert claim.verdict(gap.low, gap.high) == "inconclusive"


@pytest.mark.slow
def test_the_smallest_run_has_every_part_and_reads_finished_arms_back(tmp_path, monkeypatch):
    out, arms = str(tmp_path / "run"), [*recipe.FROZEN, *(recipe.JOINT if HAS_TRL else ())]
    run = recipe.sprm(size="quick", seeds=[1], out=out, arms=arms)
    check_run(run)
    assert json.dumps(run, sort_keys=True)
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    assert set(rows) >= {*arms, "null: random"}
    assert {"best_of_2", "best_of_8", "majority_of_8", "pass_at_8", "random_of_1"} <= set(rows["frozen_bce"]["cells"])
    same = [name for name in arms if name.startswith("frozen") and not rows[name]["note"]]
    assert len({rows[name]["cells"]["random_of_1"]["value"] for name in same}) == 1  # one pool for all frozen heads
    if HAS_TRL:
        assert {line["name"] for line in run["curves"]["policy accuracy"]["series"]} == set(recipe.JOINT)
        assert any(line.startswith("Policy accuracy, joint minus grpo_alone") for line in run["summary"])

    def never(*given, **named):
        raise AssertionError("a finished arm was run again")

    monkeypatch.setattr(SprmStudy, "_frozen", never)
    monkeypatch.setattr(SprmStudy, "_joint", never)
    assert recipe.sprm(size="quick", seeds=[1], out=out, arms=arms)["table"] == run["table"]
