"""The benchmarks' machinery on tiny sizes: what is timed is the same work, and what is written is in the one format."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The folder is no package: `python benchmarks/run.py` finds its neighbours, and so do the tests."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def tiny(**changes):
    from _pool import Sizes

    return Sizes(**{"problems": 2, "attempts": 4, "mean_steps": 4, "hidden": 32, "layers": 1, "heads": 2, **changes})


def test_the_pool_is_as_its_docstring_says():
    from _pool import MARKER, Sizes, encoded, pool

    attempts = pool(Sizes(problems=32))
    lengths = np.array([sum(map(len, attempt)) for attempt in attempts])
    assert 0.38 < lengths.std() / lengths.mean() < 0.46
    assert 0.17 < np.mean([len(prompt) for prompt, *_ in attempts]) / lengths.mean() < 0.26
    assert 18 < np.mean([len(attempt) - 1 for attempt in attempts]) < 22
    assert all(2 <= len(attempt) - 1 <= 64 for attempt in attempts)
    seen, begun, own = set(), 0, 0
    for prompt, *steps in attempts:
        for place in range(len(steps)):
            path = tuple(tuple(part) for part in [prompt, *steps[: place + 1]])
            begun += len(steps[place]) * (path in seen)
            own += len(steps[place])
            seen.add(path)
    assert 0.05 < begun / own < 0.15
    one = encoded(attempts)[3]
    assert np.array_equal(np.flatnonzero(one.token_ids_T == MARKER), one.read_S)  # a marker ends every step, no other
    assert pool(tiny()) == pool(tiny()) != pool(tiny(), seed=1)


def test_all_arms_give_the_same_scores_and_the_counts_are_of_what_they_forward():
    import b1_scoring
    from _pool import encoded, pool, random_scorer

    scorer, attempts = random_scorer(tiny()), encoded(pool(tiny()))
    seen = []
    handle = scorer.model.model.embed_tokens.register_forward_hook(
        lambda module, given, made: seen.append(given[0].numel())
    )
    gave, forwarded = {}, {}
    assert scorer.continues
    for name, arm in b1_scoring.arms(scorer, attempts).items():
        seen.clear()
        gave[name] = np.concatenate(arm())
        forwarded[name] = sum(seen)
    handle.remove()
    assert all(len(scores) == sum(len(one.read_S) for one in attempts) for scores in gave.values())
    assert np.ptp(list(gave.values()), axis=0).max() < 1e-6 and np.ptp(gave["ours"]) > 1e-3
    lengths = [len(one.token_ids_T) for one in attempts]
    assert forwarded["loop"] == sum(int(at) + 1 for one in attempts for at in one.read_S)
    assert forwarded["padded_1"] == sum(lengths)
    assert forwarded["padded_4"] == 4 * (max(lengths[:4]) + max(lengths[4:])) == b1_scoring.padded_tokens(attempts, 4)
    assert forwarded["ours"] < sum(lengths)


def test_a_search_is_scored_alike_by_all_three():
    import b3_search
    from _pool import random_scorer
    from b1_scoring import padded

    scorer = random_scorer(tiny())
    found = b3_search.levels(tiny(), width=2, children=2, depth=3)
    assert [len(level) for level in found] == [2, 4, 4]
    (new, few), (again, many) = b3_search.incremental(scorer, found), b3_search.whole(scorer, found)
    assert few < many < sum(len(one.token_ids_T) for level in found for one in level)
    one_way = np.concatenate([p_S for level in found for p_S in padded(scorer, level, len(level))])
    for logits in (new, again):
        assert np.abs(1 / (1 + np.exp(-np.concatenate(logits)[:, 0])) - one_way).max() < 1e-6


def test_a_ratio_is_geometric_with_its_interval_over_rounds():
    from _measure import exact, ratio, row

    found = ratio([2.0, 8.0, 4.0], [1.0, 2.0, 1.0], "x")  # 2, 4, 4: logs ln 2 * (1, 2, 2), mean 5/3
    assert found.value == pytest.approx(2 ** (5 / 3)) and found.n == 3
    # t(0.95, 2) = 4.303; s = ln 2 / sqrt(3); half = 4.303 ln 2 / 3
    assert found.high / found.value == pytest.approx(2 ** (4.303 / 3), rel=1e-3)
    assert found.value / found.low == pytest.approx(found.high / found.value)
    assert row("name", exact(3, 7, "tokens")) == {
        "name": "name", "value": 3.0, "low": 3.0, "high": 3.0, "n": 7, "unit": "tokens", "control": False,
    }  # fmt: skip


def test_rounds_are_interleaved_and_begin_with_another_arm_each_time():
    from _measure import interleaved

    order = []
    seconds, gave = interleaved({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 3)
    assert "".join(order) == "abbaab"
    assert {name: len(each) for name, each in seconds.items()} == {"a": 3, "b": 3} and gave == {"a": 5, "b": 6}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_peak_memory_is_what_a_run_adds():
    from _measure import added_megabytes

    assert 180 < added_megabytes(lambda: np.ones(200 * 2**20 // 8).sum()) < 230
    assert added_megabytes(lambda: None) < 20


def test_a_training_process_trains_in_turns(tmp_path):
    """Four updates in turns of two: ready and seconds twice, and a wait before the loss; what is printed goes elsewhere."""
    code = ("from _lockstep import Turns\nturns = Turns(2)\nturns.wait()\nfor number in range(1, 5):\n"
            "    print('noise')\n    turns.update(number)\nturns.say({'loss': [1.0]})\n")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], input="go\n" * 3, capture_output=True, text=True, cwd=BENCHMARKS, check=True
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [next(iter(each)) for each in said] == ["ready", "seconds", "ready", "seconds", "ready", "loss"]
    assert "noise" in done.stderr


def test_a_label_is_at_the_last_token_of_its_step_and_a_tenth_are_flipped():
    from _pool import MARKER
    from b2_training import WORDS, labelled

    agree = []
    for row in labelled(tiny(vocabulary=WORDS, attempts=64), seed=1):
        ids, labels = np.array(row["input_ids"]), np.array(row["labels"])
        assert np.array_equal(np.flatnonzero(labels >= 0), np.flatnonzero(ids == MARKER)) and ids.max() < WORDS
        ends = np.flatnonzero(labels >= 0)
        for start, end in pairwise(ends):
            (kind,) = set(ids[start + 1 : end] % 2)
            agree.append(kind == labels[end])
    assert len(agree) > 300 and 0.85 < np.mean(agree) < 0.95


def test_a_rival_that_cannot_be_installed_is_said_and_left_out(tmp_path, monkeypatch):
    import b2_training

    def refuse(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: no matching distribution\n")

    monkeypatch.setattr(b2_training.subprocess, "run", refuse)
    rows, about = b2_training.run(tiny(), 2, 1, cache=tmp_path)
    assert rows == []
    assert about == {"omitted": "trl==1.13.0 could not be installed: -m venv --clear: ERROR: no matching distribution"}


def test_our_side_trains_in_turns_and_learns(tmp_path):
    """A step's words tell most labels: the held-out loss falls below that of a coin, log 2 = 0.69."""
    import b2_training
    from _pool import random_scorer

    sizes = tiny(vocabulary=16, problems=8)
    scorer = random_scorer(sizes)
    scorer.reset_head()
    scorer.model.save_pretrained(tmp_path / "model")
    job = {"train": b2_training.labelled(sizes, 1), "held_out": b2_training.labelled(sizes, 2), "updates": 80,
           "updates_per_turn": 40, "batch_size": 8, "learning_rate": 1e-2, "warmup_share": 0.1, "weight_decay": 0.01,
           "max_grad_norm": 1.0, "seed": 0, "threads": 1, "model": str(tmp_path / "model")}  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    side = b2_training.Side([sys.executable, "_train_ours.py", str(tmp_path / "job.json")], 1)
    try:
        side.hear("ready")
        assert side.turn() > 0 and side.turn() > 0
        assert 0.2 < np.mean(side.loss()) < 0.6
    finally:
        side.end()


