"""`stepcredit credit --write_as advantages`: spans line up, tokens are those our own trainer trains, nothing hidden is used."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from stepcredit import Credit, Judgment, Outcome, Problem, Record, Step, Tree
from stepcredit.cli import main
from stepcredit.commands import _advantages
from stepcredit.commands._advantages import schema
from stepcredit.commands._starts import starts
from stepcredit.core import registry
from stepcredit.core.tree import prompt_step, star
from stepcredit.core.truth import judged_wrong
from stepcredit.credit.group_mean import group_mean
from stepcredit.data import write
from stepcredit.train.groups import grouped
from stepcredit.train.policy_samples import Rules, policy_samples

DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
METHODS = ["sibling", "group_mean", *(["tool_attribution"] if "tool_attribution" in registry.names("credit") else [])]


class Characters:
    """A tokenizer of characters whose prompts begin with token 1."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, texts, add_special_tokens=True, verbose=True):
        return {"input_ids": [[1] * add_special_tokens + list(map(ord, text)) for text in texts]}


def real(*parts):
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


def lines(path):
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def credited(tree, *values, kind="advantage", weight=1.0):
    value_N = np.array([np.nan, *values])
    return Record(tree, {"c": Credit(value_N, kind, np.where(np.isnan(value_N), 0.0, weight), "made_up")})


def rows(record, *given):
    """The rows of a record, as the command makes them."""
    return [row for start in starts(record, ()) for row in _advantages.rows(start, *given)]


def spans(row):
    return [row["text"][step["start"] : step["end"]] for step in row["steps"]]


def chain(*steps, reward=1.0):
    return star(Problem("p", "ask"), [steps], [Outcome(reward=reward, correct=reward == 1.0)])


TOOL = Step("42", kind="tool_result", sampled=False)


def test_a_row_says_where_each_step_stands_and_what_it_is_worth():
    tree = chain(Step("f(1)", kind="tool_call"), TOOL, Step("so\nit is"), Step("x", kind="answer"))
    (row,) = rows(credited(tree, 0.5, np.nan, 0.0, np.nan, weight=2.0), "c", Rules())
    assert row["prompt"] == "ask\n" and row["text"] == "f(1)\n42\nso\nit is\nx\n"
    assert spans(row) == ["f(1)", "42", "so\nit is", "x"]
    assert [step["advantage"] for step in row["steps"]] == [
        0.5,
        None,
        0.0,
        None,
    ]  # null is never assigned, 0 assigned 0
    assert [step["weight"] for step in row["steps"]] == [2.0, 0.0, 2.0, 0.0]
    assert [step["trained"] for step in row["steps"]] == [True, False, True, False]
    assert [step["sampled"] for step in row["steps"]] == [True, False, True, True]
    assert (row["reward"], row["correct"], row["status"], row["kind"]) == (1.0, True, "scored", "advantage")


def test_a_reward_is_an_advantage_before_it_is_written_and_longer_is_not_more():
    # Every step of both attempts earns 0.5; the mean from each step on is 0.5 in both: no advantage, three steps or one.
    attempts = [[Step("a"), Step("b"), Step("c")], [Step("d")]]
    tree = star(Problem("p", "?"), attempts, [Outcome(reward=1.0), Outcome(reward=0.0)])
    found = list(rows(credited(tree, 0.5, 0.5, 0.5, 0.5, kind="reward"), "c", Rules()))
    assert [step["advantage"] for row in found for step in row["steps"]] == [0.0] * 4
    assert [step["reward"] for row in found for step in row["steps"]] == [0.5] * 4


def shared_tree():
    """a -> (b | c with a context of its own -> d), and a given step before everything."""
    steps = (prompt_step(Problem("p", "ask")), Step("given", sampled=False), Step("a", token_ids=(97, 10), logprobs=(-0.5, -2.0)),
             Step("b"), Step("c", context="fold: "), Step("dd"))  # fmt: skip
    outcomes = (None, None, None, Outcome(reward=1.0), None, Outcome(reward=0.0))
    return Tree(Problem("p", "ask"), steps, np.array([-1, 0, 1, 2, 2, 4]), outcomes)


