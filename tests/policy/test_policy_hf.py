import time

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from stepcredit.core.protocols import Policy
from stepcredit.core.registry import bind
from stepcredit.core.rng import rng
from stepcredit.policy.hf import HFPolicy, hf
from stepcredit.train.tiny import build_tokenizer, tiny_config

TEXTS = ["3 +4 *0 -2\n3+4=2\n2*0=0\n", "1 -2\n1-2=4\n"]
PREFIXES = ["3 +4\n", "1 -2 *3 +4 -1\n", "2\n"]


def network(tokenizer, kind="llama", seed=0):
    """An untrained model, its weights large enough that its probabilities are far from uniform."""
    torch.manual_seed(seed)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=1,
                            eos_token_id=2, pad_token_id=0, initializer_range=0.5)  # fmt: skip
        return GPT2LMHeadModel(config)
    config = tiny_config(tokenizer, hidden=16, layers=2, heads=2, max_positions=64)
    config.initializer_range = 0.5
    return LlamaForCausalLM(config)


def policy(kind="llama", tokenizer="word", **knobs):
    own = build_tokenizer(TEXTS, kind=tokenizer, vocab_size=300)
    return HFPolicy(network(own, kind), own, **knobs)


def token_logprobs(own, prefix, ids):
    """Log-probability of each token, by one forward pass without cache or padding."""
    start = own.tokenizer(prefix)["input_ids"]
    with torch.no_grad():
        logprob_TV = own.model(torch.tensor([[*start, *ids]])).logits[0].log_softmax(-1)
    return [logprob_TV[len(start) - 1 + t, token].item() for t, token in enumerate(ids)]


def test_it_is_a_policy():
    assert isinstance(policy(), Policy)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_sampled_logprobs_are_those_of_a_plain_forward_pass(kind):
    # Prefixes of different lengths in one batch, rows dropping out as they end.
    own = policy(kind)
    for prefix, group in zip(PREFIXES, own.sample(PREFIXES, 6, rng(0), max_new_tokens=20), strict=True):
        for completion in group:
            assert completion.logprobs == pytest.approx(token_logprobs(own, prefix, completion.token_ids), abs=1e-4)


def test_frequencies_follow_the_probabilities():
    own = policy()
    group = own.sample(["3 +4\n"], 4000, rng(0), max_new_tokens=1)[0]
    counts = np.bincount([completion.token_ids[0] for completion in group], minlength=own.model.config.vocab_size)
    p_V = np.exp([token_logprobs(own, "3 +4\n", [token])[0] for token in range(len(counts))])
    # Five standard errors of a share at 4,000 draws, and a little for shares near 0.
    assert np.all(np.abs(counts / 4000 - p_V) < 5 * np.sqrt(p_V / 4000) + 1e-3)


def test_the_same_generator_gives_the_same_completions_whatever_the_batch_size():
    first = policy().sample(PREFIXES, 5, rng(3), max_new_tokens=12)
    assert policy().sample(PREFIXES, 5, rng(3), max_new_tokens=12) == first
    texts = [
        [completion.text for completion in group]
        for group in policy(batch_size=4).sample(PREFIXES, 5, rng(3), max_new_tokens=12)
    ]
    assert texts == [[completion.text for completion in group] for group in first]
    assert policy().sample(PREFIXES, 5, rng(4), max_new_tokens=12) != first


def test_the_global_random_state_is_not_touched():
    own = policy()
    torch.manual_seed(5), np.random.seed(5)
    expected = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(5), np.random.seed(5)
    own.sample(PREFIXES, 2, rng(0), max_new_tokens=5)
    assert (torch.rand(1).item(), np.random.rand()) == expected


def test_repeated_prefixes_get_their_own_completions():
    groups = policy().sample(["3 +4\n", "3 +4\n"], 8, rng(0), max_new_tokens=8)
    assert [len(group) for group in groups] == [8, 8] and groups[0] != groups[1]


