"""outcome_prm: the whole comparison at its smallest, its probes, and what is kept of an interrupted run."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from stepcredit.core.chain_world import compute, parse_line
from stepcredit.core.types import Judgment, Record
from stepcredit.recipes import outcome_prm as recipe
from stepcredit.recipes._probes import chain_probes
from stepcredit.recipes._study import Study


@pytest.fixture(scope="module")
def probes():
    return chain_probes(40)


def test_a_planted_error_leaves_the_probed_step_as_it_was_and_sound(probes):
    for (_, clean), (_, corrupted), at in probes.pairs:
        assert [step.text for step in clean[at:]] == [step.text for step in corrupted[at:]]
        assert clean[0].text != corrupted[0].text
        value, sign, operand, result = parse_line(corrupted[at].text)
        assert result == compute(value, sign, operand, 5) and parse_line(corrupted[at - 1].text)[1:3] == ("*", 0)
        # everything after the planted slip copies it and computes right, until the times-zero
        for before, after in pairwise(corrupted[:at]):
            value, sign, operand, result = parse_line(after.text)
            assert value == parse_line(before.text)[3] and result == compute(value, sign, operand, 5)
    assert len(probes.pairs) == 40 and len({pair[0][0].id for pair in probes.pairs}) == 40


def test_contamination_is_told_where_a_judge_follows_the_prefix(probes):
    def by_prefix(pairs):  # 1 as long as no line before was wrong, about 0.5 lower afterwards
        said = []
        for _, steps in pairs:
            lines = [parse_line(step.text) for step in steps]
            right = np.array([line[3] == compute(*line[:3], 5) for line in lines])
            keep = np.where(np.cumsum(~right) > 0, 0.5 + 0.01 * len(steps), 1.0)
            said.append(Judgment(float(keep.min()), keep, {"keep": keep}))
        return said

    assert any(line.startswith("WARNING") for line in probes.contamination(by_prefix))
    fair = probes.contamination(lambda pairs: [Judgment(1.0, np.ones(len(steps))) for _, steps in pairs])
    assert not any(line.startswith("WARNING") for line in fair)


def test_first_errors_are_told_apart_by_kind(probes):
    from stepcredit.core.registry import bind
    from stepcredit.core.rng import rng
    from stepcredit.core.tree import star
    from stepcredit.core.truth import with_truth
    from stepcredit.core.types import Step

    task = bind("tasks", "chain")()
    problem = replace(task.problems(1, rng(0, "p"))[0], prompt="2 +0 -1", answer="1")
    habit = probes.world.slips[2, "+", 0]
    other = next(r for r in range(5) if r not in (habit, 2))
    texts = [
        ["2+0=2", "2-1=1"],
        [f"2+0={habit}", f"{habit}-1=1"],
        [f"2+0={other}", "1-1=0"],
        ["2+1=3", "3-1=2"],
        ["what"],
    ]
    tree = star(problem, [[Step(t) for t in lines] for lines in texts], [None] * len(texts))
    record = with_truth(Record(tree), task)
    assert probes.kinds([record]) == [["no error", "habit", "rare slip", "not the problem's operation", "no line"]]


def test_local_scores_are_the_links_own_channel():
    keep, fix = np.array([0.9, 0.2]), np.array([0.1, 0.3])
    assert Judgment(0.1, [0.9, 0.1], {"keep": keep, "fix": fix}).local_scores_S.tolist() == [0.9, 0.2]
    assert Judgment(0.1, [0.9, 0.1], {"fix": fix}).local_scores_S.tolist() == [0.1, 0.3]
    assert Judgment(0.1, [0.9, 0.1]).local_scores_S.tolist() == [0.9, 0.1]


def test_a_key_follows_every_setting_but_not_the_list_of_arms(tmp_path):
    plan = recipe.SIZES["quick"]
    study = Study(plan, recipe._budget(plan), recipe.LAYOUT, recipe.CHANCE, recipe.ARMS, 1, tmp_path)
    assert replace(study, plan=replace(plan, arms=("oracle",))).folder == study.folder
    for other in (
        replace(study, chance=0.1),
        replace(study, plan=replace(plan, num_train=41)),
        replace(study, budget=replace(study.budget, learning_rate=1e-3)),
        replace(study, layout=replace(recipe.LAYOUT, show_problem=True)),
        replace(study, arms={**recipe.ARMS, "oracle": replace(recipe.ARMS["oracle"], kind="control")}),
    ):
        assert other.folder != study.folder


@pytest.mark.slow
def test_the_smallest_run_has_every_part_and_reads_finished_arms_back(tmp_path, monkeypatch):
    out = str(tmp_path / "run")
    run = recipe.outcome_prm(size="quick", seeds=[1, 2], out=out)
    assert {row["arm"] for row in run["table"]["rows"]} >= {
        "latent_chain",
        "outcome_broadcast",
        "oracle",
        "null: random",
    }
    assert json.dumps(run, sort_keys=True)
    told = {part["arm"]: " ".join(part["lines"]) for part in run["diagnostics"]}
    for sentence in ("Two seeds rank", "After a corrupted prefix", "the error is placed on the last step"):
        assert sentence in told["oracle"]
    assert len([line for line in run["summary"] if line.startswith("First errors in what best-of-4 picks")]) == 3

    def never(*args, **knobs):
        raise AssertionError("a finished arm was run again")

    monkeypatch.setattr("stepcredit.recipes._study.run_arm", never)
    assert recipe.outcome_prm(size="quick", seeds=[1, 2], out=out)["table"] == run["table"]
    with pytest.raises(ValueError, match="no arm nothing; there are: latent_chain"):
        recipe.arm_results("quick", [1], arms=["nothing"], out=out)
