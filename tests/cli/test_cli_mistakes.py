"""Wrong input: one line that says what to change, exit code 2, and nothing left behind that looks complete."""

import gzip
import json
import shutil
import subprocess
import sys
import time

import pytest
from cli_options import TINY

from stepcredit.cli import main

GOOD = [{"problem": f"{n} + 1?", "attempt": f"{n} + 1\n{n + 1}", "correct": n % 2 == 0} for n in range(4)]


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


WRONG = {
    "missing field": (lines(*GOOD, {"problem": "p", "correct": True}), "line 5: field 'attempt' is missing"),
    "wrong type": (lines(*GOOD, {**GOOD[0], "correct": "yes"}), "line 5: field 'correct': got 'yes'"),
    "empty attempt": (lines(*GOOD, {**GOOD[0], "attempt": "  "}), "line 5: field 'attempt'"),
    "no step found": (lines(*GOOD), "no step found"),
    "marker inside a step": (lines(*GOOD, {**GOOD[0], "attempt": "one<step>two"}), "choose another marker"),
    "all right": (lines(*({**row, "correct": True} for row in GOOD)), "all 4 scored attempts are right"),
    "all wrong": (lines(*({**row, "correct": False} for row in GOOD)), "all 4 scored attempts are wrong"),
    "no outcome": (lines(*({**row, "correct": None} for row in GOOD)), "has a scored outcome; verify them first"),
    "not a number": (lines(*GOOD) + b'{"problem": "p", "attempt": "a", "correct": NaN}\n', "line 5: field 'correct': got NaN"),
    "not UTF-8": (lines(*GOOD) + b'{"problem": "caf\xe9", "attempt": "a", "correct": true}\n', "line 5: byte 16 is not UTF-8"),
    "truncated gzip": (gzip.compress(lines(*GOOD) * 200)[:-30], "not a complete gzip file"),
    "one array over several lines": (b'[\n{"problem": "p", "attempt": "a", "correct": true}\n]', "allowed: one JSON object a line"),
    "not JSON": (lines(*GOOD) + b'{"problem": "p", "att', "line 5: not valid JSON"),
    "empty file": (b"", "no readable row"),
}  # fmt: skip