def test_text_ends_before_the_stop_string_and_the_tokens_after_it():
    own = policy(temperature=4.0)
    for stop in (["\n"], ["=2", "+4", "*0"]):
        group = own.sample(["3 +4\n"], 50, rng(0), stop=stop, max_new_tokens=40)[0]
        stopped = [c for c in group if c.finish == "stop" and c.token_ids[-1] != own.tokenizer.eos_token_id]
        assert stopped
        for completion in stopped:
            whole = own.tokenizer.decode(completion.token_ids, skip_special_tokens=True)
            cut = min(whole.find(mark) for mark in stop if mark in whole)
            assert completion.text == whole[:cut]
            assert not any(mark in own.tokenizer.decode(completion.token_ids[:-1]) for mark in stop)


def test_a_completion_without_end_is_cut_by_length():
    completions = policy().sample(PREFIXES, 8, rng(0), max_new_tokens=3)
    for completion in (completion for group in completions for completion in group):
        ended = completion.token_ids[-1] == 2
        assert (completion.finish == "stop") == ended and len(completion.token_ids) <= 3
        assert ended or len(completion.token_ids) == 3


def test_zero_temperature_and_a_tiny_nucleus_take_the_likeliest_token():
    greedy, nucleus = policy(temperature=0), policy(top_p=1e-6)
    (first,) = greedy.sample(["3 +4\n"], 1, rng(0), max_new_tokens=6)
    ids = greedy.tokenizer("3 +4\n")["input_ids"]
    with torch.no_grad():
        assert first[0].token_ids[0] == greedy.model(torch.tensor([ids])).logits[0, -1].argmax()
    assert nucleus.sample(["3 +4\n"], 1, rng(1), max_new_tokens=6)[0][0].token_ids == first[0].token_ids


def test_a_nucleus_of_half_leaves_out_the_tail():
    own = policy(top_p=0.5)
    p_V = np.exp([token_logprobs(own, "3 +4\n", [token])[0] for token in range(own.model.config.vocab_size)])
    order = np.argsort(-p_V)
    allowed = set(order[: int(np.searchsorted(p_V[order].cumsum(), 0.5)) + 1])
    seen = {c.token_ids[0] for c in own.sample(["3 +4\n"], 500, rng(0), max_new_tokens=1)[0]}
    assert seen <= allowed


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_logprob_sums_the_tokens_of_the_continuation(kind):
    own = policy(kind, batch_size=2)
    continuations = ["3+4=2", "1-2=4\n4*3=2", ""]
    expected = [
        sum(token_logprobs(own, p, own.tokenizer(c, add_special_tokens=False)["input_ids"]))
        for p, c in zip(PREFIXES, continuations, strict=True)
    ]
    assert own.logprob(PREFIXES, continuations) == pytest.approx(expected, abs=1e-4)
    assert expected[2] == 0.0
    with pytest.raises(ValueError, match="3 prefixes need as many continuations, got 1"):
        own.logprob(PREFIXES, ["1"])


def test_a_token_across_the_border_is_scored_alone():
    # "1" + "2" would be the one token "12"; the continuation is then the token "2" behind "1".
    own = build_tokenizer([*TEXTS, "12"])
    two = HFPolicy(network(own), own)
    assert two.logprob(["1"], ["2"]) == pytest.approx(
        token_logprobs(two, "1", own("2", add_special_tokens=False)["input_ids"]), abs=1e-4
    )


def test_an_empty_prefix_starts_at_the_start_token():
    own = policy()
    completion = own.sample([""], 1, rng(0), max_new_tokens=4)[0][0]
    assert completion.logprobs == pytest.approx(token_logprobs(own, "", completion.token_ids), abs=1e-4)


def test_token_ends_point_into_the_text():
    own = policy(tokenizer="bpe")
    ids = own.tokenizer("3+é 漢\n", add_special_tokens=False)["input_ids"]
    ends = own.token_ends([*ids, own.tokenizer.eos_token_id])
    assert ends == sorted(ends) and ends[-1] == ends[-2] == len("3+é 漢\n")
    assert ends[0] == 1 and 3 in ends


def test_a_stop_character_of_several_tokens_is_looked_for_behind_its_last():
    own = policy(tokenizer="bpe")
    ids = own.tokenizer("é", add_special_tokens=False)["input_ids"]
    assert len(ids) == 2 and own._may_complete(["é"])[ids[-1]]
    # A token that cannot end the stop string costs no decoding.
    assert not own._may_complete(["é"])[own.tokenizer("3", add_special_tokens=False)["input_ids"][0]]


