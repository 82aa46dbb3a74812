"""intercode: five teachings from final rewards, cross-fitted, measured on hidden turn rewards."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from stepcredit import Judgment
from stepcredit.core import registry
from stepcredit.judge._turns import Hashing, turns
from stepcredit.recipes._intercode import read_episodes
from stepcredit.recipes._intercode_report import shown_episodes
from stepcredit.recipes._splits import Splits, halves
from stepcredit.recipes._turn_arms import ARMS, labelled, taught
from stepcredit.recipes.intercode import intercode
from stepcredit.report import write_report

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEPCREDIT_DATA") or ROOT / ".." / "shared" / "data")
REAL = DATA / "intercode" / "sql.dev.jsonl.gz"


def write_episodes(path, num_tasks=16, num_runs=4, reward_inside=0.0):
    """Success answers "rows found" and ends the episode; after four failures it is given up. Same file every time."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for run in range(num_runs):
            for task in range(num_tasks):
                num = int(rng.integers(1, 4))
                right = (task + run) % 2 == 0
                num = num if right else 4
                results = [f"error near w{rng.integers(5)}" for _ in range(num)]
                rewards = [reward_inside] * (num - 1) + [1.0 if right else -1.0]
                if right:
                    results[-1] = f"rows found w{rng.integers(5)}"
                row = {
                    "env": "sql", "query": f"task {task}", "actions": [f"select w{rng.integers(5)}" for _ in range(num)],
                    "observations": results, "rewards": rewards,
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    path = write_episodes(tmp_path_factory.mktemp("episodes") / "sql.jsonl")
    return path, intercode(path=str(path), num_splits=2, num_resamples=50, penalties=(10.0,))


def test_the_run_is_complete_and_becomes_a_page(small_run, tmp_path):
    _, run = small_run
    rows = {row["name"]: row for row in run["results"]}
    arms = [*ARMS, "step index", "length", "last turn", "random"]
    assert [row["arm"] for row in run["table"]["rows"]] == arms
    assert {f"step AUROC: {arm}" for arm in arms} | {f"best of all runs: {arm}" for arm in arms} <= set(rows)
    assert all({"name", "value", "low", "high", "n", "unit", "control"} == set(row) for row in run["results"])
    assert rows["step AUROC: oracle"]["low"] > 0.95 and rows["step AUROC: retry"]["value"] > 0.9
    assert run["expectation"].startswith("From a prototype") and json.loads(json.dumps(run, allow_nan=False))
    write_report(run, tmp_path / "report.html")


def test_the_diagnostics_say_what_the_data_cannot_show(small_run):
    _, run = small_run
    said = {part["arm"]: " ".join(part["lines"] + part["warnings"]) for part in run["diagnostics"]}
    assert "Length tells the outcome" in said["data"] and "cannot show latent inference" in said["data"]
    assert "Answer: undecided" in said["choice of link"]
    assert "The last step takes the credit" in said["retry"] and "The last step takes the blame" in said["derivation"]
    assert any("labels 100.00% of the turns exactly" in line for line in run["summary"])


def test_the_trivial_label_is_the_oracles_where_success_ends_an_episode(small_run):
    _, run = small_run
    row = next(row for row in run["results"] if row["name"] == "step AUROC: oracle minus outcome_last")
    assert row["value"] == row["low"] == row["high"] == 0.0 and row["control"] == "outcome_last"


def test_same_seed_same_numbers(small_run):
    path, run = small_run
    again = intercode(path=str(path), num_splits=2, num_resamples=50, penalties=(10.0,))
    assert again["results"] == run["results"] and again["diagnostics"] == run["diagnostics"]


def test_only_the_oracle_is_handed_turn_rewards(tmp_path):
    plain, _ = read_episodes(write_episodes(tmp_path / "a.jsonl"), 0)
    hidden, _ = read_episodes(write_episodes(tmp_path / "b.jsonl", reward_inside=1.0), 0)
    assert sum(np.nansum(r.credits["truth"].values_N) for r in hidden) > sum(
        np.nansum(r.credits["truth"].values_N) for r in plain
    )
    for arm in ARMS:
        ours, theirs = labelled(plain, arm), labelled(hidden, arm)
        assert all(set(record.credits) <= {arm} and "truth" not in record.credits for record in ours)
        same = all(
            np.array_equal(a.tree.reward_N, b.tree.reward_N, equal_nan=True)
            and all(np.array_equal(a.credits[c].values_N, b.credits[c].values_N, equal_nan=True) for c in a.credits)
            for a, b in zip(ours, theirs, strict=True)
        )
        assert same == (arm != "oracle"), arm


def test_the_penalty_is_chosen_by_held_out_outcomes(tmp_path):
    """Success shows in one word, so a weak penalty tells held-out outcomes best."""
    records, _ = read_episodes(write_episodes(tmp_path / "a.jsonl"), 0)
    counted = turns([(r.tree.problem, r.tree.solution(r.tree.leaves[0])) for r in records], Hashing())
    inner_A = np.arange(len(records)) // 2 % 2 == 0
    _, chosen = taught("retry", labelled(records, "retry"), counted, inner_A, (30.0, 0.01))
    assert chosen == 30.0
    scorer, only = taught("retry", labelled(records, "retry"), counted, inner_A, (3.0,))
    assert only == 3.0 == scorer.manifest.trained["inverse_penalty"]


def test_a_final_reward_below_full_is_0(tmp_path):
    records, num_skipped = read_episodes(write_episodes(tmp_path / "a.jsonl"), 3)
    assert {r.tree.reward_N[r.tree.leaves[0]] for r in records} == {0.0, 1.0} and num_skipped == 0
    assert len({r.tree.problem.id for r in records}) == 3 and len(records) == 12


def test_a_missing_file_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPCREDIT_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"data/intercode/sql\.dev\.jsonl\.gz' \(empty path: \$STEPCREDIT_DATA, or"):
        intercode()
    with pytest.raises(ValueError, match=r"no InterCode SQL file at 'nowhere\.gz' \(the knob path\); give path="):
        intercode(path="nowhere.gz")