def one_line(capsys):
    """What stands on stderr: one line that starts as every mistake does."""
    said = capsys.readouterr().err
    assert said.startswith("stepcredit: error: ") and said.count("\n") == 1 and "Traceback" not in said
    return said


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_file_is_one_line_and_no_scorer(mistake, tmp_path, capsys):
    content, expected = WRONG[mistake]
    path = tmp_path / ("rows.jsonl.gz" if "gzip" in mistake else "rows.jsonl")
    path.write_bytes(content)
    more = ["--segment", "numbered"] if mistake == "no step found" else []
    assert main(["train", str(path), str(tmp_path / "scorer"), *TINY, *more]) == 2
    assert expected in one_line(capsys)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "mistake", ["missing field", "wrong type", "empty attempt", "not a number", "not UTF-8", "truncated gzip"]
)
def test_a_wrong_file_is_one_line_and_no_scored_file(mistake, scorer, tmp_path, capsys):
    content, expected = WRONG[mistake]
    path = tmp_path / ("rows.jsonl.gz" if "gzip" in mistake else "rows.jsonl")
    path.write_bytes(content)
    assert main(["score", str(path), str(tmp_path / "out.jsonl"), "--scorer", str(scorer)]) == 2
    assert expected in one_line(capsys)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_marker_that_the_tokenizer_merges_is_named(tmp_path, write_lines, capsys):
    # As a plain word in the text around it the tokenizer reads " 1" as one token: the marker "1" is not found alone.
    path = write_lines(GOOD)
    assert main(["train", str(path), str(tmp_path / "scorer"), *TINY, "--marker", "1"]) == 2
    assert "marker '1'" in one_line(capsys)
    assert not (tmp_path / "scorer").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["score", "IN", "OUT", "--scorer", "nowhere"], "there is no scorer folder 'nowhere'"),
        (["score", "IN", "OUT", "--scorer", "."], "holds no scorer.json"),
        (["score", "IN", "OUT.txt", "--scorer", "."], "the name does not say what the file holds"),
        (["score", "IN", "no/such/o.jsonl", "--scorer", "."], "the folder no/such does not exist"),
        (["score", "IN", "OUT", "--scorer", ".", "--chunk", "0"], "chunk is 0; allowed: 1 or more"),
        (["train", "IN", "OUT", *TINY, "--choose_on", "IN"], "a chain judge is decoded without a threshold"),
        (["evaluate", "IN", "--scorer", "nowhere"], "no scorer folder at 'nowhere'"),
        (["train", "IN", "OUT", "--backbone", "./nowhere"], "there is no model folder './nowhere'"),
        (["train", "IN", "OUT", "--pooling", "best"], "no pooling method 'best'; there are: broadcast"),
        (["train", "IN", "OUT", "--credit", "mine", *TINY], "no credit 'mine'"),
        (["train", "IN", "OUT", "--recovery", "often"], "--recovery is often; allowed: a finite number, learned ("),
        (["train", "IN", "OUT", *TINY, "--lr", "nan"], "--lr is nan; allowed: a finite number ("),
        (["train", "IN", "OUT", *TINY, "--lr", ".inf"], "--lr is inf; allowed: a finite number"),
        (["train", "IN", "OUT", *TINY, "--fp", "NaN"], "--fp is NaN; allowed: a finite number ("),
        (["train", "IN", "OUT", *TINY, "--updates", "0"], "updates are 0, batch_size 8; allowed: 1 or more"),
        (["train", "IN", "OUT", *TINY, "--updates", "1.5"], "--updates is 1.5; allowed: a whole number ("),
        (["train", "IN", "OUT", *TINY, "--lr", "0"], "lr is 0.0; allowed: above 0"),
        (["train", "IN", "OUT", *TINY, "--judge", "shared_head"], "name the policy with --backbone"),
        (["train", "IN", "OUT", *TINY, "--label_updates", "3"], "without a credit whose labels would teach them"),
        (
            ["train", "IN", "OUT", *TINY, "--self_supervised", "paper", "--warmup_updates", "5"],
            "warmup_updates is 5 of 5 updates; allowed: from 0 to 4, or the self-supervised filter never starts",
        ),
        (["train", "IN", "IN", *TINY], "is a file; a scorer needs a folder"),
        (["train", "IN", "no/such/OUT", *TINY], "does not exist"),
        (["train", "IN", "OUT", *TINY, "--max_tokens", "4"], "tokens, the limit is 4"),
        (["sample", "chains", "OUT"], "no tasks method 'chains'; there are: arithmetic"),
        (["sample", "chain", "OUT", "--task.modulo", "5"], "--task.modulo"),
        (["sample", "blocksworld", "OUT", "--task.shares", "[.inf, 1.0]"], "--task.shares is "),
        (["sample", "chain", "OUT", "--task.min_ops", "9"], "expected 1 <= min_ops <= max_ops"),
        (["sample", "chain", "OUT.txt", "--num_problems", "1"], "the name does not say what the file holds"),
        (
            ["sample", "chain", "OUT", "--source", "policy", "--policy.model", "./nowhere"],
            "no model folder './nowhere'",
        ),
        (["sample", "chain", "OUT", "--observe", "true"], "has no environment to observe"),
        (["verify", "IN", "OUT"], "give either --verifier"),
        (["verify", "IN", "OUT", "--verifier", "exact"], "answer"),
        (["verify", "IN", "OUT", "--verifier", "exact", "--truth", "true"], "need a --task"),
        (["credit", "IN", "OUT", "--method", "oracle"], "has no 'truth'; it has: none"),
        (["train", "IN", "OUT", "--credit", "truth"], "recorded truth is only measured against"),
        (["credit", "IN", "OUT", "--method", "latent_chain"], "needs a judge: give --judge"),
        (["credit", "IN", "OUT", "--method", "group_mean", "--write_as", "stepwise"], "a credit of kind advantage"),
        (["credit", "IN", "OUT", "--method", "magic"], "no credit method 'magic'"),
        (["evaluate", "IN", "--out", "OUT"], "no record has judgments: score the attempts first"),
        (
            ["evaluate", "IN", "--threshold", "0.5", "--choose_on", "0.5"],
            "give one of --threshold, --choose_on and --scorer",
        ),
        (["evaluate", "IN", "--threshold", "inf"], "--threshold is inf; allowed: a finite number"),
        (["evaluate", "IN", "--choose_on", "1.5"], "between 0 and 1"),
        (["evaluate", "IN", "--choose_on", "0.5", "--split", "0.2"], "give one of them"),
        (["evaluate", "nowhere.jsonl"], "no such file"),
        (["report", "nowhere"], "no such file"),
        (["run", "nothing"], "no recipes method 'nothing'"),
        (["list", "nothing"], "unknown family 'nothing'"),
        (["score", "IN"], "the following arguments are required"),
        (["score", "IN", "OUT", "--scorer", ".", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["nothing"], "no command 'nothing'; there are: demo, list"),
        ([], "no command given"),
    ],
)
def test_a_wrong_argument_is_one_line_and_no_output(arguments, expected, write_lines, tmp_path, monkeypatch, capsys):
    path = write_lines(GOOD)
    monkeypatch.chdir(tmp_path)
    named = {"IN": "rows.jsonl", "OUT": "out.jsonl", "OUT.txt": "out.txt", "no/such/OUT": "no/such/out"}
    assert main([named.get(each, each) for each in arguments]) == 2
    assert expected in one_line(capsys)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_is_no_scorer_is_not_replaced(write_lines, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main(["train", str(write_lines(GOOD)), str(tmp_path / "mine"), *TINY]) == 2
    assert "something else in it" in one_line(capsys)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_damaged_weights_are_said_to_be_the_scorers(scorer, write_lines, tmp_path, capsys):
    shutil.copytree(scorer, tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert main(["score", str(write_lines(GOOD)), str(tmp_path / "o.jsonl"), "--scorer", str(tmp_path / "copy")]) == 2
    assert "cannot be read" in one_line(capsys) and not (tmp_path / "o.jsonl").exists()


def test_a_failure_leaves_the_earlier_output_as_it_was(scorer, write_lines, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    out.write_text("earlier\n")
    path = write_lines([*GOOD, {"problem": "p"}])
    assert main(["score", str(path), str(out), "--scorer", str(scorer), "--chunk", "1"]) == 2
    assert "4 shards judged so far are kept in " in one_line(capsys)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert out.read_text() == "earlier\n" and left == ["out.jsonl", "out.jsonl.partial-score", "rows.jsonl"]


def test_bad_rows_can_be_left_out_counted_and_listed(scorer, write_lines, tmp_path, capsys):
    path = write_lines([GOOD[0], {"problem": "p"}, GOOD[1], {**GOOD[2], "attempt": 5}])
    assert main(["score", str(path), str(tmp_path / "o.jsonl"), "--scorer", str(scorer), "--on-error", "skip"]) == 0
    said = capsys.readouterr()
    assert "2 bad rows left out" in said.err and "line 2:" in said.err and "line 4:" in said.err
    assert "2 attempts" in said.out


def test_a_row_without_a_trajectory_is_named_and_can_be_left_out(scorer, write_lines, tmp_path, capsys):
    turns = {"env": "sql", "actions": ["show tables", "select 1"], "observations": ["a, b", "1"], "thoughts": None}
    empty = dict.fromkeys(("query", "actions", "rewards", "thoughts")) | {"env": "sql", "observations": []}
    rows = [{**turns, "query": f"task {n}", "rewards": [0.0, float(right)]} for n in range(3) for right in (0, 1)]
    path, out = write_lines([*rows, empty]), tmp_path / "o.jsonl"
    arguments = ["score", str(path), str(out), "--scorer", str(scorer)]
    assert main(arguments) == 2
    assert "line 7: the row holds no trajectory: actions and rewards are null or missing" in one_line(capsys)
    assert main([*arguments, "--on_error", "skip"]) == 0
    assert "1 bad rows left out" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--on_error", "skip", "--num_list", "[1,2]", "--num_resamples", "20"]) == 0
    assert "step_auroc" in capsys.readouterr().out


def test_an_answer_that_stands_elsewhere_is_hinted_at(write_lines, tmp_path, capsys):
    path = write_lines([{**row, "attempt": f"so the answer is {n + 1}", "answer": n + 1} for n, row in enumerate(GOOD)])
    arguments = ["verify", str(path), str(tmp_path / "v.jsonl"), "--verifier", "numeric"]
    assert main(arguments) == 0
    assert "hint: no attempt is right; --verify.extract says where" in capsys.readouterr().err
    assert main([*arguments, "--verify.extract", "after_answer_is"]) == 0
    assert capsys.readouterr().err == ""


def test_ids_that_number_the_rows_are_hinted_at(write_lines, tmp_path, capsys):
    numbered = [{**row, "id": n, "correct": bool(n % 2)} for n, row in enumerate([GOOD[0], GOOD[0], GOOD[1], GOOD[1]])]
    assert main(["train", str(write_lines(numbered)), str(tmp_path / "s"), *TINY]) == 0
    said = capsys.readouterr().err
    assert said.startswith("stepcredit: hint: 4 problem ids stand for 2 problem texts") and said.count("\n") == 1
    out = tmp_path / "o.jsonl"
    assert main(["score", str(tmp_path / "rows.jsonl"), str(out), "--scorer", str(tmp_path / "s")]) == 0
    assert main(["evaluate", str(out), "--num_list", "[1]", "--num_resamples", "20"]) == 0
    assert capsys.readouterr().err == said
    grouped = [{key: value for key, value in row.items() if key != "id"} for row in numbered]
    assert main(["train", str(write_lines(grouped)), str(tmp_path / "s"), *TINY]) == 0
    assert capsys.readouterr().err == ""


def test_a_file_of_bad_rows_alone_gives_no_output(scorer, write_lines, tmp_path, capsys):
    path = write_lines([{"problem": "p"}])
    arguments = ["score", str(path), str(tmp_path / "o.jsonl"), "--scorer", str(scorer), "--on_error", "skip"]
    assert main([*arguments, "--format", "plain"]) == 2
    assert "no attempt in it" in capsys.readouterr().err and not (tmp_path / "o.jsonl").exists()


def test_a_collapsed_filter_is_one_line_and_no_scorer(write_lines, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stepcredit.train._watch.WINDOW", 4)
    # From zero every logit is 0, which agrees with "wrong" under the paper's filter: no step of a right attempt is kept.
    arguments = ["train", str(write_lines(GOOD * 8)), str(tmp_path / "s"), *TINY, "--lr", "1e-9"]
    assert main([*arguments, "--self_supervised", "paper", "--batch_size", "32"]) == 2
    assert "the filter keeps 0.0% of" in one_line(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_traceback_is_given_when_asked_for():
    with pytest.raises(ValueError, match="no such file"):
        main(["evaluate", "nowhere.jsonl", "--debug"])


def test_a_process_ends_with_the_exit_code_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "stepcredit.cli", "evaluate", str(tmp_path / "nowhere.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == ""


@pytest.mark.parametrize(("arguments", "seconds"), [(["--help"], 0.5), (["list"], 1.0)])
def test_help_and_list_start_at_once_and_import_nothing_heavy(arguments, seconds):
    heavy = {"torch", "transformers", "scipy", "sklearn", "pyarrow", "matplotlib", "accelerate", "tokenizers", "jinja2"}
    code = f"import sys; from stepcredit.cli import main; main({arguments!r}); print(*sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 6 * seconds  # an idle machine keeps to `seconds`; tests share theirs
    assert done.stderr.strip() == "" and done.stdout