def test_cost_adds_up_what_was_read_and_written():
    own = policy()
    groups = own.sample(["3 +4\n", "3 +4\n"], 3, rng(0), max_new_tokens=5)
    assert own.cost.generated_tokens == sum(len(c.token_ids) for group in groups for c in group)
    assert own.cost.forwarded_tokens == 5  # <bos> 3 " +" 4 \n, once for all six rows
    own.logprob(["3 +4\n"], ["3+4=2"])
    assert own.cost.forwarded_tokens == 15 and own.cost.seconds > 0


def test_no_prefix_gives_nothing():
    assert policy().sample([], 3, rng(0)) == [] and policy().logprob([], []).shape == (0,)


def test_the_positions_of_the_model_are_a_limit():
    own = policy("gpt2")
    cut = own.sample(["1 " * 30], 4, rng(0), max_new_tokens=100)[0]
    assert all(len(c.token_ids) <= 64 - 32 + 30 for c in cut)
    with pytest.raises(ValueError, match="the model has 64 positions"):
        own.sample(["1 " * 70], 1, rng(0))
    with pytest.raises(ValueError, match="the model has 64"):
        own.logprob(["1 " * 70], ["1"])


def test_knobs_out_of_range_are_named():
    for knobs in ({"batch_size": 0}, {"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(ValueError, match="allowed"):
            policy(**knobs)
    with pytest.raises(ValueError, match="strings that are not empty"):
        policy().sample(PREFIXES, 1, rng(0), stop=[""])
    with pytest.raises(ValueError, match="num 0"):
        policy().sample(PREFIXES, 0, rng(0))


def test_a_saved_folder_loads_through_the_registry(tmp_path):
    own = policy()
    own.model.save_pretrained(tmp_path / "model")
    own.tokenizer.save_pretrained(tmp_path / "model")
    loaded = bind("policy", "hf", batch_size=8)(str(tmp_path / "model"))
    expected = own.sample(PREFIXES, 2, rng(0), max_new_tokens=6)
    assert loaded.sample(PREFIXES, 2, rng(0), max_new_tokens=6) == expected
    with pytest.raises(ValueError, match="'float8'; allowed: auto, float32"):
        hf(str(tmp_path / "model"), dtype="float8")


@pytest.mark.parametrize(
    "name", ["./no-model", "/no/model", "~/no-model", "a/b/c", "tests/no-model", "a//b", "no-model/", ""]
)
def test_a_missing_folder_is_said_at_once(name, monkeypatch):
    monkeypatch.setattr("stepcredit.policy.hf.HfApi", None)  # asking the hub would fail otherwise
    monkeypatch.chdir(__file__.rsplit("/tests/", 1)[0])
    start = time.perf_counter()
    with pytest.raises(ValueError, match="model folder"):
        hf(name)
    assert time.perf_counter() - start < 0.5


def test_a_folder_without_a_model_and_a_broken_one_are_said(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        hf(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="cannot be loaded"):
        hf(str(tmp_path))


@pytest.mark.parametrize("name", ["no-such-owner/no-such-model", "no-such-model"])
def test_a_hub_name_is_not_waited_for_when_the_hub_is_off(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="hub"):
        hf(name)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_texts_that_begin_one_another_are_read_once_with_the_same_answers(kind):
    own, slow = policy(kind), policy(kind)
    steps = ["3+4=2\n", "2*0=0\n", "", "0-2=3"]
    prefixes = ["3 +4 *0 -2\n" + "".join(steps[:at]) for at in range(4)] + ["1 -2\n"]
    continuations = [*steps, "1-2=4"]
    found = own.logprob(prefixes, continuations)
    alone = [slow.logprob([p], [c])[0] for p, c in zip(prefixes, continuations, strict=True)]
    assert np.allclose(found, alone, rtol=0, atol=1e-5) and found[2] == 0
    whole = ["3 +4 *0 -2\n3+4=2\n2*0=0\n0-2=3", "1 -2\n1-2=4"]
    assert own.cost.forwarded_tokens == sum(len(own.tokenizer(text)["input_ids"]) for text in whole)
    assert slow.cost.forwarded_tokens > 2 * own.cost.forwarded_tokens
