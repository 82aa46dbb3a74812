"""B4: continuing K = 8 from each of 10 prefixes of one attempt whose prompt is as long as the attempt.

    independent  80 calls of Hugging Face `generate`, one a continuation
    grouped      10 calls, one a prefix, with num_return_sequences = 8
    padded       one call over all 80, padded on the left to the longest

Prefix i holds the prompt and the first i tenths of the attempt, i = 0..9. No model here ever ends a text, so that every
arm writes exactly as many tokens, and dropping finished rows, which ours does, is worth nothing. Tokens are counted
where they enter the model, in all arms alike: prompt, padding, and every generated token that is read to go on from it.
The ratios without a name are against the arm that comes nearest. All sample from the model's own distribution
(temperature 1, nothing cut): `max_abs_diff` compares the log-probabilities ours reports with a plain pass over the text
(`unshared` is the same with every prefix read whole: the rounding of float32 itself), `logprob_difference` those of
what ours and `padded` have written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _measure import Row, exact, interleaved, ratio, row

from stepcredit.core.rng import rng
from stepcredit.core.stats import paired_difference

RIVALS = ("independent", "grouped", "padded")
Written = list[list[list[int]]]


@dataclass(frozen=True)
class Rollouts:
    """Lengths in tokens, and the model."""

    prompt: int = 256
    attempt: int = 256
    new: int = 128
    prefixes: int = 10
    num: int = 8
    words: int = 2048
    hidden: int = 384
    layers: int = 6
    heads: int = 6


QUICK = Rollouts(prompt=40, attempt=40, new=4, prefixes=4, num=2, words=16, hidden=32, layers=1, heads=2)


def random_policy(sizes: Rollouts, seed: int = 0) -> Any:
    """A Llama language model with random weights, which never ends a text; a word is a token."""
    from transformers import LlamaForCausalLM

    from stepcredit.policy.hf import HFPolicy
    from stepcredit.train.tiny import build_tokenizer, tiny_config

    tokenizer = build_tokenizer(["".join(f" {word}" for word in range(sizes.words))])
    config = tiny_config(tokenizer, hidden=sizes.hidden, layers=sizes.layers, heads=sizes.heads,
                         max_positions=sizes.prompt + sizes.attempt + sizes.new)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        torch.nn.init.normal_(model.lm_head.weight, std=2 / sizes.hidden**0.5)  # far from uniform
    policy = HFPolicy(model, tokenizer, device="cpu")
    model.generation_config.eos_token_id, policy._ends = None, []
    assert policy.continues  # tried here, so that it is neither counted nor timed
    return policy


def texts(sizes: Rollouts, seed: int = 0) -> list[str]:
    """The prefixes; the start token is one of the prompt's."""
    draw = rng(seed, "attempt")
    words = [f" {word}" for word in draw.integers(sizes.words, size=sizes.prompt - 1 + sizes.attempt)]
    ends = [sizes.prompt - 1 + round(place * sizes.attempt / sizes.prefixes) for place in range(sizes.prefixes)]
    return ["".join(words[:end]) for end in ends]


def arms(policy: Any, prefixes: Sequence[str], sizes: Rollouts) -> dict[str, Callable[[], Written]]:
    """What is compared: each gives the token ids written, [prefixes][num][new]."""
    ids_P = [policy.tokenizer(prefix)["input_ids"] for prefix in prefixes]
    stream, options = rng(0, "ours"), {"do_sample": True, "top_k": 0, "max_new_tokens": sizes.new, "pad_token_id": 0}

    def generate(rows: Sequence[Sequence[int]], **given: Any) -> list[list[int]]:
        longest = max(map(len, rows))
        ids_RT = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in rows])
        real_RT = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in rows])
        made_RT = policy.model.generate(ids_RT, attention_mask=real_RT, **options, **given)
        return made_RT[:, longest:].tolist()

    def ours() -> Written:
        groups = policy.sample(prefixes, sizes.num, stream, max_new_tokens=sizes.new)
        return [[list(one.token_ids) for one in group] for group in groups]

    def padded() -> Written:
        rows = generate([ids for ids in ids_P for _ in range(sizes.num)])
        return [rows[place : place + sizes.num] for place in range(0, len(rows), sizes.num)]

    return {
        "ours": ours,
        "independent": lambda: [[generate([ids])[0] for _ in range(sizes.num)] for ids in ids_P],
        "grouped": lambda: [generate([ids], num_return_sequences=sizes.num) for ids in ids_P],
        "padded": padded,
    }


