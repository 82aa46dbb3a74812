"""Scores with beginnings read once are those of each attempt alone: padding, windows, families, problems side by side."""

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    Qwen2Config,
)

from stepcredit.core.layout import Encoded, pad
from stepcredit.core.readout import Readout
from stepcredit.judge._manifest import Manifest
from stepcredit.judge._scoring import ScorerJudge, score
from stepcredit.judge.head import HeadScorer, quiet
from stepcredit.judge.shared_head import SharedHeadScorer
from stepcredit.train.tiny import build_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = {
    "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32,
    "max_position_embeddings": 256,
}  # fmt: skip
BACKBONES = {
    "llama": LlamaConfig(**SIZES),
    "grouped": LlamaConfig(**SIZES, num_key_value_heads=2),
    "window": MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=7),
    "half_window": Qwen2Config(**SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=7, max_window_layers=1),
    "softcap": Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=4, sliding_window=7),
    "learned_positions": GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=4, n_positions=256),
    "half_rotary": GPTNeoXConfig(**SIZES),
}  # fmt: skip
ENCODERS = {"bert": BertConfig(**SIZES), "modernbert": ModernBertConfig(**SIZES, pad_token_id=0)}
TOKENIZER = build_tokenizer(["2+3=5\n5*4=20"], kind="bpe", vocab_size=290)


