"""Prefixes of one text are read once, and what is sampled behind them is what it would be behind each alone."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from stepcredit.core.rng import rng
from stepcredit.policy._shared_prefix import SharedPrefixes
from stepcredit.policy.hf import HFPolicy
from stepcredit.train.tiny import build_tokenizer, tiny_config

TEXTS = ["3 +4 *0 -2\n3+4=2\n2*0=0\n", "1 -2\n1-2=4\n"]
PROMPT = "3 +4 *0 -2" * 4 + "\n"
LINES = ["3+4=2\n", "2*0=0\n", "0-2=3\n", "3+4=4\n", "1-2=4\n", "4-2=2\n", "2*0=0\n", "3-2=1\n", "1*4=4\n", "0*0=0\n"]
NESTED = [PROMPT + "".join(LINES[:num]) for num in range(10)]
TREE = [*NESTED[:4], *(NESTED[2] + "".join(LINES[4:num]) for num in (5, 7, 9)), "1 -2\n", PROMPT]


def network(tokenizer, kind="llama"):
    """Untrained, its weights large enough that its probabilities are far from uniform."""
    size = {
        "vocab_size": len(tokenizer),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "initializer_range": 0.5,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "gpt2":
            return GPT2LMHeadModel(GPT2Config(n_positions=256, n_embd=16, n_layer=2, n_head=2, **size))
        if kind == "mistral":  # a window that ends inside the prompt
            return MistralForCausalLM(MistralConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, sliding_window=20,
                                                    num_attention_heads=2, num_key_value_heads=1, **size))  # fmt: skip
        config = tiny_config(tokenizer, hidden=16, layers=2, heads=2, max_positions=256)
        config.initializer_range = 0.5
        return LlamaForCausalLM(config)


def policy(kind="llama", **knobs):
    own = build_tokenizer(TEXTS)
    return HFPolicy(network(own, kind), own, **{"device": "cpu", **knobs})


def alone(kind="llama", **knobs):
    """The same policy, which reads every prefix whole."""
    own = policy(kind, **knobs)
    own._continues = False
    return own


def lengths(own, prefixes):
    return [len(own.tokenizer(prefix)["input_ids"]) for prefix in prefixes]


def read(own):
    """The list to which the shape of every batch of tokens that is forwarded is added."""
    seen = []
    own.model.get_input_embeddings().register_forward_hook(
        lambda module, given, made: seen.append(tuple(given[0].shape))
    )
    return seen


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("prefixes", [NESTED, TREE], ids=["nested", "tree"])
def test_logprobs_are_those_of_a_plain_forward_pass(kind, prefixes):
    own = policy(kind)
    groups = own.sample(prefixes, 3, rng(0), max_new_tokens=12)
    assert own.cost.forwarded_tokens < sum(lengths(own, dict.fromkeys(prefixes)))
    for prefix, group in zip(prefixes, groups, strict=True):
        start = own.tokenizer(prefix)["input_ids"]
        for one in group:
            with torch.no_grad():
                logprob_TV = own.model(torch.tensor([[*start, *one.token_ids]])).logits[0].double().log_softmax(-1)
            exact = [logprob_TV[len(start) - 1 + t, token].item() for t, token in enumerate(one.token_ids)]
            assert one.logprobs == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("knobs", [{}, {"temperature": 0.7, "top_p": 0.9}, {"batch_size": 16}], ids=str)
def test_the_same_generator_gives_what_it_gives_without_sharing(kind, knobs):
    for prefixes in (NESTED, TREE):
        shared, whole = (
            own.sample(prefixes, 3, rng(1), stop=["=1", "*0"], max_new_tokens=10)
            for own in (policy(kind, **knobs), alone(kind, **knobs))
        )
        assert [[(c.text, c.token_ids, c.finish) for c in group] for group in shared] == [
            [(c.text, c.token_ids, c.finish) for c in group] for group in whole
        ]
        assert {c.finish for group in shared for c in group} == {"stop", "length"}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_greedy_continuations_are_those_of_independent_generate_calls(kind):
    own = policy(kind, temperature=0)
    for prefix, group in zip(TREE, own.sample(TREE, 2, rng(0), max_new_tokens=10), strict=True):
        ids = torch.tensor([own.tokenizer(prefix)["input_ids"]])
        made = own.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10)
        assert all(list(one.token_ids) == made[0, ids.shape[1] :].tolist() for one in group)


def test_frequencies_behind_shared_prefixes_follow_the_probabilities():
    own = policy(batch_size=5000)
    num, prefixes = 1500, [NESTED[3], NESTED[6], NESTED[9]]
    groups = own.sample(prefixes, num, rng(0), max_new_tokens=2)
    assert own.cost.forwarded_tokens == lengths(own, prefixes)[-1] - 1 + 3
    for prefix, group in zip(prefixes, groups, strict=True):
        ids = own.tokenizer(prefix)["input_ids"]
        with torch.no_grad():
            first_V = own.model(torch.tensor([ids])).logits[0, -1].softmax(-1).numpy()
            second_VV = (
                own.model(torch.tensor([[*ids, v] for v in range(len(first_V))])).logits[:, -1].softmax(-1).numpy()
            )
        p = {(v,): float(first_V[v]) for v in own._ends}
        p |= {(v, w): float(first_V[v] * second_VV[v, w]) for v in range(len(first_V)) if v not in own._ends
              for w in range(len(first_V))}  # fmt: skip
        counts = {}
        for one in group:
            counts[one.token_ids] = counts.get(one.token_ids, 0) + 1
        # Pearson's statistic over pairs expected 5 times or more, the rest together: its mean is the cells less one.
        cells = [(counts.get(pair, 0), num * chance) for pair, chance in p.items() if num * chance >= 5]
        rest = num - sum(c for c, _ in cells), num - sum(e for _, e in cells)
        statistic = sum((c - e) ** 2 / e for c, e in [*cells, rest])
        assert len(cells) > 10 and statistic < len(cells) + 5 * np.sqrt(2 * len(cells))


def test_what_is_forwarded_is_counted_and_is_each_token_once():
    own = policy()
    seen = read(own)
    own.sample(NESTED, 8, rng(0), max_new_tokens=1)
    length = lengths(own, NESTED)
    # The longest but for its last token, in one row; then the last token of each of the ten.
    assert own.cost.forwarded_tokens == length[-1] - 1 + 10
    assert seen[-2:] == [(1, length[-1] - 1), (10, 1)]  # before them, the trial whether the model goes on
    assert all(rows <= 2 and width <= 8 for rows, width in seen[:-2])
    whole = alone()
    whole.sample(NESTED, 8, rng(0), max_new_tokens=1)
    assert whole.cost.forwarded_tokens == sum(length)


def test_a_tree_is_read_as_a_tree():
    own = policy()
    deep = [NESTED[4] + "".join(LINES[k:]) for k in range(4, 9)]  # five texts with a long trunk
    own.sample(deep, 2, rng(0), max_new_tokens=1)
    heads = [tuple(own.tokenizer(text)["input_ids"][:-1]) for text in deep]
    tree = {head[:place] for head in heads for place in range(1, len(head) + 1)}
    trunk = lengths(own, NESTED[4:5])[0]
    assert len(tree) + 5 <= own.cost.forwarded_tokens < sum(map(len, heads)) - 3 * trunk


def test_later_batches_go_on_from_what_earlier_ones_have_read():
    own, expected = policy(batch_size=8), policy().sample(NESTED, 4, rng(2), max_new_tokens=1)
    found = own.sample(NESTED, 4, rng(2), max_new_tokens=1)
    texts = [[one.text for one in group] for group in found]
    assert texts == [[one.text for one in group] for group in expected]
    # Two prefixes a batch: the longest once, and the last token of each.
    assert own.cost.forwarded_tokens == lengths(own, NESTED)[-1] - 1 + 10


def test_without_memory_every_batch_reads_for_itself():
    own = policy()
    calls = []

    def forward(ids_BT, attention_BL, pairs):
        calls.append(ids_BT.shape)
        with torch.inference_mode():
            return own._extend(ids_BT, attention_BL, pairs)

    ids = [own.tokenizer(prefix)["input_ids"] for prefix in NESTED]
    for memory, num in ((10**6, len(ids[-1]) - 1), (1, len(ids[4]) - 1 + len(ids[-1]) - 1)):
        shared = SharedPrefixes(ids, 2, forward, lambda: True, call_tokens=1, memory_tokens=memory)
        shared.expand(ids[:5])
        pairs, real_PL = shared.expand(ids[5:])
        assert shared.num_forwarded == num
        assert real_PL.sum(-1).tolist() == [len(one) - 1 for one in ids[5:]]
        for place, one in enumerate(ids[5:]):
            with torch.no_grad():
                exact = own.model(torch.tensor([one[:-1]]), use_cache=True).past_key_values
            for (keys, values), layer in zip(pairs, exact.layers, strict=True):
                here = torch.from_numpy(real_PL[place])
                assert torch.allclose(keys[place][:, here], layer.keys[0], atol=1e-5)
                assert torch.allclose(values[place][:, here], layer.values[0], atol=1e-5)


def test_nothing_is_done_where_it_would_not_pay_or_cannot_be():
    def pays(prefix_ids, num_batches=1, call_tokens=64, continues=True):
        own = SharedPrefixes(prefix_ids, num_batches, None, lambda: continues, call_tokens=call_tokens)
        assert own.pays or (prefix_ids and own.expand(prefix_ids) is None) or not prefix_ids
        return own.pays

    assert not pays([])
    assert not pays([[1, 2, 3], [1, 2, 4]])  # 6 tokens, fewer than a call is worth
    assert not pays([[1], [1]])
    assert not pays([list(range(100)), list(range(200, 300))])  # nothing in common
    long = [list(range(100)), list(range(101))]
    # 100 tokens, the last of each and a call, against 2 * 101 tokens padded, or 201 in two batches, where a call is added.
    assert pays(long, call_tokens=99) and not pays(long, call_tokens=100)
    assert pays(long, 2, call_tokens=49) and not pays(long, 2, call_tokens=50)
    assert not pays(long, continues=False)