def test_what_a_package_requires_is_followed_without_extras():
    from b7_start import megabytes, required

    found = required("stepcredit")
    assert {"stepcredit", "torch", "numpy", "sympy"} <= found and "pytest" not in found  # sympy: through torch
    assert 0.1 < megabytes("stepcredit") < 10 < megabytes("numpy")


def test_results_keep_the_rows_of_benches_that_were_not_run(tmp_path, monkeypatch, capsys):
    import run
    from _measure import exact, row

    out = tmp_path / "results.json"
    out.write_text(json.dumps({"results": [row("b2_train_ratio", exact(2, 1, "x")), row("b7_help_seconds", exact(9, 1, "s"))],
                               "about": {"b2": {"threads": 2}, "b7": {}}}))  # fmt: skip
    found = ([row("b7_help_seconds", exact(0.1, 3, "s"))], {"omitted": "nothing"})
    monkeypatch.setattr(
        run, "benches", lambda quick, threads: {name: lambda: found for name in ("b1", "b2", "b3", "b7")}
    )
    run.main(["--only", "b7", "--out", str(out)])
    said = json.loads(out.read_text())
    assert [(each["name"], each["value"]) for each in said["results"]] == [
        ("b2_train_ratio", 2.0),
        ("b7_help_seconds", 0.1),
    ]
    assert said["about"]["b2"] == {"threads": 2} and said["about"]["b7"]["torch"]
    assert "b7_help_seconds: 0.1" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run.main(["--quick"])
    assert "name a file with --out" in capsys.readouterr().err


def test_the_rivals_environment_takes_every_tested_version_but_that_of_trl_itself():
    import b2_training

    constraints = b2_training.HERE.parent.joinpath("constraints.txt").read_text()
    kept = b2_training._without_trl(constraints)
    assert "trl==" in constraints  # pinned for the extra `rl`, to another version than the rival's
    assert set(constraints.splitlines()) - set(kept.splitlines()) == {
        line for line in constraints.splitlines() if line.startswith("trl==")
    }
