"""Two tracks of supervised fine-tuning: what is learnt of each row, and where the end token is."""

import json

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from stepcredit.train.tiny import build_tokenizer, tiny_config
from stepcredit.train.tracks import fine_tune_tracks, track_rows

pytestmark = pytest.mark.usefixtures("one_thread")
REASONING = ("2 +3\n", "2+3=0\n<eoc>\n", False)
EVALUATION = ("2 +3\n2+3=0\n<eoc>\n", "1\n1 1", True)


@pytest.fixture
def folder(tmp_path):
    tokenizer = build_tokenizer(["2 +3\n2+3=0\n", "1\n1 1"], extra_tokens=("<eoc>",), max_positions=48)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=48))
        network.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


def learnt(tokenizer, row):
    return tokenizer.decode([label for label in row["labels"] if label != -100])


def test_each_track_learns_its_own_part_and_only_one_ends(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reasoning, evaluation = track_rows(tokenizer, [REASONING, EVALUATION])
    assert learnt(tokenizer, reasoning) == "2+3=0\n<eoc>\n"
    assert learnt(tokenizer, evaluation) == "1\n1 1<eos>"
    assert tokenizer.eos_token_id not in reasoning["input_ids"]
    # The real end is never learnt behind the answer, nor behind its marker.
    marker = tokenizer.convert_tokens_to_ids("<eoc>")
    for ids in (reasoning["input_ids"], evaluation["input_ids"]):
        assert ids.count(marker) == 1 and ids[ids.index(marker) + 1] != tokenizer.eos_token_id


def test_training_goes_on_until_the_tokens_are_spent_and_is_found_again(folder, tmp_path):
    made = fine_tune_tracks(folder, [REASONING, EVALUATION], tmp_path, num_tokens=130, batch_size=2, learning_rate=1e-2)
    # 8 + 5 learnt tokens a pair: "2+3=0", "\n", "<eoc>", "\n"; "1", "\n", "1", " 1", end. 130 / 13 = 10 updates of two rows.
    assert json.loads((made / "training.json").read_text())["num_updates"] == 10
    again = fine_tune_tracks(
        folder, [REASONING, EVALUATION], tmp_path, num_tokens=130, batch_size=2, learning_rate=1e-2
    )
    other = fine_tune_tracks(
        folder, [(*REASONING[:2], True), EVALUATION], tmp_path, num_tokens=130, batch_size=2, learning_rate=1e-2
    )
    assert again == made and other != made


def test_wrong_numbers_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="0 examples"):
        fine_tune_tracks(folder, [], tmp_path, num_tokens=1)
    with pytest.raises(ValueError, match="no model folder"):
        fine_tune_tracks(tmp_path / "nothing", [REASONING], tmp_path, num_tokens=1)