def counted(policy: Any, arm: Callable[[], Any]) -> int:
    """Tokens that enter the model during an arm, padding and all."""
    seen: list[int] = []
    hook = policy.model.get_input_embeddings().register_forward_hook(
        lambda _, given, made: seen.append(given[0].numel())
    )
    try:
        arm()
    finally:
        hook.remove()
    return sum(seen)


@torch.inference_mode()
def scored(policy: Any, prefixes: Sequence[str], written: Written) -> np.ndarray:
    """Log-probability of every token written, [prefixes, num, new], by a plain pass over each text."""
    found = []
    for prefix, group in zip(prefixes, written, strict=True):
        start = policy.tokenizer(prefix)["input_ids"]
        ids_KT = torch.tensor([[*start, *ids] for ids in group])
        logprob_KTV = policy.model(input_ids=ids_KT).logits[:, len(start) - 1 : -1].double().log_softmax(-1)
        found.append(logprob_KTV.gather(-1, ids_KT[:, len(start) :, None])[..., 0].numpy())
    return np.array(found)


def run(sizes: Rollouts, rounds: int, threads: int) -> tuple[list[Row], dict[str, object]]:
    """The rows, and what they rest on."""
    torch.set_num_threads(threads)
    policy, prefixes = random_policy(sizes), texts(sizes)
    own = arms(policy, prefixes, sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokens = {name: counted(policy, arm) for name, arm in own.items()}  # which warms too
        seconds, gave = interleaved(own, rounds)
    apart = reported_difference(policy, prefixes, sizes)
    policy._continues = False
    unshared = reported_difference(policy, prefixes, sizes)
    logprobs = {name: scored(policy, prefixes, gave[name]).mean(-1).ravel() for name in ("ours", "padded")}
    parameters = sum(weight.numel() for weight in policy.model.parameters()) / 1e6
    unit = f"times the speed ({parameters:.0f}M parameters, float32)"
    nearest = {"forward": min(RIVALS, key=tokens.__getitem__), "wall": min(RIVALS, key=lambda name: sum(seconds[name]))}
    rows = [row("b4_forward_ratio", exact(tokens[nearest["forward"]] / tokens["ours"], 1, "times the tokens")),
            row("b4_wall_ratio", ratio(seconds[nearest["wall"]], seconds["ours"], unit))]  # fmt: skip
    for name in RIVALS:
        rows += [row(f"b4_{name}_forward_ratio", exact(tokens[name] / tokens["ours"], 1, "times the tokens")),
                 row(f"b4_{name}_wall_ratio", ratio(seconds[name], seconds["ours"], unit))]  # fmt: skip
    rows += [row(f"b4_{name}_tokens", exact(num, 1, "tokens forwarded")) for name, num in tokens.items()]
    rows += [
        row("b4_max_abs_diff", exact(apart, sizes.prefixes * sizes.num * sizes.new, "nats, float32")),
        row("b4_unshared_max_abs_diff", exact(unshared, sizes.prefixes * sizes.num * sizes.new, "nats, float32")),
        row(
            "b4_logprob_difference",
            paired_difference(logprobs["ours"], logprobs["padded"], "nats a token, ours less padded"),
        ),
    ]
    ids = [len(policy.tokenizer(prefix)["input_ids"]) for prefix in prefixes]
    about = {"prompt_tokens": sizes.prompt, "attempt_tokens": sizes.attempt, "new_tokens": sizes.new, "prefix_tokens": ids,
             "continuations": sizes.num, "rounds": rounds, "threads": threads, "nearest": nearest,
             "parameters_in_millions": round(parameters, 1)}  # fmt: skip
    return rows, about


def reported_difference(policy: Any, prefixes: Sequence[str], sizes: Rollouts) -> float:
    """Largest difference between a log-probability that ours reports and that of a plain pass."""
    groups = policy.sample(prefixes, sizes.num, rng(1, "ours"), max_new_tokens=sizes.new)
    plain = scored(policy, prefixes, [[list(one.token_ids) for one in group] for group in groups])
    return float(np.abs(plain - np.array([[one.logprobs for one in group] for group in groups])).max())
