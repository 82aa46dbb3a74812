"""`sample` with a policy: every rollout by name, what credit makes of its file, wrong options, and a kill on the way."""

import json

import numpy as np
import pytest
import yaml

from stepcredit.cli import main
from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Record, Step
from stepcredit.data import read, write
from stepcredit.policy.tabular import Tabular

POLICY = ["--source", "policy", "--policy", "tabular"]
FEW = ["--num_problems", "3"]
KNOBS = {
    "adaptive": ["--num_attempts", "6", "--rollout.error_rate", "0.2"],
    "bisect": ["--num_attempts", "6", "--rollout.num", "2", "--rollout.num_searches", "2"],
    "branch": ["--rollout.num_trees", "2", "--rollout.num_nodes", "3"],
    "chains": ["--num_attempts", "5"],
    "mcts": ["--rollout.num_searches", "6", "--rollout.root_min_children", "3"],
    "restart": ["--num_attempts", "2", "--rollout.num", "3"],
}
FROM = {"reveal": ["--rollout.error_rate", "0.2"]}  # needs an attempt that is right: the references


def references(path, num):
    """A file of the first `num` problems' reference attempts."""
    found = registry.bind("tasks", "chain")().problems(num, rng(0, "problems"))
    assert write(path, (Record(star(p, [[Step(line) for line in p.reference]])) for p in found)) == num
    return path


def sample(out, *more):
    return ["sample", "chain", str(out), *POLICY, *map(str, more)]


def trees(path):
    return [record.tree for record in read(path)]


def said(capsys):
    """The one line on stderr that every mistake is."""
    text = capsys.readouterr().err
    assert text.startswith("stepcredit: error: ") and text.count("\n") == 1
    return text


@pytest.mark.parametrize(
    "name", [name for name in registry.names("rollout") if name != "episodes"]
)  # it has its own, below
def test_every_rollout_is_sampled_by_its_name_and_comes_back_from_the_file(name, tmp_path, capsys):
    given, out, again = (tmp_path / f"{each}.jsonl" for each in ("given", "out", "again"))
    more = ["--from", references(given, 3), *FROM[name]] if name in FROM else [*FEW, *KNOBS.get(name, [])]
    assert main(sample(out, "--rollout", name, *more)) == 0
    assert f"wrote {out}" in capsys.readouterr().out and {p.name for p in tmp_path.iterdir()} <= {given.name, out.name}
    found = trees(out)
    assert len(found) == 3 and all(tree.cost.generated_tokens > 0 < tree.cost.verifier_calls for tree in found)
    assert all(tree.outcomes[leaf] is not None for tree in found for leaf in tree.leaves)
    assert write(again, read(out)) == 3 and again.read_bytes() == out.read_bytes()
    # Nothing is verified twice: calls are the attempts that are not cut.
    if name in ("branch", "chains", "restart"):
        assert all(tree.cost.verifier_calls == len(tree.leaves) for tree in found)


def test_episodes_are_played_in_the_environment_of_a_task_that_has_one(tmp_path, capsys):
    out, again = tmp_path / "o.jsonl", tmp_path / "again.jsonl"
    texts = "[s ada boss, s ada boss, s ben rival, a ada]"
    typed = ["sample", "kg_hop", str(out), "--num_problems", "1", "--truth", "true", "--source", "policy", "--policy", "scripted",
             "--policy.completions", texts, "--rollout", "episodes", "--rollout.num", "2", "--rollout.max_turns", "2"]  # fmt: skip
    assert main(typed) == 0
    (record,) = read(out)
    tree = record.tree
    cut, done = ([step.kind for step in tree.solution(leaf)] for leaf in tree.leaves)
    assert cut == ["tool_call", "tool_result", "tool_call"] and done == ["tool_call", "tool_result", "answer"]
    assert [tree.outcomes[leaf].status for leaf in tree.leaves] == ["truncated", "scored"]
    assert np.isnan(record.credits["truth"].values_N).tolist() == [True, False, True, False, False, True, False]
    assert write(again, read(out)) == 1 and again.read_bytes() == out.read_bytes()
    out.unlink()
    assert main(sample(out, *FEW, "--rollout", "episodes")) == 2 and not out.exists()
    assert "--rollout episodes: the task chain has no environment that answers calls" in said(capsys)


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("branch", ["sibling", "tree_advantage"]),
        ("restart", ["monte_carlo", "relative_progress", "reverse_curriculum"]),
        ("adaptive", ["change_point", "monte_carlo", "relative_progress"]),
        ("bisect", ["monte_carlo", "relative_progress"]),
        ("mcts", ["search_value"]),
    ],
)
def test_what_was_grown_is_what_credit_reads(name, methods, tmp_path):
    path = tmp_path / "0.jsonl"
    assert main(sample(path, "--num_problems", "6", "--rollout", name, *KNOBS[name])) == 0
    before = trees(path)
    for place, method in enumerate(methods, start=1):
        out = tmp_path / f"{place}.jsonl"
        source = ["--source", "monte_carlo"] if method == "relative_progress" else []
        assert main(["credit", str(path), str(out), "--method", method, *source]) == 0
        path = out
    found = list(read(path))
    for record, old in zip(found, before, strict=True):
        assert record.tree.steps == old.steps and list(record.credits) == methods
        assert np.array_equal(record.tree.group_N, old.group_N) and np.array_equal(record.tree.parent_N, old.parent_N)
    for method in methods:
        assert any((record.credits[method].weight_N > 0).any() for record in found), method


