"""Every command from end to end, on inputs of a few lines."""

import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from cli_options import TINY

from stepcredit.cli import COMMANDS, main
from stepcredit.core import registry
from stepcredit.data import read


def records(path):
    return list(read(path))


def test_sampling_gives_outcomes_and_truth_and_the_same_file_for_the_same_seed(sampled, tmp_path):
    first = records(sampled)
    assert len(first) == 12 and all(len(r.tree.leaves) == 4 for r in first)
    assert all(r.tree.outcomes[leaf].status == "scored" for r in first for leaf in r.tree.leaves)
    assert all(not np.isnan(r.credits["truth"].values_N[1:]).any() for r in first)
    again = tmp_path / "again.jsonl"
    assert main(["sample", "chain", str(again), "--num-problems", "12", "--num-attempts", "4", "--truth", "true"]) == 0
    assert again.read_bytes() == sampled.read_bytes()


def test_a_task_is_sampled_with_its_own_knobs_into_parquet(tmp_path):
    out = tmp_path / "a.parquet"
    arguments = ["sample", "blocksworld", str(out), "--num_problems", "2", "--num_attempts", "2", "--observe", "true"]
    assert main([*arguments, "--task.min_blocks", "3", "--task.shares", "[1.0]"]) == 0
    found = records(out)
    assert [r.tree.problem.meta["num_blocks"] for r in found] == [3, 3]
    assert all(r.tree.steps[1].kind == "tool_result" and "truth" not in r.credits for r in found)


def test_a_language_model_writes_attempts(tmp_path):
    from transformers import LlamaForCausalLM

    from stepcredit.train.tiny import build_tokenizer, tiny_config

    tokenizer = build_tokenizer(["3 +4 *0 -2\n3+4=2\n2*0=0\n"])
    LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=1, heads=2)).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    out = tmp_path / "a.jsonl"
    arguments = ["sample", "chain", str(out), "--num_problems", "2", "--num_attempts", "3", "--source", "policy"]
    assert main([*arguments, "--policy.model", str(tmp_path / "lm"), "--rollout.max_new_tokens", "4"]) == 0
    found = records(out)
    assert [len(r.tree.leaves) for r in found] == [3, 3] and found[0].tree.cost.generated_tokens > 0
    assert {r.tree.outcomes[leaf].status for r in found for leaf in r.tree.leaves} <= {
        "truncated",
        "unparsed",
        "scored",
    }


def test_verifying_anew_agrees_with_the_outcomes_and_counts_them(sampled, tmp_path, capsys):
    out = tmp_path / "v.jsonl"
    assert main(["verify", str(sampled), str(out), "--task", "chain"]) == 0
    assert "48 of the 48 outcomes recorded before agree" in capsys.readouterr().out
    for before, after in zip(records(sampled), records(out), strict=True):
        np.testing.assert_array_equal(before.tree.reward_N, after.tree.reward_N)


def test_a_verifier_decides_a_plain_file(write_lines, tmp_path, capsys):
    rows = [{"problem": "2+3?", "attempt": "add\n5", "correct": None, "answer": "5"},
            {"problem": "2+3?", "attempt": "add\n6", "correct": None, "answer": "5"}]  # fmt: skip
    out = tmp_path / "v.jsonl"
    assert main(["verify", str(write_lines(rows)), str(out), "--verifier", "numeric", "--verify.absolute", "0.5"]) == 0
    assert [r.tree.outcomes[-1].correct for r in records(out)] == [True, False]
    assert "right" in capsys.readouterr().out


def test_observing_keeps_credits_and_judgments_on_their_steps(tmp_path):
    first, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    arguments = ["sample", "blocksworld", str(first), "--num_problems", "2", "--num_attempts", "2"]
    assert main([*arguments, "--truth", "true"]) == 0
    assert main(["verify", str(first), str(out), "--task", "blocksworld", "--observe", "true"]) == 0
    for before, after in zip(records(first), records(out), strict=True):
        assert after.tree.num_nodes > before.tree.num_nodes
        kept = [r.credits["truth"].values_N[r.tree.sampled_N] for r in (before, after)]
        np.testing.assert_array_equal(*kept)


