"""tau-bench: trials of a task in one star, each behind its own opening, every step at its place in the messages."""

import gzip
import json
import math
import os
from pathlib import Path

import pytest

from stepcredit import Outcome
from stepcredit.core.tree import children
from stepcredit.credit.group_mean import group_mean
from stepcredit.credit.sibling import sibling
from stepcredit.data import group, read, write

DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))


def call(name, arguments):
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}


def trial(number, reward, opening="Hi", system=None, last="Bye"):
    """The agent thinks and makes two calls in one message, answers, the user ends."""
    messages = [
        *([{"role": "system", "content": system}] if system else []),
        {"role": "user", "content": opening},
        {"role": "assistant", "content": "I look.", "tool_calls": [call("f", '{"x":1}'), call("g", "{}")]},
        {"role": "tool", "name": "f", "content": "one"},
        {"role": "tool", "name": "g", "content": ""},
        {"role": "assistant", "content": last},
        {"role": "user", "content": "###STOP###"},
    ]
    task = {"user_id": "u", "instruction": "HIDDEN", "actions": [{"name": "f", "kwargs": {"x": 1}}]}
    return {"task_id": 3, "trial": number, "reward": reward, "info": {"task": task}, "traj": messages}


def written(tmp_path, *rows):
    path = tmp_path / "trials.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_trial_is_a_chain_of_calls_results_and_turns(tmp_path):
    (record,) = read(written(tmp_path, trial(0, 1.0)))
    assert [(step.text, step.kind, step.sampled) for step in record.tree.steps[1:]] == [
        ("I look.", "reason", True), ('f({"x":1})', "tool_call", True), ("g({})", "tool_call", True),
        ("one", "tool_result", False), ("", "tool_result", False), ("Bye", "answer", True), ("###STOP###", "prompt", False),
    ]  # fmt: skip
    assert record.tree.outcomes[-1] == Outcome(reward=1.0, correct=True)
    assert record.tree.problem.id == "3" and record.tree.problem.reference == ('f({"x":1})',)


def test_steps_remember_message_and_call(tmp_path):
    (record,) = read(written(tmp_path, trial(2, 0.0, system="S")))
    (source,) = record.tree.problem.meta["sources"]
    assert source["trial"] == 2 and source["places"] == [
        [2, None], [2, 0], [2, 1], [3, None], [4, None], [5, None], [6, None],
    ]  # fmt: skip
    for step, (message, number) in zip(record.tree.steps[1:], source["places"], strict=True):
        said = source["messages"][message]
        function = said["tool_calls"][number]["function"] if number is not None else None
        assert step.text == (f"{function['name']}({function['arguments']})" if function else said["content"])


def test_trials_of_a_task_are_one_star_though_the_user_opens_each_anew(tmp_path):
    (record,) = group(read(written(tmp_path, trial(0, 1.0, "Hi"), trial(1, 0.0, "Hello"), trial(2, 0.0, "Yo"))))
    tree = record.tree
    starts = children(tree)[0]
    assert len(tree.leaves) == 3 and [tree.steps[node].sampled for node in starts] == [True] * 3
    assert [tree.steps[node].context for node in starts] == ["Hi\n", "Hello\n", "Yo\n"]  # what each was written behind
    assert [source["trial"] for source in tree.problem.meta["sources"]] == [0, 1, 2]
    # rewards 1, 0, 0: 1 - 1/3 and twice 0 - 1/3, on every step of the trial
    advantage_N = sibling(tree).values_N
    assert advantage_N[[1, 2, 3, 6]].tolist() == pytest.approx([2 / 3] * 4)
    assert advantage_N[starts[1]] == advantage_N[starts[2]] == pytest.approx(-1 / 3)
    known = tree.sampled_N
    assert advantage_N[known].tolist() == pytest.approx(group_mean(tree, normalize="none").values_N[known].tolist())


