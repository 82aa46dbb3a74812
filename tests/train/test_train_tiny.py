import json
import random

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

from stepcredit.core.rng import rng
from stepcredit.train import tiny
from stepcredit.train.tiny import build_tokenizer, tiny_config, train_language_model

SUMS = [f"{a}+{b}={a + b}" for a in range(5) for b in range(5)]
SMALL = {"hidden": 16, "layers": 1, "heads": 2, "num_updates": 8, "batch_size": 4, "progress": False}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def pieces(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_arithmetic_splits_into_numbers_and_signs_with_the_space_attached():
    text = "3 +4 *12\n3+4=7"
    assert pieces(build_tokenizer([text]), text) == ["3", " +", "4", " *", "12", "\n", "3", "+", "4", "=", "7"]


def test_words_keep_their_hyphens():
    text = "(pick-up b) a:table+"
    assert pieces(build_tokenizer([text]), text) == ["(", "pick-up", " b", ")", " a", ":", "table", "+"]


@pytest.mark.parametrize(
    "text", ["3 +4\n\n3+4=2\n", "(unstack a b)\n(put-down a)", " two  spaces\tand é ", "[ ] ( ) { }", "x-"]
)
def test_decoding_restores_the_text(text):
    for kind in ("word", "bpe"):
        tokenizer = build_tokenizer([text], kind=kind, vocab_size=300)
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_bytes_restore_text_never_seen_and_have_no_unknown():
    tokenizer = build_tokenizer(SUMS, kind="bpe", vocab_size=300)
    assert tokenizer.decode(tokenizer("Ünseen 漢字 \n")["input_ids"], skip_special_tokens=True) == "Ünseen 漢字 \n"
    assert tokenizer.unk_token is None


def test_a_word_seen_without_space_is_known_with_one():
    assert pieces(build_tokenizer(["a b"]), "b a") == ["b", " a"]


def test_words_beyond_the_vocabulary_are_unknown():
    # 4 special tokens, then "a" (3 times) and " a"; "b" (once) has no room.
    assert pieces(build_tokenizer(["a a a b"], vocab_size=6), "a b") == ["a", "<unk>"]


def test_special_tokens_have_fixed_ids_and_encoding_starts_with_bos():
    for kind in ("word", "bpe"):
        tokenizer = build_tokenizer(SUMS, kind=kind, vocab_size=300)
        assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
        assert tokenizer("1+1")["input_ids"][0] == 1


def test_extra_tokens_are_single_and_survive_decoding():
    tokenizer = build_tokenizer(SUMS, extra_tokens=["<step>"])
    ids = tokenizer("1+1=2<step>", add_special_tokens=False)["input_ids"]
    assert len(ids) == 6 and tokenizer.decode(ids, skip_special_tokens=True) == "1+1=2<step>"


def test_tokenizer_mistakes_are_named():
    with pytest.raises(ValueError, match=r"'chars'; allowed: word, bpe"):
        build_tokenizer(SUMS, kind="chars")
    with pytest.raises(ValueError, match="needs texts"):
        build_tokenizer([""])
    with pytest.raises(ValueError, match="260 or more"):
        build_tokenizer(SUMS, kind="bpe", vocab_size=200)


def test_training_lowers_the_loss_and_the_folder_loads_anywhere(tmp_path):
    folder = train_language_model(SUMS, tmp_path, **{**SMALL, "num_updates": 60})
    losses = json.loads((folder / "training.json").read_text())["losses"]
    assert losses[-1] < losses[0]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer("1+1")["input_ids"] == build_tokenizer(SUMS)("1+1")["input_ids"]
    assert model.config.model_type == "llama" and model.dtype == torch.float32
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_a_second_call_returns_the_same_folder_at_once(tmp_path, monkeypatch):
    folder = train_language_model(SUMS, tmp_path, **SMALL)
    monkeypatch.setattr(tiny, "Trainer", None)  # training again would fail
    assert train_language_model(SUMS, tmp_path, **SMALL) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_the_same_seed_gives_the_same_bytes_and_another_argument_another_folder(tmp_path):
    first = train_language_model(SUMS, tmp_path / "a", **SMALL)
    again = train_language_model(SUMS, tmp_path / "b", **SMALL)
    other = train_language_model(SUMS, tmp_path / "a", **SMALL, seed=1)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]
    assert weights[0] == weights[1] != weights[2] and first.name == again.name != other.name


def test_an_interrupted_training_leaves_nothing(tmp_path, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny.Trainer, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        train_language_model(SUMS, tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_global_random_state_is_given_back(tmp_path):
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    train_language_model(SUMS, tmp_path, **SMALL)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected


def test_a_text_that_does_not_fit_is_named(tmp_path):
    # <bos>, nine tokens, <eos>
    with pytest.raises(ValueError, match="text 1 has 11 tokens; max_positions allows 8"):
        train_language_model(["1+1", "1+1+1+1+1"], tmp_path, max_positions=8, **SMALL)


def test_padding_carries_no_loss():
    batch = tiny._collate([{"input_ids": [1, 5, 2]}, {"input_ids": [1, 2]}])
    assert batch["input_ids"].tolist() == [[1, 5, 2], [1, 2, 0]]
    assert batch["labels"].tolist() == [[1, 5, 2], [1, 2, -100]]


def test_batches_hold_similar_lengths_and_a_pass_every_text_once():
    rows = [{"input_ids": [1] * length} for length in range(2, 66)]
    order = tiny._order(rows, 8, 8, rng(0))
    lengths = np.array([len(row["input_ids"]) for row in order]).reshape(8, 8)
    # 64 texts of 64 lengths in 8 batches: sorted within the pass, each batch spans 8 neighbouring lengths.
    assert (np.ptp(lengths, axis=1) == 7).all() and sorted(lengths.ravel()) == list(range(2, 66))
    assert list(lengths[:, 0]) != sorted(lengths[:, 0])


def test_a_judge_can_be_built_from_the_same_config():
    config = tiny_config(build_tokenizer(SUMS), hidden=16, layers=1, heads=2)
    config.num_labels = 2
    judge = AutoModelForTokenClassification.from_config(config)
    assert judge(torch.tensor([[1, 4, 5]])).logits.shape == (1, 3, 2)
    with pytest.raises(ValueError, match="multiple of 12"):
        tiny_config(build_tokenizer(SUMS), hidden=16, heads=6)


@pytest.mark.slow
def test_the_small_model_learns_chains_modulo_five(tmp_path):
    from stepcredit.policy.hf import hf
    from stepcredit.rollout.chains import chains
    from stepcredit.tasks.chain import chain

    task, stream = chain(), rng(0, "demonstrations")
    problems = task.problems(4200, stream)
    texts = [
        "\n".join([problem.prompt, *(step.text for step in task.demonstrate(problem, stream))])
        for problem in problems[:4000]
        for _ in range(4)
    ]
    policy = hf(str(train_language_model(texts, tmp_path, num_updates=1000, progress=False)))
    trees = chains(problems[4000:], policy=policy, rng=rng(0, "attempts"), num=4)
    ours, theirs = [], []
    for tree in trees:
        ours += [o.correct for o in task.verify(tree.problem, [tree.solution(leaf) for leaf in tree.leaves])]
        attempts = [task.demonstrate(tree.problem, stream) for _ in range(4)]
        theirs += [o.correct for o in task.verify(tree.problem, attempts)]
    # It imitates its demonstrator, slips included; 800 attempts each have a standard error of .025.
    assert abs(np.mean([bool(o) for o in ours]) - np.mean(theirs)) < 0.1