def test_a_shared_step_is_trained_once_and_a_fold_has_a_row_of_its_own():
    found = list(rows(credited(shared_tree(), np.nan, 1.0, 2.0, 3.0, 4.0), "c", Rules()))
    assert [(row["attempt"], row["part"], row["prompt"], spans(row)) for row in found] == [
        (0, 0, "ask\ngiven\n", ["a", "b"]), (1, 0, "ask\ngiven\n", ["a"]), (1, 1, "fold: ", ["c", "dd"]),
    ]  # fmt: skip
    assert [[step["trained"] for step in row["steps"]] for row in found] == [[True, True], [False], [True, True]]
    assert [[step["advantage"] for step in row["steps"]] for row in found] == [[1.0, 2.0], [1.0], [3.0, 4.0]]
    assert [[step["node"] for step in row["steps"]] for row in found] == [[2, 3], [2], [4, 5]]


@pytest.mark.parametrize("rules", [Rules(), Rules(spread="split"), Rules(delimiter=" | ", prompt_end=": ")])
@pytest.mark.parametrize("kind", ["advantage", "reward"])
def test_tokens_are_those_our_own_trainer_trains(rules, kind):
    trees = [
        shared_tree(),
        chain(Step("f()", kind="tool_call"), TOOL, Step("so")),
        star(
            Problem("q", "?"), [[Step("xy"), TOOL, Step("z")], [Step("w")]], [Outcome(reward=1.0), Outcome(reward=0.0)]
        ),
    ]
    records = [credited(trees[0], np.nan, 1.0, 2.0, np.nan, 4.0, kind=kind, weight=0.5),
               credited(trees[1], -1.0, np.nan, 0.0, kind=kind), credited(trees[2], 1.0, np.nan, 3.0, 2.0, kind=kind)]  # fmt: skip
    expected = policy_samples(trees, [record.credits["c"] for record in records], Characters(), rules=rules)
    found = [row for record in records for row in rows(record, "c", rules, Characters()) if any(row["loss_mask"])]
    assert len(found) == len(expected) == 5
    for row, sample in zip(found, expected, strict=True):
        assert row["token_ids"] == sample.token_ids_T.tolist() and row["loss_mask"] == sample.loss_mask_T.tolist()
        assert row["token_advantages"] == sample.advantage_T.tolist() and row["ratio"] == sample.ratio
        np.testing.assert_array_equal(np.array(row["old_logprobs"], dtype=float), sample.old_logprob_T)


def mixed_starts():
    """Two attempts behind a given line, each with its own copy of it, right and wrong; two from the prompt, one cut off."""
    behind = Step("a given", sampled=False)
    attempts = [
        [behind, Step("b right")],
        [Step("c"), Step("d cut")],
        [behind, Step("e"), Step("f wrong")],
        [Step("g right")],
    ]
    ends = [Outcome(1.0, True), Outcome(status="truncated"), Outcome(0.0, False), Outcome(1.0, True)]
    sources = [{"run": number} for number in range(4)]
    return star(Problem("p", "ask", meta={"sources": sources}), attempts, ends)


def test_attempts_are_compared_with_those_of_their_start_and_what_was_cut_off_is_wrong(tmp_path, capsys):
    """The trainer's groups: right and wrong behind the given line, right and cut off from the prompt; 1/2 each way."""
    path, out = tmp_path / "starts.jsonl", tmp_path / "rows.jsonl"
    write(path, [Record(mixed_starts())])
    given = ["credit", str(path), str(out), "--write_as", "advantages", "--method"]
    for method in ("sibling", "group_mean"):
        assert main([*given, method, "--credit.normalize", "none"]) == 0
        assert "on 6 of 6 steps in 1 records" in (said := capsys.readouterr().out) and "0 of 2 groups without" in said
        found = {row["attempt"]: row for row in lines(out)}
        assert {at: (row["group"], row["prompt"]) for at, row in found.items()} == {
            0: (0, "ask\na given\n"), 2: (0, "ask\na given\n"), 1: (1, "ask\n"), 3: (1, "ask\n"),
        }  # fmt: skip
        worth = {at: [step["advantage"] for step in row["steps"]] for at, row in found.items()}
        assert worth == {0: [0.5], 1: [-0.5] * 2, 2: [-0.5] * 2, 3: [0.5]}
        assert all(row["source"] == {"run": at} for at, row in found.items())
        nodes = {at: [step["node"] for step in row["steps"]] for at, row in found.items()}
        assert nodes == {
            0: [2],
            1: [3, 4],
            2: [6, 7],
            3: [8],
        }  # of the tree that was read: prompt, a, b, c, d, a, e, f, g
        assert [(found[1][what]) for what in ("reward", "correct", "status")] == [0.0, False, "truncated"]
    # Told that nothing that was cut off is wrong, the cut attempt takes no part, and nobody is left to compare with.
    assert main([*given, "sibling", "--wrong", "none"]) == 0
    found = {row["attempt"]: row for row in lines(out)}
    assert [step["advantage"] for step in found[1]["steps"]] == [None, None]
    assert [step["advantage"] for step in found[3]["steps"]] == [0.0]
    assert [(found[1][what]) for what in ("reward", "correct", "status")] == [None, None, "truncated"]


