"""The Blocksworld recipe: its views and renamings by hand, and one small run from end to end."""

import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.types import Judgment, Outcome, Problem, Record, Step
from stepcredit.recipes import _plans
from stepcredit.recipes._over_seeds import best_of_over, process_over
from stepcredit.recipes.blocksworld_plans import FILE, blocksworld_plans
from stepcredit.report import write_report

DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data")) / FILE
TASK = registry.get("tasks", "blocksworld").function()
PROMPT = "init: clear b; clear c; hand empty; on b a; table a; table c\ngoal: on a b"


def plan(*actions, prompt=PROMPT, problem_id="p"):
    steps = [*(Step(action) for action in actions), Step("end", kind="answer")]
    problem = Problem(problem_id, prompt, meta={"model": "m"})
    outcome = TASK.verify(problem, [steps])[0]
    return _plans._record(TASK, problem, steps, outcome)


def texts(record):
    return [step.text for step in record.tree.solution(record.tree.leaves[0])]


def test_the_state_view_shows_a_word_a_block_before_and_after_each_action():
    (seen,) = _plans.viewed([plan("unstack b a", "put-down b")], TASK, "state")
    assert seen.tree.problem.prompt == "goal a-b"
    assert texts(seen) == [
        "a-table b-a-clear c-table-clear hand-empty",
        "unstack b a",
        "a-table-clear b-hand c-table-clear hand-b",
        "put-down b",
        "a-table-clear b-table-clear c-table-clear hand-empty",
        "end",
        "goal a-b",
    ]


def test_the_view_keeps_outcome_and_truth_on_the_same_steps():
    given = plan("pick-up b", "stack b c")
    for view in ("plain", "state"):
        (seen,) = _plans.viewed([given], TASK, view)
        tree = seen.tree
        sampled = [n for n in tree.path(tree.leaves[0]) if tree.steps[n].sampled]
        # b stands on a: pick-up cannot be done, what follows is unknown
        np.testing.assert_array_equal(seen.credits["truth"].values_N[sampled], [0.0, np.nan, np.nan])
        assert tree.outcomes[tree.leaves[0]].correct is False


def test_a_forbidden_action_shows_no_verdict_in_the_state_view():
    (seen,) = _plans.viewed([plan("pick-up b")], TASK, "state")
    (allowed,) = _plans.viewed([plan("unstack b a")], TASK, "state")
    assert texts(seen)[2] == texts(allowed)[2]  # the effect of both is b in the hand, and only one was allowed


def test_kinds_of_errors_name_the_first_need_that_fails():
    cases = {
        ("unstack b a", "put-down b", "pick-up a", "stack a b"): "valid",
        (): "empty",
        ("pick-up c", "put-down c"): "goal not reached",
        ("pick-up b",): "pick-up, not table",
        ("pick-up a",): "pick-up, not clear",
        ("pick-up c", "unstack b a"): "unstack, not hand empty",
        ("stack c b",): "stack, not holding",
        ("pick-up c", "stack c a"): "stack, not clear",
        ("fly b",): "no action",
    }
    for actions, kind in cases.items():
        assert _plans.error_kind(plan(*actions)) == kind


def test_renaming_keeps_the_verdict_and_never_makes_a_prompt_to_avoid():
    good = plan("unstack b a", "put-down b", "pick-up a", "stack a b")
    empty = plan()
    swapped = "init: clear a; clear c; hand empty; on a b; table b; table c\ngoal: on b a"
    made = _plans.renamed([good, empty], 30, TASK, avoid={swapped}, rng=rng(0))
    assert {r.tree.outcomes[r.tree.leaves[0]].correct for r in made} == {True}  # the empty plan is not scored
    assert all(np.nanmin(r.credits["truth"].values_N) == 1 for r in made)
    # six orders of three blocks, one of them to be avoided
    assert len({r.tree.problem.prompt for r in made}) == 5 and swapped not in _plans.prompts(made)


def test_synthetic_plans_avoid_recorded_prompts():
    first = _plans.synthetic(30, TASK, avoid=set(), rng=rng(0))
    again = _plans.synthetic(30, TASK, avoid=_plans.prompts(first), rng=rng(0))
    assert not _plans.prompts(first) & _plans.prompts(again)