def test_the_values_read_off_the_file_are_those_of_the_policy(tmp_path):
    """Restarts from the command line, read as Monte Carlo values: unbiased and binomial for the closed form."""
    out, credited = tmp_path / "a.jsonl", tmp_path / "c.jsonl"
    assert (
        main(sample(out, "--num_problems", "12", "--num_attempts", "2", "--rollout", "restart", "--rollout.num", "32"))
        == 0
    )
    assert main(["credit", str(out), str(credited), "--method", "monte_carlo"]) == 0
    policy, z = registry.bind("policy", "tabular")(), []
    for record in read(credited):
        tree, value_N = record.tree, record.credits["monte_carlo"].values_N
        for node in range(1, tree.num_nodes):
            if tree.group_N[node] < 2 and node not in tree.leaves:
                steps = "".join(step.text + "\n" for step in tree.solution(node))
                exact = float(policy.value([f"{tree.problem.prompt}\n{steps}"])[0])
                if 0 < exact < 1:
                    z.append((value_N[node] - exact) / np.sqrt(exact * (1 - exact) / 32))
    assert len(z) > 40 and abs(np.mean(z)) < 4 / np.sqrt(len(z)) and 0.5 < np.var(z) < 1.7


def test_the_attempts_of_a_file_are_gone_on_with(tmp_path):
    attempts, out = tmp_path / "attempts.jsonl", tmp_path / "grown.jsonl"
    assert (
        main(["sample", "chain", str(attempts), "--num_problems", "8", "--num_attempts", "6", "--truth", "true"]) == 0
    )
    assert main(sample(out, "--from", attempts, "--rollout", "adaptive", "--rollout.error_rate", "0.2")) == 0
    more = 0
    for old, new in zip(read(attempts), read(out), strict=True):
        num = old.tree.num_nodes
        assert new.tree.problem.id == old.tree.problem.id and new.tree.steps[:num] == old.tree.steps
        assert new.tree.outcomes[:num] == old.tree.outcomes
        # What was said of the steps stays, and says nothing of those that are new.
        assert np.array_equal(new.credits["truth"].values_N[:num], old.credits["truth"].values_N, equal_nan=True)
        assert np.isnan(new.credits["truth"].values_N[num:]).all()
        more += new.tree.num_nodes - num
    assert more > 20


def test_outcomes_that_a_file_does_not_have_are_decided_first(tmp_path):
    verified, blind, out = (tmp_path / f"{name}.jsonl" for name in ("verified", "blind", "grown"))
    for path, verify in ((verified, "true"), (blind, "false")):
        assert (
            main(["sample", "chain", str(path), "--num_problems", "4", "--num_attempts", "4", "--verify", verify]) == 0
        )
    assert main(sample(out, "--from", blind, "--rollout", "restart", "--rollout.num", "1")) == 0
    for old, new in zip(trees(verified), trees(out), strict=True):
        np.testing.assert_array_equal(old.reward_N, new.reward_N[: old.num_nodes])