def test_rows_of_mixed_starts_are_those_our_own_trainer_trains(tmp_path):
    from stepcredit.train._tokenizer import load
    from stepcredit.train.grpo import Settings
    from stepcredit.train.tiny import build_tokenizer

    trees = [mixed_starts(), shared_tree(), chain(Step("f()", kind="tool_call"), TOOL, Step("so"))]
    write(tmp_path / "t.jsonl", [Record(tree) for tree in trees])
    build_tokenizer(["ask", *(step.text for tree in trees for step in tree.steps), "fold: "]).save_pretrained(
        tmp_path / "k"
    )
    given = [
        "--write_as",
        "advantages",
        "--method",
        "group_mean",
        "--group",
        "false",
        "--tokenizer",
        str(tmp_path / "k"),
    ]
    assert main(["credit", str(tmp_path / "t.jsonl"), str(tmp_path / "rows.jsonl"), *given]) == 0
    grown = [judged_wrong(tree, Settings().wrong) for one in trees for tree in grouped([one])]
    expected = policy_samples(grown, group_mean(grown), load(tmp_path / "k"))
    found = [row for row in lines(tmp_path / "rows.jsonl") if any(row["loss_mask"])]
    assert len(found) == len(expected) == 7  # four attempts, two rows of a fold, one chain
    for row, sample in zip(found, expected, strict=True):
        assert row["token_ids"] == sample.token_ids_T.tolist() and row["loss_mask"] == sample.loss_mask_T.tolist()
        assert row["token_advantages"] == sample.advantage_T.tolist()


def test_judgments_and_credits_of_the_file_go_with_their_attempts(tmp_path):
    tree = mixed_starts()
    judged = tuple(Judgment(score, [score] * num) for score, num in ((0.1, 1), (0.2, 2), (0.3, 2), (0.4, 1)))
    record = Record(tree, {"own": Credit(np.arange(9.0), "reward", np.ones(9), "own")}, judged)
    first, second = starts(record, ())
    assert [judgment.score for judgment in first.record.judgments] == [0.1, 0.3]
    assert [judgment.score for judgment in second.record.judgments] == [0.2, 0.4]
    assert first.record.credits["own"].values_N.tolist() == [0, 1, 2, 6, 7] and first.attempts == (0, 2)
    assert second.record.credits["own"].values_N.tolist() == [0, 3, 4, 8] and second.nodes == (0, 3, 4, 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--wrong", "late", "--write_as", "advantages"], "--wrong has 'late'; allowed: unparsed, truncated, timeout, abstained, error, "
         "with commas between them, or none"),
        (["--wrong", "scored", "--write_as", "advantages"], "--wrong has 'scored'; allowed: unparsed"),
        (["--wrong", "none"], "--wrong goes with --write_as advantages; this writes native"),
        (["--spread", "split"], "--spread goes with --write_as advantages; this writes native"),
        (["--step_end", "x", "--write_as", "stepwise"], "--step_end goes with --write_as advantages; this writes stepwise"),
        (["--spread", "split", "--write_as", "advantages"], "--spread split says what the tokens of a step carry: it needs --tokenizer"),
        (["--source", "truth"], "--source truth: sibling needs no other credit; leave it out"),
        (["--judge", "folder"], "--judge folder: sibling needs no judge; leave it out"),
        (["--name", "truth"], "--name truth: the name is kept for recorded step truth"),
    ],
)  # fmt: skip
def test_options_of_rows_are_refused_where_they_would_do_nothing(
    write_lines, plain_rows, tmp_path, capsys, given, said
):
    out = tmp_path / "out.jsonl"
    assert main(["credit", str(write_lines(plain_rows)), str(out), "--method", "sibling", *given]) == 2
    assert said in capsys.readouterr().err and not out.exists()