@pytest.mark.parametrize(
    ("method", "more", "kind"),
    [("group_mean", [], "advantage"), ("oracle", ["--source", "truth", "--credit.so_far", "false"], "label"),
     ("latent_chain", ["--judge", "SCORER", "--credit.read", "posterior"], "label"),
     ("self_supervised", ["--source", "judgments"], "label")],
)  # fmt: skip
def test_credit_is_added_under_the_methods_name(scored, scorer, tmp_path, method, more, kind):
    out = tmp_path / "c.jsonl"
    more = [str(scorer) if each == "SCORER" else each for each in more]
    assert main(["credit", str(scored), str(out), "--method", method, *more]) == 0
    found = records(out)
    assert {r.credits[method].kind for r in found} == {kind} and all("truth" in r.credits for r in found)
    assert all(len(r.judgments) == 4 for r in found)


def test_training_says_whether_credit_is_identified_and_leaves_only_the_scorer(sampled, tmp_path, capsys):
    assert main(["train", str(sampled), str(tmp_path / "new"), *TINY, "--recovery", "learned"]) == 0
    said = capsys.readouterr().out
    assert "48 attempts, 5 updates" in said and "learned recovery rate" in said and "takes the blame" in said
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    assert json.loads((tmp_path / "new" / "scorer.json").read_text())["kind"] == "head"


def test_labels_teach_first_and_the_pooling_after_them(sampled, tmp_path):
    credited, folder = tmp_path / "c.jsonl", tmp_path / "s"
    assert main(["credit", str(sampled), str(credited), "--method", "prefix_chain"]) == 0
    more = ["--credit", "prefix_chain", "--label_updates", "2", "--link", "free", "--dtype", "auto"]
    assert main(["train", str(credited), str(folder), *TINY, *more]) == 0
    manifest = json.loads((folder / "scorer.json").read_text())
    assert manifest["readout"]["link"] == "free" and manifest["trained"]["teaching"]["label_updates"] == 2


@pytest.mark.parametrize("filter", ["paper", "released"])
def test_a_policy_carries_its_own_judge(sampled, tmp_path, filter, capsys):
    from transformers import LlamaForCausalLM

    from stepcredit.train.tiny import build_tokenizer, tiny_config

    policy, folder, out = tmp_path / "lm", tmp_path / "s", tmp_path / "o.jsonl"
    texts = ["".join(step.text + "\n" for step in r.tree.steps) for r in records(sampled)]
    tokenizer = build_tokenizer(texts, kind="word")
    LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=2, heads=2)).save_pretrained(policy)
    tokenizer.save_pretrained(policy)
    more = [
        "--judge",
        "shared_head",
        "--backbone",
        str(policy),
        "--layer",
        "-1",
        "--gradient_scale",
        "0.5",
        "--dropout",
        "0",
    ]
    more += ["--self_supervised", filter, "--warmup_updates", "3"]
    assert main(["train", str(sampled), str(folder), *TINY, *more]) == 0
    manifest = json.loads((folder / "scorer.json").read_text())
    assert manifest["kind"] == "shared_head" and manifest["extra"] == {
        "layer": -1,
        "gradient_scale": 0.5,
        "dropout": 0.0,
    }
    assert manifest["layout"]["marker"] == "\n" and manifest["trained"]["teaching"]["self_supervised"] == filter
    assert main(["score", str(sampled), str(out), "--scorer", str(folder)]) == 0
    assert "48 scored" in capsys.readouterr().out