def test_the_system_prompt_is_the_prompt_and_the_hidden_instruction_is_in_no_text(tmp_path):
    (record,) = read(written(tmp_path, trial(0, 1.0, system="Policy.")))
    assert record.tree.problem.prompt == "Policy." and record.tree.steps[1].context == "Policy.\n\nHi\n"
    (record,) = read(written(tmp_path, trial(0, 1.0)), system="Rules.")
    assert record.tree.problem.prompt == "Rules." and record.tree.steps[1].context == "Rules.\n\nHi\n"
    texts = [record.tree.problem.prompt, *(f"{step.text}{step.context}" for step in record.tree.steps)]
    assert not any("HIDDEN" in text for text in texts)


def test_a_trial_that_ends_in_a_call_has_no_answer(tmp_path):
    row = trial(0, 0.0)
    row["traj"] = row["traj"][:3]
    (record,) = read(written(tmp_path, row))
    assert [step.kind for step in record.tree.steps[1:]] == ["reason", "tool_call", "tool_call", "tool_result"]


def test_a_trial_that_nobody_scored_has_no_outcome_and_takes_no_part(tmp_path):
    records = list(read(written(tmp_path, trial(0, None), trial(1, 1.0), trial(2, 0.0))))
    assert [record.tree.outcomes[-1] for record in records] == [None, Outcome(1.0, True), Outcome(0.0, False)]
    (record,) = group(records)
    credit = group_mean(record.tree, normalize="none")
    ends = [credit.values_N[leaf - 1] for leaf in record.tree.leaves]  # "Bye", before the user's last turn
    assert ends[1:] == [0.5, -0.5] and math.isnan(ends[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trial": -1}, r"line 1: field 'trial': got -1; allowed: a whole number from 0"),
        ({"reward": "no"}, r"field 'reward': got 'no'; allowed: a finite number"),
        ({"traj": [{"role": "user", "content": "Hi"}]}, r"field 'traj': no step found: looked for assistant text"),
        ({"traj": [{"role": "assistant", "content": "Hi"}]}, r"a user message, and no tool result, before"),
        ({"traj": [{"role": "tool", "content": "r"}, {"role": "assistant", "content": "Hi"}]}, "no tool result, before"),
        ({"traj": [{"role": "user", "content": 5}, {"role": "assistant", "content": "x"}]}, "message 0: content is 5"),
        ({"task_id": 1.5}, r"field 'task_id': got 1.5; allowed: text or a whole number"),
        ({"info": {"task": {"actions": [{"kwargs": {}}]}}}, r"field 'info.task.actions\[0\].name' is missing"),
    ],
)  # fmt: skip
def test_rows_that_are_no_trial_are_named(tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        list(read(written(tmp_path, trial(0, 1.0) | change)))


def test_a_trial_without_the_field_is_no_trial_that_nobody_scored(tmp_path):
    row = {name: value for name, value in trial(0, 1.0).items() if name != "reward"}
    with pytest.raises(ValueError, match=r"line 1: field 'reward' is missing; needed: a number, null where nobody"):
        list(read(written(tmp_path, row), format="tau_bench"))


def test_sources_survive_grouping_and_the_native_file(tmp_path):
    grouped = group(read(written(tmp_path, trial(0, 1.0), trial(1, 0.0))))
    for name in ("a.jsonl", "a.parquet"):
        write(tmp_path / name, grouped)
        (found,) = read(tmp_path / name)
        assert found.tree.problem.meta == grouped[0].tree.problem.meta and found.tree.steps == grouped[0].tree.steps


def test_the_recorded_airline_trials_make_twenty_stars_of_four():
    path = DATA / "tau_bench" / "gpt4o_airline.dev.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    records = group(read(path))
    assert len(records) == 20 and {len(record.tree.leaves) for record in records} == {4}
    num_right = sum(bool(outcome and outcome.correct) for record in records for outcome in record.tree.outcomes)
    assert num_right == 34
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        hidden = {str(row["task_id"]): row["info"]["task"]["instruction"] for row in map(json.loads, lines)}
    for record in records:
        texts = [record.tree.problem.prompt, *(f"{step.text}{step.context}" for step in record.tree.steps)]
        assert not any(hidden[record.tree.problem.id] in text for text in texts)
        assert hidden[record.tree.problem.id] not in json.dumps(record.tree.problem.meta, ensure_ascii=False)