def test_rows_without_any_advantage_are_not_written(write_lines, plain_rows, tmp_path, capsys):
    """Nobody looked at the attempts; or the method needs what the file has not, here expert steps."""
    out = tmp_path / "out.jsonl"
    blind = str(write_lines([{**row, "correct": None} for row in plain_rows], "blind.jsonl"))
    seen = str(write_lines(plain_rows, "seen.jsonl"))
    for path, method, said in (
        (
            blind,
            "sibling",
            "sibling is on no step, and 0 of 12 attempts have an outcome (stepcredit verify decides them)",
        ),
        (seen, "expert_similarity", "expert_similarity is on no step, and 12 of 12 attempts have an outcome"),
    ):
        assert main(["credit", path, str(out), "--method", method, "--write_as", "advantages"]) == 2
        assert f"there is nothing to train by: {said}" in capsys.readouterr().err and not out.exists()
    # In part it is no mistake: the rows of problems that nobody looked at have null.
    part = [{**row, "correct": None if row["problem"].startswith("0") else row["correct"]} for row in plain_rows]
    assert main(["credit", str(write_lines(part)), str(out), "--method", "sibling", "--write_as", "advantages"]) == 0
    assert "0 of 4 groups" in capsys.readouterr().out
    assert {row["correct"] is None: {step["trained"] for step in row["steps"]} for row in lines(out)} == {
        True: {False},
        False: {True},
    }


def test_no_two_groups_of_a_file_have_the_same_number(write_lines, plain_rows, tmp_path, capsys):
    """Two prompts under one id are two groups; apart, every row is one."""
    out = tmp_path / "o.jsonl"
    said = [{"id": "p", "reward": n % 2, "messages": [{"role": "user", "content": f"q{n // 2}"}, {"role": "assistant", "content": f"a{n}"}]}
            for n in range(4)]  # fmt: skip
    given = [
        "credit",
        str(write_lines(said, "chats.jsonl")),
        str(out),
        "--method",
        "sibling",
        "--write_as",
        "advantages",
    ]
    for more, groups in (([], [0, 0, 1, 1]), (["--group", "false"], [0, 1, 2, 3])):
        assert main([*given, *more]) == 0
        assert [row["group"] for row in lines(out)] == groups
    assert "a group is the attempts of one row of the input, as --group is false" in capsys.readouterr().err


def test_cut_attempts_left_out_are_no_matter_for_a_verifier(tmp_path, capsys):
    path, out = tmp_path / "cut.jsonl", tmp_path / "o.jsonl"
    write(path, [Record(star(Problem("p", "?"), [[Step("a")], [Step("b")]], [Outcome(status="truncated")] * 2))])
    given = ["credit", str(path), str(out), "--method", "sibling", "--write_as", "advantages"]
    assert main([*given, "--wrong", "none"]) == 2
    assert "truncated attempts take no part; --wrong truncated calls them wrong" in capsys.readouterr().err
    assert main(given) == 0


def test_attempts_that_are_compared_with_nothing_are_told(write_lines, plain_rows, tmp_path, capsys):
    """Conversations that a user opens anew have another prompt each, and so no group."""
    said = [{"id": 1, "reward": n, "messages": [{"role": "user", "content": f"Hi {n}"}, {"role": "assistant", "content": "x"}]}
            for n in range(2)]  # fmt: skip
    given = [str(tmp_path / "o.jsonl"), "--method", "sibling", "--write_as", "advantages"]
    assert main(["credit", str(write_lines(said, "chats.jsonl")), *given]) == 0
    assert "hint: 2 of 2 groups are a single attempt, with nothing to compare it with" in capsys.readouterr().err
    assert main(["credit", str(write_lines(plain_rows)), *given]) == 0
    assert "hint" not in capsys.readouterr().err


def test_the_input_is_not_written_over_by_what_leaves_most_of_it_behind(write_lines, plain_rows, capsys):
    path = write_lines(plain_rows)
    before = path.read_bytes()
    for form in ("advantages", "stepwise"):
        assert main(["credit", str(path), str(path), "--method", "sibling", "--write_as", form]) == 2
        assert f"is the input, and {form} leaves most of it behind" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["credit", str(path), str(path), "--method", "sibling"]) == 0  # native keeps all of it


