"""docs/use-with-trainers.md is executed: its commands, then its code, block by block, in one folder."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from stepcredit.cli import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "use-with-trainers.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def block(marker):
    (found,) = [each for each in blocks("python") if marker in each]
    return found


def run(code):
    exec(compile(code, PAGE.name, "exec"), {})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """attempts.jsonl, trials.jsonl and a policy of one layer with random weights, in the working directory."""
    import torch
    from transformers import LlamaForCausalLM

    from stepcredit.train.tiny import build_tokenizer, tiny_config

    rows = [{"problem": f"{a} + 1 = ?", "attempt": f"{a} + 1\nis {a + 1 + wrong}", "correct": not wrong, "answer": a + 1}
            for a in range(3) for wrong in range(2)]  # fmt: skip
    (tmp_path / "attempts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    trials = [{"task_id": 0, "trial": n, "reward": float(n), "info": {}, "traj": [
        {"role": "user", "content": f"Hi {n}"}, {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "content": "seen"}, {"role": "tool", "content": "seen"}, {"role": "assistant", "content": "So."},
    ]} for n in range(2)]  # fmt: skip
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trials))
    tokenizer = build_tokenizer([row["problem"] + "\n" + row["attempt"] for row in rows], max_positions=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=64))
    network.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("one_thread")
def test_the_commands_run_and_the_code_reads_what_they_write(folder):
    import pyarrow.parquet

    given = [shlex.split(line)[1:] for each in blocks("bash") for line in each.splitlines()]
    assert len(given) == 3
    for command in given:
        assert main(command) == 0
    assert pyarrow.parquet.read_table("advantages.parquet").num_rows == 6

    found = {}
    before = Path("policy/model.safetensors").read_bytes()
    exec(compile(block("optimizer.step()"), PAGE.name, "exec"), found)
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in found["policy"].parameters()
    )
    assert Path("policy/model.safetensors").read_bytes() == before
    exec(compile(block("trained in zip"), PAGE.name, "exec"), found)
    assert len(found["advantages"]) == sum(found["row"]["loss_mask"]) > 0
    run(block("tool_calls"))
    calls = [step for row in map(json.loads, Path("calls.jsonl").read_text().splitlines()) for step in row["steps"]
             if step["kind"] == "tool_call"]  # fmt: skip
    assert [(step["message"], step["call"], step["advantage"]) for step in calls] == [
        (1, 0, -0.5), (1, 1, -0.5), (1, 0, 0.5), (1, 1, 0.5),
    ]  # fmt: skip


def test_every_column_of_a_row_is_in_the_table_and_nothing_else(folder):
    given = ["--method", "sibling", "--write_as", "advantages", "--tokenizer", "policy"]
    assert main(["credit", "attempts.jsonl", "rows.jsonl", *given]) == 0
    row = json.loads(Path("rows.jsonl").read_text().splitlines()[0])
    table = PAGE.read_text(encoding="utf-8").split("| column | |")[1].split("\n\n")[0]
    columns = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(columns) == sorted(row)
    said = re.findall(
        r"`(\w+)`", next(line for line in table.splitlines() if line.startswith("| `steps`")).split("|")[2]
    )
    assert set(row["steps"][0]) <= set(said)


def test_the_estimators_compute_what_the_page_says():
    run(block("verl_estimator(rewards, mask"))
    run(block("skyrl_estimator(rewards, mask"))


@pytest.mark.parametrize("trainer", ["verl", "skyrl"])
def test_registration_runs_or_names_what_is_missing(trainer):
    code = block(f"register_with_{trainer}(rewards=")
    if importlib.util.find_spec(trainer) is not None:
        pytest.skip(f"{trainer} is installed: tests/train")
    with pytest.raises(RuntimeError, match=f"{'verl' if trainer == 'verl' else 'SkyRL'} cannot be imported"):
        run(code)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed")
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_the_reward_function_trains_in_trl(folder):
    found = {}
    exec(compile(block("trl_reward(verifier"), PAGE.name, "exec"), found)
    state = found["trainer"].state
    assert state.global_step == 1 and "rewards/stepcredit/mean" in state.log_history[0]
