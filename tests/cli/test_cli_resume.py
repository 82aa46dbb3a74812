"""A killed `score` goes on where it was: same bytes as an uninterrupted run, nothing judged twice, nothing stale used."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from stepcredit.cli import main
from stepcredit.commands import _shards
from stepcredit.data import read


@pytest.fixture(scope="session")
def linear(sampled, tmp_path_factory):
    """A scorer without torch, so that a process of its own starts soon."""
    folder = tmp_path_factory.mktemp("linear") / "scorer"
    assert main(["train", str(sampled), str(folder), "--judge", "linear"]) == 0
    return folder


def attempts(num):
    return [{"problem": f"{n // 4} + 1", "attempt": f"take {n}\nadd 1\nget {n + 1}", "correct": n % 3 == 0}
            for n in range(num)]  # fmt: skip


def score(source, out, scorer, *more):
    return ["score", str(source), str(out), "--scorer", str(scorer), *more]


def shards(out):
    return list(out.with_name(out.name + ".partial-score").glob("shard-*.jsonl"))


def killed_after(num, command, out):
    """Run the command in a process of its own and kill it, without mercy, once there are this many shards."""
    process = subprocess.Popen([sys.executable, "-m", "stepcredit.cli", *command], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 600  # a busy machine takes its time to start a process
    while len(shards(out)) < num and process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert num <= len(shards(out))


def interrupted(monkeypatch, command, after=None):
    """Run the command here, interrupted when `after` shards are made, or before the output is put together."""
    with monkeypatch.context() as patch:
        shard_of, made = _shards.shard_of, []

        def stop(*given):
            if len(made) == after or after is None:
                raise KeyboardInterrupt
            made.append(shard_of(*given))
            return made[-1]

        patch.setattr(_shards, "assemble" if after is None else "shard_of", stop)
        assert main(command) == 130


def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(linear, write_lines, tmp_path, capsys):
    source, whole, out = write_lines(attempts(150)), tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert main(score(source, whole, linear, "--chunk", "1")) == 0
    assert "judged before" not in capsys.readouterr().out
    command = score(source, out, linear, "--chunk", "1")
    for num in (1, 30):
        killed_after(num, command, out)
        assert not out.exists()
    before = len(shards(out))
    assert before < 150
    assert main(command) == 0
    assert f", {before} attempts judged before" in capsys.readouterr().out
    assert out.read_bytes() == whole.read_bytes() and len(out.read_bytes().splitlines()) == 150
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl", "whole.jsonl"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
@pytest.mark.parametrize("after", [2, None])
def test_an_interrupted_run_goes_on_in_every_format(linear, write_lines, tmp_path, monkeypatch, capsys, name, after):
    source, whole, out = write_lines(attempts(20)), tmp_path / f"whole-{name}", tmp_path / name
    assert main(score(source, whole, linear, "--chunk", "4")) == 0
    interrupted(monkeypatch, score(source, out, linear, "--chunk", "4"), after)
    assert not out.exists() and len(shards(out)) == (after or 5)
    capsys.readouterr()
    assert main(score(source, out, linear, "--chunk", "4")) == 0
    assert f", {4 * (after or 5)} attempts judged before" in capsys.readouterr().out
    assert out.read_bytes() == whole.read_bytes()
    assert len(list(read(out))) == 20 and not shards(out)


def test_a_network_judges_the_same_when_it_goes_on(sampled, scorer, scored, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    interrupted(monkeypatch, score(sampled, out, scorer, "--chunk", "8"), after=3)
    assert main(score(sampled, out, scorer, "--chunk", "8")) == 0
    assert main(score(sampled, tmp_path / "whole.jsonl", scorer, "--chunk", "8")) == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    judged = [judgment for record in read(out) for judgment in record.judgments]
    assert all(np.isnan(j.cost.seconds) for j in judged)  # a clock is not part of a judgment
    assert sum(j.cost.judge_calls for j in judged) == 48 and sum(j.cost.forwarded_tokens for j in judged) > 0
    for one, other in zip(judged, (j for record in read(scored) for j in record.judgments), strict=True):
        np.testing.assert_allclose(one.step_scores_S, other.step_scores_S, atol=1e-5)


def test_another_scorer_or_option_judges_anew(sampled, linear, scorer, tmp_path, monkeypatch, capsys):
    other, out = tmp_path / "other", tmp_path / "out.jsonl"
    shutil.copytree(scorer, other)
    manifest = json.loads((other / "scorer.json").read_text())
    (other / "scorer.json").write_text(json.dumps({**manifest, "trained": {"seed": 1}}))
    interrupted(monkeypatch, score(sampled, out, scorer))
    for more in ([linear], [other], [scorer, "--token_budget", "512"]):
        interrupted(monkeypatch, score(sampled, out, *more))
    capsys.readouterr()
    assert len(shards(out)) == 4  # none shared
    assert main(score(sampled, out, other)) == 0
    assert ", 48 attempts judged before" in capsys.readouterr().out and not shards(out)


def test_only_what_has_changed_is_judged_anew(linear, write_lines, tmp_path, monkeypatch, capsys):
    rows, out = attempts(12), tmp_path / "out.jsonl"
    interrupted(monkeypatch, score(write_lines(rows), out, linear, "--chunk", "4"))
    rows[5]["attempt"] = "something else"
    capsys.readouterr()
    assert main(score(write_lines([*rows, *attempts(2)]), out, linear, "--chunk", "4")) == 0
    assert "14 attempts (14 scored)" in (said := capsys.readouterr().out) and ", 8 attempts judged before" in said
    assert list(read(out))[5].tree.steps[1].text == "something else"


def test_equal_rows_stay_as_many_as_they_are(linear, write_lines, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(score(write_lines(attempts(1) * 5), out, linear, "--chunk", "1")) == 0
    assert len(list(read(out))) == 5
    assert main(score(out, out, linear, "--chunk", "1")) == 0  # in place, old judgments replaced
    assert len(list(read(out))) == 5 and all(len(record.judgments) == 1 for record in read(out))


def test_a_shard_that_lost_its_end_is_judged_anew(linear, write_lines, tmp_path, monkeypatch, capsys):
    source, out = write_lines(attempts(8)), tmp_path / "out.jsonl"
    interrupted(monkeypatch, score(source, out, linear, "--chunk", "4"))
    lost = shards(out)[0]
    lost.write_bytes(b"".join(lost.read_bytes().splitlines(keepends=True)[:3]))
    capsys.readouterr()
    assert main(score(source, out, linear, "--chunk", "4")) == 0
    assert ", 4 attempts judged before" in capsys.readouterr().out and len(list(read(out))) == 8


def test_a_mistake_late_in_the_file_does_not_cost_what_is_judged(linear, write_lines, tmp_path, capsys):
    rows, out = attempts(8), tmp_path / "out.jsonl"
    assert main(score(write_lines([*rows, {"problem": "p"}]), out, linear, "--chunk", "4")) == 2
    said = capsys.readouterr().err
    assert "line 9: field 'attempt' is missing" in said and said.count("\n") == 1
    assert f"2 shards judged so far are kept in {out}.partial-score for the next run" in said and not out.exists()
    assert main(score(write_lines(rows), out, linear, "--chunk", "4")) == 0
    assert ", 8 attempts judged before" in capsys.readouterr().out


def peak_of(command):
    tracemalloc.start()
    try:
        assert main(command) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("command", ["score", "credit"])
def test_memory_does_not_grow_with_the_file(linear, write_lines, tmp_path, command):
    def peak(num):
        source, out = write_lines(attempts(num), f"{num}.jsonl"), tmp_path / f"{num}.out.jsonl"
        if command == "score":
            return peak_of(score(source, out, linear, "--chunk", "32"))
        return peak_of(["credit", str(source), str(out), "--method", "outcome_last"])

    assert main(score(write_lines(attempts(1)), tmp_path / "o.jsonl", linear)) == 0  # imports
    small, large = peak(150), peak(600)
    assert large < small + 450 * 500, (small, large)  # a record takes 5,000 and more; what is kept is its problem's key