def test_only_methods_that_a_file_can_feed_are_offered(write_lines, plain_rows, tmp_path, capsys):
    given = [
        "credit",
        str(write_lines(plain_rows)),
        str(tmp_path / "o.jsonl"),
        "--method",
        "monte_carlo",
        "--write_as",
        "advantages",
    ]
    assert main(given) == 2
    offered = capsys.readouterr().err.split("or take a method that gives one: ")[1].strip().split(", ")
    assert "sibling" in offered and "process_reward" in offered and not {"log_ratio", "information_gain"} & set(offered)


def test_values_and_labels_are_refused_with_what_to_do_instead(write_lines, plain_rows, tmp_path, capsys):
    path, out = str(write_lines(plain_rows)), tmp_path / "a.jsonl"
    for method, said in (("monte_carlo", "puts a value on steps"), ("outcome_broadcast", "puts a label on steps")):
        assert main(["credit", path, str(out), "--method", method, "--write_as", "advantages"]) == 2
        error = capsys.readouterr().err
        assert all(each in error for each in (said, "or take a method that gives one: ", "group_mean, ", "sibling"))
    assert main(["credit", path, str(out), "--method", "sibling", "--tokenizer", "x"]) == 2
    assert "--tokenizer goes with --write_as advantages; this writes native" in capsys.readouterr().err
    given = ["credit", path, str(out), "--method", "sibling", "--write_as", "advantages", "--tokenizer"]
    assert main([*given, str(tmp_path / "none")]) == 2
    assert "there is no tokenizer folder" in capsys.readouterr().err
    assert main([*given, str(tmp_path)]) == 2
    assert "holds no tokenizer" in capsys.readouterr().err
    assert not out.exists()


def test_the_command_writes_lines_or_parquet_with_the_same_rows(write_lines, plain_rows, tmp_path, capsys):
    import pyarrow.parquet
    import torch

    from stepcredit.train.tiny import build_tokenizer

    torch.set_num_threads(1)
    build_tokenizer([row["attempt"] for row in plain_rows]).save_pretrained(tmp_path / "tokenizer")
    path = str(write_lines(plain_rows))
    for name in ("a.jsonl", "a.parquet"):
        given = ["--method", "sibling", "--write_as", "advantages", "--tokenizer", str(tmp_path / "tokenizer")]
        assert main(["credit", path, str(tmp_path / name), *given]) == 0
        # Six problems with one right and one wrong attempt each.
        assert "12 rows, 0 of 6 groups without any signal" in capsys.readouterr().out
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table.schema == schema(tokens=True)
    found = lines(tmp_path / "a.jsonl")
    assert table.to_pylist() == found and len(found) == 12
    for row in found:
        assert all(step["advantage"] == (0.5 if row["correct"] else -0.5) for step in row["steps"])
        assert sum(row["loss_mask"]) > 0 and len(row["token_ids"]) == len(row["token_advantages"])


def test_steps_may_end_in_what_is_typed(write_lines, plain_rows, tmp_path):
    out = tmp_path / "a.jsonl"
    given = ["--method", "sibling", "--write_as", "advantages", "--step_end", r"\n\n", "--prompt_end", r"\n"]
    assert main(["credit", str(write_lines(plain_rows)), str(out), *given]) == 0
    assert lines(out)[0]["text"] == "0 + 0 = 0\n\n0 + 1 = 1\n\n" and lines(out)[0]["prompt"] == "0 + 0 + 1 = ?\n"


