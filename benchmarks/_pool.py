"""The attempts that are timed: token ids whose lengths and common beginnings are like those of recorded pools.

    steps of an attempt = 20 * exp(0.35 z_problem + 0.4 z_attempt - half the variances), 2 to 64;  8 to 20 tokens a step
    z_attempt is normal, z_problem the normal's quantiles in turn
    prompt = 40 to 120 tokens;  an attempt begins with the first 0 to 4 steps of an earlier one at the same problem

Lengths vary by 0.40 to 0.45 of their mean (ProcessBench: 0.36 to 0.54), a prompt is a fifth of the text (12 to 21 %
there), and a tenth of the rest is shared (BoN-32 pools: 14 % on GSM8K, 11 % on MATH-500, sampled at temperature 0.8).
The ids are random: what a token says does not change what it costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from stepcredit.core.layout import Encoded
from stepcredit.core.rng import rng

MARKER = 5


@dataclass(frozen=True)
class Sizes:
    """Of a pool and the model that reads it."""

    problems: int = 4
    attempts: int = 16
    mean_steps: int = 20
    step_tokens: tuple[int, int] = (8, 20)
    prompt_tokens: tuple[int, int] = (40, 120)
    vocabulary: int = 4096
    hidden: int = 384
    layers: int = 6
    heads: int = 6


def pool(sizes: Sizes, seed: int = 0) -> list[list[list[int]]]:
    """For each attempt its prompt and its steps, in token ids; the attempts at a problem stand together."""
    draw = rng(seed, "pool")

    def tokens(least: int, most: int) -> list[int]:
        return draw.integers(MARKER + 1, sizes.vocabulary, draw.integers(least, most + 1)).tolist()

    found: list[list[list[int]]] = []
    for problem in range(sizes.problems):
        quantile = NormalDist().inv_cdf((problem + 0.5) / sizes.problems)
        prompt, scale = tokens(*sizes.prompt_tokens), sizes.mean_steps * np.exp(0.35 * quantile - 0.35**2 / 2)
        attempts: list[list[list[int]]] = []
        for _ in range(sizes.attempts):
            num = int(np.clip(round(scale * np.exp(0.4 * draw.normal() - 0.4**2 / 2)), 2, 64))
            steps = attempts[draw.integers(len(attempts))][: min(num, draw.integers(5))] if attempts else []
            attempts.append([*steps, *([*tokens(*sizes.step_tokens)[1:], MARKER] for _ in range(num - len(steps)))])
        found += [[prompt, *steps] for steps in attempts]
    return found


def encoded(attempts: list[list[list[int]]]) -> list[Encoded]:
    """As a scorer sees them: read at the last token of every step."""
    return [
        Encoded(
            np.array([token for part in attempt for token in part], dtype=np.int64),
            np.cumsum([len(part) for part in attempt])[1:] - 1,
        )
        for attempt in attempts
    ]


def random_scorer(sizes: Sizes, seed: int = 0) -> object:
    """A Llama token classifier with random weights and a head that tells steps apart."""
    import torch
    from transformers import LlamaConfig

    from stepcredit.judge.head import HeadScorer
    from stepcredit.train.tiny import build_tokenizer

    config = LlamaConfig(
        vocab_size=sizes.vocabulary, hidden_size=sizes.hidden, intermediate_size=4 * sizes.hidden,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, max_position_embeddings=2048, pad_token_id=0,
    )  # fmt: skip
    tokenizer = build_tokenizer(["2+3=5"], kind="bpe", vocab_size=300)
    scorer = HeadScorer.create(config, tokenizer=tokenizer, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.nn.init.normal_(scorer.model.score.weight, std=0.1)
    return scorer.eval()


def num_parameters(scorer: object) -> float:
    """In millions."""
    return sum(weight.numel() for weight in scorer.parameters()) / 1e6  # type: ignore[attr-defined]