def test_it_is_registered_with_knobs_only():
    entry = registry.get("recipes", "intercode")
    assert entry.resources == {} and {"path", "seed", "num_splits"} <= set(entry.knobs)


def test_splits_are_task_disjoint_and_score_every_attempt_once():
    splits = Splits(7, 3, seed=0, num_resamples=5)
    task_A = np.array([0, 1, 2, 3, 4, 5, 6, 0, 1])
    seen = np.zeros((3, 9))
    for split, teach_A, test_A in halves(splits, task_A):
        assert not set(task_A[teach_A]) & set(task_A[test_A]) and len(teach_A) + len(test_A) == 9
        seen[split, test_A] += 1
    assert np.all(seen == 1) and len({row.tobytes() for row in splits.second_SC}) > 1


def test_auroc_is_the_mean_within_halves():
    """First half: 1 of 1 pairs in order. Second half: the pair is tied, 1/2. Mean 3/4; across halves is not compared."""
    splits = Splits(4, 1, seed=0, num_resamples=20)
    splits.second_SC[:] = [[False, False, True, True]]
    measured = splits.auroc(np.array([[0.9, 0.1, 5.0, 5.0]]), np.array([1.0, 0.0, 1.0, 0.0]), np.arange(4))
    assert measured.value == 0.75 and measured.n == 4


def test_intervals_cover_tasks_and_are_paired():
    rng = np.random.default_rng(0)
    splits = Splits(60, 5, seed=0, num_resamples=300)
    task_U, label_U = np.repeat(np.arange(60), 10), (rng.random(600) < 0.2).astype(float)
    score_SU = np.stack([label_U + rng.normal(0, 1, 600) for _ in range(5)])
    one = splits.auroc(score_SU, label_U, task_U)
    found, again = one.estimate(), splits.auroc(np.exp(score_SU), label_U, task_U)
    assert found.low < found.value < found.high and found.low < 0.76 < found.high  # P(N(1, 2) > 0) = .760
    assert again.value == one.value and np.abs(again.minus(one).replicate_R).max() < 1e-9
    constant = splits.auroc(np.zeros((5, 600)), label_U, task_U).estimate()
    assert constant.value == 0.5 and constant.high - constant.low < 1e-12
    worth = splits.mean(np.tile(np.arange(60) % 2, (5, 1)).astype(float), "accuracy").estimate()
    assert worth.value == 0.5 and 0.3 < worth.low < 0.45 and 0.55 < worth.high < 0.7 and worth.n == 60


def test_too_few_tasks_are_refused():
    with pytest.raises(ValueError, match="at least 4 tasks, 1 split and 1 resample; got 3, 5, 10"):
        Splits(3, 5, 0, 10)


def test_the_local_channel_is_ranked_not_the_state():
    assert Judgment(0.9, [0.5, 0.9], {"fix": [0.5, 0.8]}).local_scores_S.tolist() == [0.5, 0.8]
    assert Judgment(0.9, [0.5, 0.4], {"keep": [0.5, 0.8], "fix": [0.0, 0.0]}).local_scores_S.tolist() == [0.5, 0.8]
    assert Judgment(0.9, [0.5, 0.4], {"ok": [0.5, 0.4]}).local_scores_S.tolist() == [0.5, 0.4]
    assert Judgment(0.9, [0.5, 0.4]).local_scores_S.tolist() == [0.5, 0.4]


def test_an_episode_is_shown_turn_by_turn_under_the_local_rate(tmp_path):
    records, _ = read_episodes(write_episodes(tmp_path / "a.jsonl"), 0)
    failed = next(r for r in records if r.tree.sampled_N.sum() == 4)  # given up after four turns
    judged = Judgment(0.4, [0.1, 0.2, 0.3, 0.4], {"fix": [0.1, 0.12, 0.13, 0.14]})
    [shown] = shown_episodes([failed, failed], [judged, judged], 8)  # one a run
    assert [step["score"] for step in shown["steps"]] == [0.1, 0.12, 0.13, 0.14] and shown["score"] == 0.4
    action, result = failed.tree.steps[1].text, failed.tree.steps[2].text
    assert shown["steps"][0]["text"] == f"{action}\n{result}" and "full reward on no turn" in shown["note"]
    assert all(step["truth"] is None and step["kind"] == "tool_call" for step in shown["steps"])  # truth stays hidden
    assert shown_episodes([failed], [judged], 0) == []


@pytest.mark.skipif(not REAL.is_file(), reason="the recorded InterCode episodes are not here")
def test_recorded_episodes_run_through():
    run = intercode(path=str(REAL), num_tasks=12, num_splits=1, penalties=(10.0,), num_resamples=20)
    rows = {row["name"]: row["value"] for row in run["results"]}
    assert rows["step AUROC: oracle"] == rows["step AUROC: outcome_last"] > 0.85
    assert run["config"]["num_tasks"] == 12 and 2 <= len(run["attempts"]) <= 8