@pytest.mark.parametrize("method", METHODS)
def test_recorded_tool_calls_get_advantages_whose_spans_are_the_calls_of_the_chat(tmp_path, method):
    source, out = real("tau_bench", "gpt4o_airline.dev.jsonl.gz"), tmp_path / "a.jsonl"
    assert main(["credit", str(source), str(out), "--method", method, "--write_as", "advantages"]) == 0
    with gzip.open(source, "rt", encoding="utf-8") as file:
        chats = {(str(row["task_id"]), row["trial"]): row for row in map(json.loads, file)}
    found = lines(out)
    assert {(row["problem_id"], row["source"]["trial"]) for row in found} == chats.keys() and len(found) == 80
    num_calls = 0
    for row in found:
        messages = chats[row["problem_id"], row["source"]["trial"]]["traj"]
        assert (
            row["messages"] == messages and row["reward"] == chats[row["problem_id"], row["source"]["trial"]]["reward"]
        )
        for step, text in zip(row["steps"], spans(row), strict=True):
            message = messages[step["message"]]
            assert step["sampled"] == (message["role"] == "assistant") == (step["advantage"] is not None)
            if step["call"] is None:
                assert text == (message["content"] or "")
                continue
            function = message["tool_calls"][step["call"]]["function"]
            assert step["kind"] == "tool_call" and text == f"{function['name']}({function['arguments']})"
            num_calls += 1
        steps = [(step["message"], step["call"]) for step in row["steps"] if step["kind"] == "tool_call"]
        assert steps == [
            (at, call) for at, message in enumerate(messages) for call in range(len(message.get("tool_calls") or []))
        ]
    assert num_calls == 437  # 400 messages that are a call, 37 with text besides


def test_trials_are_credited_against_the_other_trials_of_their_task(tmp_path):
    out = tmp_path / "a.jsonl"
    given = [str(real("tau_bench", "gpt4o_airline.dev.jsonl.gz")), str(out), "--write_as", "advantages"]
    assert main(["credit", *given, "--method", "sibling"]) == 0
    rewards = {}
    for row in lines(out):
        rewards.setdefault(row["problem_id"], []).append(row["reward"])
    for row in lines(out):
        expected = row["reward"] - np.mean(rewards[row["problem_id"]])  # a star: the attempt's outcome minus the mean
        assert [s["advantage"] for s in row["steps"] if s["sampled"]] == pytest.approx(
            [expected] * sum(s["sampled"] for s in row["steps"])
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["bash", "python", "sql"])
def test_recorded_agents_get_advantages_that_line_up_and_hidden_turn_rewards_are_not_used(tmp_path, method, name):
    with gzip.open(real("intercode", f"{name}.dev.jsonl.gz"), "rt", encoding="utf-8") as file:
        given = [row for row in map(json.loads, file) if row["actions"]][:400]
    blind = [{**row, "rewards": [0.125] * (len(row["rewards"]) - 1) + row["rewards"][-1:]} for row in given
             if row["actions"][-1] != "blocked"]  # fmt: skip
    seen = [row for row in given if row["actions"][-1] != "blocked"]
    outputs = []
    for which, source in (("seen", seen), ("blind", blind)):
        path, out = tmp_path / f"{which}.jsonl", tmp_path / f"{which}-out.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in source), encoding="utf-8")
        assert main(["credit", str(path), str(out), "--method", method, "--write_as", "advantages"]) == 0
        outputs.append(lines(out))
    assert outputs[0] == outputs[1] and len(outputs[0]) == len(seen)
    by_run = {(row["query"], row["run"], row["task_id"]): row for row in seen}
    for row in outputs[0]:
        source = by_run[row["prompt"].removesuffix("\n"), row["source"]["run"], row["source"]["task_id"]]
        thoughts = source["thoughts"] or [""] * len(source["actions"])
        acts = [
            f"{thought}\n{act}" if thought else act for thought, act in zip(thoughts, source["actions"], strict=True)
        ]
        assert spans(row)[::2] == acts and spans(row)[1::2] == source["observations"]
        assert all((step["advantage"] is not None) == (step["kind"] == "tool_call") for step in row["steps"])


def test_the_system_prompt_of_trials_may_be_a_file(write_lines, tmp_path, capsys):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    path = str(
        write_lines([{"task_id": t, "trial": n, "reward": n, "traj": messages} for t in range(2) for n in range(2)])
    )
    (tmp_path / "system.txt").write_text("Be kind.\n")
    out = tmp_path / "a.jsonl"
    given = ["credit", path, str(out), "--method", "sibling", "--write_as", "advantages", "--system"]
    assert main([*given, str(tmp_path / "system.txt")]) == 0
    said = capsys.readouterr()
    assert {row["prompt"] for row in lines(out)} == {"Be kind.\n\nHi\n"} and len(lines(out)) == 4
    assert "hint" not in said.err  # both tasks have the same prompt, which is no mistake here
    assert main([*given, str(tmp_path / "none.txt")]) == 2
    assert "none.txt: no such file; allowed: a text file with the system prompt" in capsys.readouterr().err