def test_credit_is_written_as_stepwise_rows(plain_rows, write_lines, tmp_path):
    out = tmp_path / "stepwise.jsonl"
    assert (
        main(["credit", str(write_lines(plain_rows)), str(out), "--method", "outcome_last", "--write-as", "stepwise"])
        == 0
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (
        len(rows) == 12
        and rows[0]["prompt"] == "0 + 0 + 1 = ?"
        and rows[0]["completions"] == ["0 + 0 = 0", "0 + 1 = 1"]
    )
    assert rows[0]["labels"] == [0.0, 1.0] and rows[1]["labels"] == [0.0, 0.0]
    assert next(read(out, labels="mine")).credits["mine"].kind == "label"


def test_scores_line_up_with_steps_whatever_the_chunk(sampled, scored, scorer, tmp_path):
    out = tmp_path / "s.parquet"
    assert main(["score", str(sampled), str(out), "--scorer", str(scorer), "--chunk", "5", "--token_budget", "64"]) == 0
    for one, other in zip(records(scored), records(out), strict=True):
        for leaf, a, b in zip(one.tree.leaves, one.judgments, other.judgments, strict=True):
            assert len(a.step_scores_S) == len(one.tree.path(leaf))
            np.testing.assert_allclose(a.step_scores_S, b.step_scores_S, atol=1e-5)


def test_a_linear_judge_goes_through_the_same_commands(sampled, tmp_path):
    assert main(["train", str(sampled), str(tmp_path / "linear"), "--judge", "linear"]) == 0
    out = tmp_path / "s.jsonl"
    assert main(["score", str(sampled), str(out), "--scorer", str(tmp_path / "linear")]) == 0
    assert all(j.status == "scored" for r in records(out) for j in r.judgments)


def test_evaluating_prints_the_nulls_and_writes_a_run_whose_page_can_be_written_again(scored, tmp_path, capsys):
    arguments = [
        "evaluate",
        str(scored),
        "--out",
        str(tmp_path / "run"),
        "--num_list",
        "[1,4]",
        "--num_resamples",
        "50",
    ]
    assert main([*arguments, "--split", "0.25"]) == 0
    said = capsys.readouterr().out
    assert "processbench_f1" in said and "constant_location" in said and "decoded from keep" in said
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    arms = {row["arm"]: row for row in run["table"]["rows"]}
    assert {"judge", "always_correct", "random", "majority vote"} <= arms.keys()
    best = arms["judge"]["cells"]["best_of_4"]
    assert best["low"] <= best["value"] <= best["high"] and best["n"] == 9  # 12 problems, a quarter set aside
    assert any(r["control"] == "null: random" for r in run["results"]) and 0 < len(run["attempts"]) <= 12
    page = (tmp_path / "run" / "report.html").read_bytes()
    (tmp_path / "run" / "report.html").unlink()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").read_bytes() == page


def test_a_threshold_is_fixed_or_chosen_and_the_output_says_which(scored, capsys):
    few = ["--num_list", "[1,2]", "--num_resamples", "20"]
    assert main(["evaluate", str(scored), *few, "--threshold", "0.3"]) == 0
    assert "threshold 0.3, fixed beforehand" in capsys.readouterr().out
    assert main(["evaluate", str(scored), *few, "--choose_on", "0.5"]) == 0
    assert "chosen on the step truth of 6 problems (step supervision)" in capsys.readouterr().out


def test_a_plain_file_goes_from_outcomes_to_evaluated_scores(plain_rows, write_lines, tmp_path, capsys):
    file, folder, out = write_lines(plain_rows), tmp_path / "scorer", tmp_path / "scored.jsonl"
    assert main(["train", str(file), str(folder), *TINY]) == 0
    assert main(["score", str(file), str(out), "--scorer", str(folder)]) == 0
    assert main(["evaluate", str(out), "--num_list", "[1,2]", "--num_resamples", "20"]) == 0
    said = capsys.readouterr().out
    assert "best_of_2" in said and "(no attempt with recorded step truth)" in said


def test_a_recipe_runs_with_its_knobs_and_leaves_a_run(tmp_path, monkeypatch, capsys):
    def toy(*, size: str = "demo", seeds: tuple[int, ...] = (0,), out: str = "runs/toy") -> dict:
        """A toy."""
        cells = {"accuracy": {"value": 0.5, "low": float("nan"), "high": 0.75, "n": 4}}
        rows = [{"arm": size, "kind": "label-free", "cells": cells}]
        return {
            "title": "toy",
            "seeds": list(seeds),
            "table": {"columns": ["accuracy"], "rows": rows},
            "summary": [out],
        }

    monkeypatch.setitem(registry._ENTRIES, ("recipes", "toy"), registry.Entry("recipes", "toy", toy, "ours", {}))
    assert main(["run", "toy", "--size", "small", "--seeds", "[1,2]", "--out", str(tmp_path / "r")]) == 0
    run = json.loads((tmp_path / "r" / "run.json").read_text())
    assert run["seeds"] == [1, 2] and run["summary"] == [str(tmp_path / "r")]
    assert run["table"]["rows"][0]["cells"]["accuracy"]["low"] is None  # JSON has no NaN
    assert (tmp_path / "r" / "report.html").exists() and "small" in capsys.readouterr().out


def test_every_command_prints_a_configuration_that_it_reads_back(scored, tmp_path, capsys):
    typed = ["credit", str(scored), str(tmp_path / "c.jsonl"), "--method", "oracle", "--source", "truth"]
    assert main([*typed, "--credit.so_far", "false", "--print_config"]) == 0
    printed = capsys.readouterr().out
    given = yaml.safe_load(printed)
    assert given["method"] == "oracle" and given["credit"] == {"so_far": False} and given["format"] == "auto"
    assert not (tmp_path / "c.jsonl").exists()
    (tmp_path / "c.yaml").write_text(printed)
    assert main(["credit", "--config", str(tmp_path / "c.yaml"), "--name", "mine"]) == 0
    assert all("mine" in r.credits for r in records(tmp_path / "c.jsonl"))
    capsys.readouterr()
    assert main(["credit", "--config", str(tmp_path / "c.yaml"), "--print_config"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("demo", "list", "report")])
def test_every_option_says_what_it_is(command, capsys):
    assert main([command, "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.split())
    assert f"stepcredit {command}" in help_text and "--print_config" in help_text


def test_methods_are_listed_by_family(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for family in registry.FAMILIES for name in registry.names(family))
    assert main(["list", "credit"]) == 0
    assert "blocksworld" not in capsys.readouterr().out


DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
PLANS = DATA / "planbench_r1" / "blocksworld_multimodel_zero_shot.dev.jsonl.gz"
MARKED = [DATA / "processbench" / "gsm8k.dev.jsonl.gz", DATA / "bigbench_mistake" / "word_sorting.dev.jsonl.gz"]


def first_rows(path, num, target):
    """The first rows of a compressed file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        target.write_text("".join(line for line, _ in zip(stream, range(num), strict=False)), encoding="utf-8")
    return target


@pytest.mark.skipif(not PLANS.exists(), reason=f"{PLANS} is not here")
def test_recorded_plans_pass_through_the_same_commands(scorer, tmp_path, capsys):
    rows, verified, out = first_rows(PLANS, 12, tmp_path / "p.jsonl"), tmp_path / "v.jsonl", tmp_path / "s.jsonl"
    arguments = ["verify", str(rows), str(verified), "--task", "blocksworld", "--observe", "true", "--truth", "true"]
    assert main(arguments) == 0
    numbers = re.search(r"(\d+) of the (\d+) outcomes recorded before agree", capsys.readouterr().out)
    assert numbers and numbers[1] == numbers[2]
    assert main(["score", str(verified), str(out), "--scorer", str(scorer)]) == 0
    assert main(["evaluate", str(out), "--num_list", "[1,4]", "--num_resamples", "20"]) == 0
    said = capsys.readouterr().out
    assert "best_of_4" in said and "processbench_f1" in said


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.parent.name)
def test_published_files_with_step_truth_are_scored_and_evaluated_as_any_other(path, scorer, tmp_path, capsys):
    if not path.exists():
        pytest.skip(f"{path} is not here")
    rows, out = first_rows(path, 30, tmp_path / "rows.jsonl"), tmp_path / "s.jsonl"
    assert main(["score", str(rows), str(out), "--scorer", str(scorer)]) == 0
    assert main(["evaluate", str(out), "--num_resamples", "20"]) == 0
    said = capsys.readouterr().out
    assert "first_error_accuracy" in said and "step_auroc" in said