def test_best_of_over_seeds_is_the_mean_over_seeds_of_the_exact_picks():
    def pool(scores):
        pairs = zip(scores, (1.0, 0.0), strict=True)
        return [
            Record(plan("pick-up c").tree, judgments=(Judgment(score, [score, score]),)) if not right else
            Record(plan("unstack b a", "put-down b", "pick-up a", "stack a b").tree, judgments=(Judgment(score, [score] * 5),))
            for score, right in pairs
        ]  # fmt: skip

    found = best_of_over([pool((0.9, 0.1)), pool((0.5, 0.5))], [2], rng=rng(0), num_resamples=10)
    # the first seed picks the right plan, the second ties: (1 + 1/2) / 2, against 1/2 at random
    assert found["best_of_2"].value == pytest.approx(0.75)
    assert found["best_of_2_minus_random"].value == pytest.approx(0.25)


def test_process_over_counts_each_attempt_once():
    judged = [Record((one := plan("pick-up c")).tree, one.credits, (Judgment(0.2, [0.9, 0.2]),))]
    found = process_over([judged, judged], rng=rng(0), num_resamples=10)
    # truth: "end" is wrong, and both seeds say so
    assert found["error_accuracy"].value == 1.0 and found["error_accuracy"].n == 1


def test_process_over_is_the_mean_over_seeds_and_pools_nothing():
    bad = plan("pick-up c")  # truth: pick-up sound, "end" wrong
    good = plan("unstack b a", "put-down b", "pick-up a", "stack a b", problem_id="q")

    def judged(sound, wrong):
        scores = (Judgment(0.5, [sound, wrong]), Judgment(0.5, [sound] * 5))
        return [Record(r.tree, r.credits, (j,)) for r, j in zip((bad, good), scores, strict=True)]

    # The first seed flags "end" and keeps the good plan (F1 1), the second flags every first step (0), the third nothing
    # (0): mean 1/3. Pooled accuracies 1/3 and 2/3 would make it .44. AUROC 1, 1 and 1/2; pooled scores would mix scales.
    found = process_over([judged(0.9, 0.4), judged(0.3, 0.1), judged(0.8, 0.8)], rng=rng(0), num_resamples=10)
    assert found["processbench_f1"].value == pytest.approx(1 / 3)
    assert found["step_auroc"].value == pytest.approx(2.5 / 3)


@pytest.mark.skipif(not DATA.is_file(), reason="the recorded plans are not here")
def test_recorded_verdicts_agree_with_the_simulator_and_empty_plans_are_unparsed():
    given = list(islice(_plans.recorded(DATA, TASK), 550))
    outcomes = [record.tree.outcomes[record.tree.leaves[0]] or Outcome(status="unparsed") for record in given]
    kinds = [_plans.error_kind(record) for record in given]
    assert all(
        (outcome.status == "unparsed") == (kind == "empty") for outcome, kind in zip(outcomes, kinds, strict=True)
    )
    assert all((outcome.correct is True) == (kind == "valid") for outcome, kind in zip(outcomes, kinds, strict=True))


@pytest.mark.skipif(not DATA.is_file(), reason="the recorded plans are not here")
@pytest.mark.slow
def test_a_quick_run_ends_in_a_report_and_a_second_call_reuses_its_fits(tmp_path):
    import gzip

    few = tmp_path / "few.jsonl"
    with gzip.open(DATA, "rt") as source:
        few.write_text("".join(islice(source, 6)))
    arms = ["latent_chain", "latent_chain + recorded"]
    run = blocksworld_plans(size="quick", seeds=(0,), path=str(few), out=tmp_path / "out", arms=arms)
    write_report(run, tmp_path / "report.html")
    json.dumps(run)
    kinds = Counter(row["kind"] for row in run["table"]["rows"])
    assert kinds["label-free"] == 2 and kinds["null"] >= 5
    again = blocksworld_plans(size="quick", seeds=(0,), path=str(few), out=tmp_path / "out", arms=arms)
    assert again["results"] == run["results"]


def test_unknown_arms_and_missing_files_are_named():
    with pytest.raises(ValueError, match="sprm"):
        blocksworld_plans(arms=["sprm"])
    with pytest.raises(ValueError, match=r"nowhere\.jsonl"):
        blocksworld_plans(path="nowhere.jsonl")
