"""Fine-tuning on chosen attempts: only continuations are learnt, the old model stays, the same call gives the same folder."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from stepcredit.policy.hf import hf
from stepcredit.train._tuned import key_of
from stepcredit.train.sft import _rows, fine_tune
from stepcredit.train.tiny import _collate, build_tokenizer, train_language_model

SUMS = [f"{a} +{b}\n{a}+{b}={a + b}" for a in range(4) for b in range(4)]
WAYS = {"num_updates": 30, "batch_size": 4, "learning_rate": 3e-3, "progress": False}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_language_model(SUMS, tmp_path_factory.mktemp("lm"), hidden=16, layers=1, heads=2, num_updates=10,
                                batch_size=4, max_positions=64, progress=False)  # fmt: skip


def test_nothing_is_learnt_of_a_prefix_and_all_of_what_follows_it():
    tokenizer = build_tokenizer(SUMS)
    (row,) = _rows(tokenizer, [("3 +1\n", "3+1=4")])
    spelt = tokenizer.convert_ids_to_tokens(row["input_ids"])
    assert spelt == ["<bos>", "3", " +", "1", "\n", "3", "+", "1", "=", "4", "<eos>"]
    assert row["labels"] == [-100] * 5 + row["input_ids"][5:]
    (ended,) = _rows(tokenizer, [("3 +1\n", "")])
    assert ended["labels"] == [-100] * 5 + [tokenizer.eos_token_id]
    batch = _collate([row, {"input_ids": [1, 5], "labels": [-100, 5]}])
    assert batch["input_ids"][1].tolist() == [1, 5] + [0] * 9 and batch["labels"][1].tolist() == [-100, 5] + [-100] * 9


def test_what_is_shown_becomes_likelier_and_the_old_model_stays(model, tmp_path):
    before = {name: value.clone() for name, value in AutoModelForCausalLM.from_pretrained(model).state_dict().items()}
    examples = [("3 +3\n", "3+3=1"), ("2 +2\n", "2+2=1")]
    folder = fine_tune(model, examples, tmp_path, **WAYS)
    shown = [prefix for prefix, _ in examples], [continuation for _, continuation in examples]
    old, new = hf(str(model)).logprob(*shown), hf(str(folder)).logprob(*shown)
    assert np.all(new > old + 1.0)
    after = AutoModelForCausalLM.from_pretrained(model).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_same_call_finds_its_folder_and_another_gives_another(model, tmp_path):
    examples = [("3 +3\n", "3+3=6")]
    few = {**WAYS, "num_updates": 2}
    first = fine_tune(model, examples, tmp_path, **few)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert fine_tune(model, examples, tmp_path, **few) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    others = [fine_tune(model, [("3 +3\n", "3+3=5")], tmp_path, **few), fine_tune(first, examples, tmp_path, **few),
              fine_tune(model, examples, tmp_path, **{**few, "seed": 1})]  # fmt: skip
    assert len({first, *others}) == 4 and not list(tmp_path.glob(".unfinished-*"))
    again = fine_tune(model, examples, tmp_path / "elsewhere", **few)
    assert (again / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("examples", "knobs", "said"),
    [
        ([], {}, "0 examples"),
        ([("a", "b")], {"num_updates": 0}, "num_updates 0"),
    ],
)
def test_wrong_input_is_named(model, tmp_path, examples, knobs, said):
    with pytest.raises(ValueError, match=said):
        fine_tune(model, examples, tmp_path, **knobs)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(ValueError, match="no model folder with safetensors"):
        fine_tune(tmp_path, [("a", "b")], tmp_path)


def other_tokenizer(model, folder, change):
    """A copy of the model folder with a changed tokenizer."""
    shutil.copytree(model, folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return folder


def test_another_tokenizer_is_another_training(model, tmp_path):
    other = other_tokenizer(model, tmp_path / "other", {"truncation": None, "note": "read by nobody"})
    assert key_of(other, [("a", "b")], {}) != key_of(model, [("a", "b")], {})
    again = other_tokenizer(model, tmp_path / "again", {"truncation": None, "note": "read by nobody"})
    assert key_of(other, [("a", "b")], {}) == key_of(again, [("a", "b")], {})


def test_a_tokenizer_without_an_end_token_is_named(model, tmp_path):
    folder = other_tokenizer(model, tmp_path / "endless", {})
    path = folder / "tokenizer_config.json"
    given = {name: value for name, value in json.loads(path.read_text()).items() if name != "eos_token"}
    path.write_text(json.dumps(given))
    with pytest.raises(ValueError, match="endless' has no end token; allowed: one with an eos_token"):
        fine_tune(folder, [("3 +3\n", "3+3=6")], tmp_path, **WAYS)
    assert not list(tmp_path.glob("sft-*"))