def scorer(name, seed=0, **knobs):
    """A random backbone with a random head, scores well apart."""
    with quiet():
        found = HeadScorer.create({**BACKBONES, **ENCODERS}[name], tokenizer=TOKENIZER, seed=seed, **knobs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, weight in found.model.named_parameters():
            if weight.ndim == 2 and "score" not in name:
                torch.nn.init.normal_(weight, std=0.3)
        for name in ("score", "classifier"):
            if hasattr(found.model, name):
                torch.nn.init.normal_(getattr(found.model, name).weight, std=1.0)
    return found.eval()


def pool(seed=0, num_problems=3, num_attempts=6):
    """Attempts that branch off a prompt, off each other, repeat each other, or stand alone; reads where a step ends."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num_problems):
        prompt = rng.integers(3, 290, rng.integers(20, 50)).tolist()
        attempts = []
        for _ in range(num_attempts):
            trunk = attempts[rng.integers(len(attempts))] if attempts and rng.random() < 0.5 else []
            attempts.append([*trunk[: rng.integers(len(trunk) + 1)], *rng.integers(3, 290, rng.integers(5, 40))])
        attempts.append(attempts[0])
        found += [(prompt, attempt) for attempt in attempts]
    found.append((rng.integers(3, 290, 30).tolist(), []))
    # A position is read or not by its token, so that equal beginnings are cut into equal steps.
    encoded = []
    for prompt, attempt in found:
        ids = np.array([*prompt, *attempt, 299])
        encoded.append(Encoded(ids, np.array([t for t in range(len(prompt), len(ids)) if ids[t] % 6 == 5])))
    assert all(len(one.read_S) for one in encoded)
    return encoded


def padded(own, encoded):
    """The plain way: all attempts in one padded batch, each read whole."""
    token_ids_BT, attention_BT, read_BS, _ = pad(encoded, own.pad_id)
    with own.reading():
        logit_BSC = own.logits(token_ids_BT, attention_BT, read_BS)
    return [logit_SC[: len(one.read_S)] for logit_SC, one in zip(logit_BSC, encoded, strict=True)]


def read(own, encoded, token_budget=16384):
    with own.reading():
        return score(own, encoded, token_budget)


def probability(logit_SC):
    return 1 / (1 + np.exp(-logit_SC))


@pytest.fixture(params=[1.0, 16.0])
def call_cost(request, monkeypatch):
    """At one token a call every shared beginning is read on its own; at 16 some are."""
    monkeypatch.setattr("stepcredit.judge._scoring.CALL_TOKENS", {"cpu": request.param})


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("seed", range(2))
def test_scores_are_those_of_each_attempt_alone(name, seed, call_cost):
    own, encoded = scorer(name, seed), pool(seed)
    assert own.continues
    rows = read(own, encoded)
    assert sum(row.tokens for row in rows) < 0.8 * sum(len(one.token_ids_T) for one in encoded)
    for row, plain_SC in zip(rows, padded(own, encoded), strict=True):
        assert np.abs(probability(row.logit_SC) - probability(plain_SC)).max() < 1e-5
    assert np.ptp(np.concatenate([row.logit_SC for row in rows])) > 1


@pytest.mark.parametrize("budget", [1, 60, 150])
def test_scores_do_not_depend_on_the_token_budget(budget, call_cost):
    own, encoded = scorer("window"), pool()
    for row, plain_SC in zip(read(own, encoded, budget), padded(own, encoded), strict=True):
        assert np.abs(probability(row.logit_SC) - probability(plain_SC)).max() < 1e-5


def test_an_attempts_scores_do_not_depend_on_the_problems_beside_it(monkeypatch):
    """One batch of everything, every beginning shared: nothing of a problem reaches another, not even what overflows."""
    monkeypatch.setattr("stepcredit.judge._scoring.CALL_TOKENS", {"cpu": 1})
    own, encoded = scorer("llama"), pool(num_problems=2)
    poisoned = pool(seed=7, num_problems=1)
    with torch.no_grad():
        own.model.get_input_embeddings().weight[298] = float("nan")
    for one in poisoned:
        one.token_ids_T[1] = 298
    together = read(own, [*poisoned, *encoded])
    alone = read(own, encoded)
    assert all(np.isnan(row.logit_SC).all() for row in together[: len(poisoned)])
    for row, own_row in zip(together[len(poisoned) :], alone, strict=True):
        assert np.abs(row.logit_SC - own_row.logit_SC).max() < 1e-4 and np.isfinite(own_row.logit_SC).all()


def test_forwarded_tokens_are_those_that_reach_the_network(monkeypatch):
    """Each real token of a call counts once, and the attempts' shares add up to the calls'."""
    monkeypatch.setattr("stepcredit.judge._scoring.CALL_TOKENS", {"cpu": 1})
    own, encoded = scorer("llama"), pool()
    seen = []

    def count(module, given, named):
        seen.append(int(named["attention_mask"][:, -named["input_ids"].shape[1] :].sum()))

    assert own.continues  # its trial is not of this count
    handle = own.model.register_forward_pre_hook(count, with_kwargs=True)
    rows = read(own, encoded)
    handle.remove()
    assert sum(row.tokens for row in rows) == sum(seen)
    distinct = {tuple(one.token_ids_T[:stop]) for one in encoded for stop in range(1, len(one.token_ids_T) + 1)}
    assert len(distinct) <= sum(seen) < 1.1 * len(distinct)


def test_a_prompt_is_paid_for_in_equal_parts(monkeypatch):
    monkeypatch.setattr("stepcredit.judge._scoring.CALL_TOKENS", {"cpu": 1})
    own, prompt = scorer("llama"), list(range(3, 34))  # 31 tokens for 3: 11, 10, 10, and 2 of one's own
    encoded = [Encoded(np.array([*prompt, last, 5]), np.array([31, 32])) for last in (40, 41, 42)]
    assert [row.tokens for row in read(own, encoded)] == [13, 12, 12]


def test_equal_beginnings_need_not_be_cut_into_equal_steps(monkeypatch):
    """A line break inside one problem's prompt is a step's end in another attempt: each gets its own positions."""
    monkeypatch.setattr("stepcredit.judge._scoring.CALL_TOKENS", {"cpu": 1})
    own, start = scorer("llama"), list(range(3, 43))
    encoded = [Encoded(np.array([*start, 50]), np.array([10, 20, 40])), Encoded(np.array([*start, 51]), np.array([15, 40])),
               Encoded(np.array([*start, 52]), np.array([40]))]  # fmt: skip
    for row, plain_SC in zip(read(own, encoded), padded(own, encoded), strict=True):
        assert np.abs(row.logit_SC - plain_SC).max() < 1e-5


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_reads_each_attempt_whole(name):
    own, encoded = scorer(name), pool()
    assert not own.continues
    rows = read(own, encoded)
    assert [row.tokens for row in rows] == [len(one.token_ids_T) for one in encoded]
    for row, plain_SC in zip(rows, padded(own, encoded), strict=True):
        assert np.abs(probability(row.logit_SC) - probability(plain_SC)).max() < 1e-5


def test_a_backbone_is_not_trusted_on_its_word(monkeypatch):
    """One that says it is causal and looks ahead is found out, although its head says the same of every step."""
    own = scorer("llama")
    own.reset_head()
    monkeypatch.setattr(
        "transformers.integrations.sdpa_attention.torch.nn.functional.scaled_dot_product_attention",
        lambda query, key, value, **_: torch.softmax(query @ key.transpose(-1, -2), -1) @ value,
    )
    assert not own.continues


@pytest.mark.parametrize("given", [{"layer_types": ["full_attention", "chunked_attention"]}, {"_is_stateful": True}])
def test_layers_that_cannot_be_cut_are_not_tried(given, monkeypatch):
    own = scorer("llama")
    for name, value in given.items():
        monkeypatch.setattr(own.model if name == "_is_stateful" else own.model.config, name, value, raising=False)
    assert not own.continues


@pytest.mark.parametrize("layer", [1, -2, -1])
def test_the_shared_head_reads_beginnings_once_too(layer, tmp_path, call_cost):
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(1)
        from transformers import LlamaForCausalLM

        LlamaForCausalLM(BACKBONES["grouped"]).save_pretrained(tmp_path)
        TOKENIZER.save_pretrained(tmp_path)
        own = SharedHeadScorer.create(tmp_path, layer=layer).eval()
        for weight in own.head.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    encoded = pool()
    rows = read(own, encoded)
    assert sum(row.tokens for row in rows) < 0.8 * sum(len(one.token_ids_T) for one in encoded)
    for row, plain_SC in zip(rows, padded(own, encoded), strict=True):
        assert np.abs(probability(row.logit_SC) - probability(plain_SC)).max() < 1e-5


def test_two_channels_are_read(monkeypatch):
    monkeypatch.setattr("stepcredit.judge._scoring.CALL_TOKENS", {"cpu": 1})
    own, encoded = scorer("llama", readout=Readout(link="free")), pool()
    for row, plain_SC in zip(read(own, encoded), padded(own, encoded), strict=True):
        assert row.logit_SC.shape == plain_SC.shape == (len(row.logit_SC), 2)
        assert np.abs(row.logit_SC - plain_SC).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_shares_as_well(dtype, monkeypatch):
    monkeypatch.setattr("stepcredit.judge._scoring.CALL_TOKENS", {"cpu": 1})
    own, encoded = scorer("llama").to(dtype), pool()
    assert own.continues
    rows, plain = read(own, encoded), padded(own, encoded)
    assert sum(row.tokens for row in rows) < 0.8 * sum(len(one.token_ids_T) for one in encoded)
    apart = [np.abs(probability(a.logit_SC) - probability(b)).max() for a, b in zip(rows, plain, strict=True)]
    assert max(apart) < 0.1


def test_sharing_leaves_the_mode_and_the_generators_as_they_were(monkeypatch):
    monkeypatch.setattr("stepcredit.judge._scoring.CALL_TOKENS", {"cpu": 1})
    own = scorer("learned_positions").train()  # GPT-2 drops out a tenth where it is not put to evaluation
    before, encoded = torch.get_rng_state(), pool()
    rows = read(own, encoded)
    assert own.training and own.continues and torch.equal(before, torch.get_rng_state())
    own.eval()
    assert all(np.array_equal(a.logit_SC, b.logit_SC) for a, b in zip(rows, read(own, encoded), strict=True))


def test_the_judge_is_the_scoring_of_its_encoded_attempts():
    from stepcredit import Problem, Step

    own = scorer("llama")
    attempts = [(Problem("p", "2+3=" * 20), [Step("5*4=20"), Step(str(n))]) for n in range(4)]
    found = ScorerJudge(own)(attempts)
    encoded = own.encode(attempts)
    assert isinstance(own.manifest, Manifest)
    assert sum(one.cost.forwarded_tokens for one in found) < 0.6 * sum(len(one.token_ids_T) for one in encoded)
    for one, plain_SC in zip(found, padded(own, encoded), strict=True):
        assert np.abs(one.channels["keep"] - probability(plain_SC[:, 0])).max() < 1e-6
        assert one.cost.judge_calls == 1 and one.cost.seconds > 0