@pytest.mark.parametrize("name", ["adaptive", "branch", "mcts"])
def test_a_trained_scorer_is_the_judge(name, sampled, tmp_path):
    scorer, out, blind = tmp_path / "scorer", tmp_path / "judged.jsonl", tmp_path / "blind.jsonl"
    assert main(["train", str(sampled), str(scorer), "--judge", "linear"]) == 0
    choose = ["--rollout.choose", "judge"] if name == "branch" else []
    arguments = [*FEW, "--rollout", name, *KNOBS[name]]
    assert main(sample(out, *arguments, *choose, "--judge", scorer)) == 0 == main(sample(blind, *arguments))
    assert sum(tree.cost.judge_calls for tree in trees(out)) > 0 == sum(tree.cost.judge_calls for tree in trees(blind))


WRONG = [
    (["--rollout", "brunch"], "no rollout method 'brunch'; there are: adaptive, bisect, branch"),
    (["--policy", "gpt"], "no policy method 'gpt'; there are: hf"),
    (["--rollout", "branch", "--rollout.num_searches", "3"], "--rollout.num_searches: branch has no such knob; allowed: num_trees"),
    (["--rollout", "restart", "--rollout.nodes", "[[1]]"], "--rollout.nodes: restart has no such knob"),
    (["--rollout", "restart", "--rollout.folder", "x"], "--rollout.folder: restart has no such knob"),
    (["--rollout.num", "3"], "--rollout.num: chains has no such knob"),
    (["--policy.model", "x"], "--policy.model: tabular has no such knob; allowed: modulus"),
    (["--rollout", "restart", "--from", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
    (["--rollout", "branch", "--from", "IN"], "--from: branch starts from problems; allowed with adaptive, bisect, restart"),
    (["--rollout", "reveal", "--from", "IN", "--rollout.low", "0.9"], "low 0.9"),
    (["--rollout", "restart", "--from", "IN", "--num_problems", "2"], "--from: problems and attempts are those of"),
    (["--rollout", "branch", "--num_attempts", "4"], "--num_attempts is for chains and what grows them"),
    (["--rollout", "restart", "--judge", "x"], "--judge: restart asks no judge; leave it out"),
    (["--rollout", "adaptive", "--judge", "nowhere"], "there is no scorer folder 'nowhere'"),
    (["--rollout", "branch", "--rollout.choose", "judge"], "choose is 'judge', judge not given"),
    (["--rollout", "mcts", "--verify", "false"], "--verify false: mcts decides outcomes while it grows"),
    (["--rollout", "branch", "--rollout.num_trees", "0"], "0 trees"),
    (["--rollout", "branch", "--rollout.choose", "worst"], "--rollout.choose is worst; allowed: random, entropy, judge"),
    (["--num_attempts", "0"], "num_attempts 0; allowed: 1 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), WRONG, ids=[" ".join(each) for each, _ in WRONG])
def test_a_wrong_option_is_one_line_and_no_file(more, expected, sampled, tmp_path, capsys):
    assert main(sample(tmp_path / "o.jsonl", *[str(sampled) if each == "IN" else each for each in more])) == 2
    assert expected in said(capsys) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "more", [["--rollout", "branch"], ["--policy.model", "x"], ["--from", "a.jsonl"], ["--judge", "s"]]
)
def test_the_demonstrator_grows_no_trees(more, tmp_path, capsys):
    assert main(["sample", "chain", str(tmp_path / "o.jsonl"), *more]) == 2
    assert f"{more[0]} is for --source policy" in said(capsys)


def test_the_configuration_that_is_printed_is_read_back(tmp_path, capsys):
    out = tmp_path / "o.jsonl"
    typed = sample(out, *FEW, "--rollout", "branch", "--rollout.num_trees", "3", "--rollout.stop", "[x]")
    assert main([*typed, "--print_config"]) == 0
    printed = capsys.readouterr().out
    given = yaml.safe_load(printed)
    assert given["rollout"]["name"] == "branch" and given["rollout"]["num_trees"] == 3 and given["from"] is None
    assert given["policy"]["name"] == "tabular" and not out.exists()
    (tmp_path / "c.yaml").write_text(printed)
    assert main(["sample", "--config", str(tmp_path / "c.yaml")]) == 0
    assert all(len(set(tree.group_N.tolist())) == 3 for tree in trees(out))


def test_a_server_is_a_policy_like_others(tmp_path, capsys):
    typed = [
        "sample",
        "chain",
        str(tmp_path / "o.jsonl"),
        "--source",
        "policy",
        "--policy",
        "openai",
        "--policy.model",
        "m",
    ]
    assert (
        main([*typed, "--policy.url", "http://localhost:1/v1", "--policy.extra", '{"top_k": 0}', "--print_config"]) == 0
    )
    given = yaml.safe_load(capsys.readouterr().out)["policy"]
    assert (given["name"], given["model"], given["url"]) == ("openai", "m", "http://localhost:1/v1")
    assert given["extra"] == {"top_k": 0} and given["concurrency"] == 32


def test_help_says_which_rollout_starts_from_what(capsys):
    assert main(["sample", "chain", "o.jsonl", *POLICY, "--rollout", "mcts", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "start from problems: branch, chains, episodes," in text
        and "go on from attempts: adaptive, bisect, restart" in text
    )
    assert "--rollout.num_searches" in text and "--from" in text and "--rollout.folder" not in text


def interrupted(monkeypatch, command, after):
    """Run the command, interrupted when the policy is called for the time after these; how often it was called."""
    with monkeypatch.context() as patch:
        whole, calls = Tabular.sample, []

        def count(*given, **named):
            if len(calls) == after:
                raise KeyboardInterrupt
            calls.append(1)
            return whole(*given, **named)

        patch.setattr(Tabular, "sample", count)
        assert main(command) == (0 if after is None else 130)
    return len(calls)


def alike(first, second):
    """Files that differ in nothing but the time that was spent."""

    def rows(path):
        found = [json.loads(line) for line in path.read_text().splitlines()]
        return [{**row, "cost": {**row["cost"], "seconds": 0}} for row in found]

    return rows(first) == rows(second)


def test_an_interrupted_command_goes_on_and_asks_for_nothing_twice(tmp_path, monkeypatch):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    # Ten problems are two batches of plain attempts and of restarts each; in pieces of 32 completions.
    monkeypatch.setattr("stepcredit.commands._rollout.CHUNK", 8)
    monkeypatch.setattr("stepcredit.rollout._resumable.PIECE", 32)
    more = ["--num_problems", "10", "--num_attempts", "4", "--rollout", "restart", "--rollout.num", "2"]
    num = interrupted(monkeypatch, sample(whole, *more), None)
    assert num > 8
    for after in (1, 2, num - 5):  # each goes on from the one before it
        assert interrupted(monkeypatch, sample(out, *more), after) == after
        assert not out.exists() and (tmp_path / "out.jsonl.partial-sample").is_dir()
    assert interrupted(monkeypatch, sample(out, *more), None) == num - 1 - 2 - (num - 5)
    assert alike(whole, out) and sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "whole.jsonl"]


def test_what_other_options_left_behind_is_not_gone_on_from(tmp_path, monkeypatch):
    out, other = tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    more = ["--num_problems", "20", "--num_attempts", "30"]
    interrupted(monkeypatch, sample(out, *more), 1)
    changed = [*more, "--policy.random_slip", "0.5"]
    num = interrupted(monkeypatch, sample(other, *changed), None)
    assert interrupted(monkeypatch, sample(out, *changed), None) == num and alike(out, other)


def test_an_edited_file_or_another_version_is_not_gone_on_from(tmp_path, monkeypatch):
    given, out, other = tmp_path / "given.jsonl", tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    more = ["--from", given, "--rollout", "restart", "--rollout.num", "2"]

    def begin():
        interrupted(monkeypatch, sample(out, *more), 1)
        (kept,) = (tmp_path / "out.jsonl.partial-sample").glob("*.jsonl")
        return kept

    monkeypatch.setattr("stepcredit.rollout._resumable.PIECE", 8)
    references(given, 3)
    kept = begin()
    kept.rename(kept.with_name("restart-0.jsonl"))  # whether it is still there afterwards tells
    references(given, 4)
    assert begin().name != "restart-0.jsonl"
    num = interrupted(monkeypatch, sample(other, *more), None)
    monkeypatch.setattr("stepcredit.commands.sample.__version__", "0.0.0")
    assert interrupted(monkeypatch, sample(out, *more), None) == num and alike(out, other)


def test_the_key_to_a_server_is_not_kept(tmp_path, monkeypatch):
    kept = []

    def policy_of(knobs, threads):
        assert knobs["api_key"] == "secret"
        kept.append((tmp_path / "o.jsonl.partial-sample" / "made_from.json").read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr("stepcredit.commands._rollout.policy_of", policy_of)
    typed = ["--source", "policy", "--policy", "openai", "--policy.model", "m", "--policy.api_key", "secret"]
    assert main(["sample", "chain", str(tmp_path / "o.jsonl"), *typed]) == 130
    assert "http://localhost" in kept[0] and "secret" not in kept[0] and "api_key" not in kept[0]
