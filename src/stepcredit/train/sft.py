"""Supervised fine-tuning of a language model folder on chosen attempts: what a self-improvement loop does with its data.

    loss = - 1/T sum_t log pi(x_t | prefix, x_<t)      over the continuations' tokens and their end tokens alone

AlphaLLM, arXiv:2404.12253, section 4.5. The new model lies in a folder of its own, found again by content, like those of
`train/tiny`; the old one is left as it is. Degenerate: continuations of a model that already writes nothing else move
nothing but its last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcredit.core.log_ratios import token_ids
from stepcredit.train._tuned import ending_tokenizer, key_of, tuned
from stepcredit.train.tiny import Precision, computes_bfloat16

RECIPE = 1  # enters the cache key: raise it when the same arguments would give other weights


def fine_tune(model: str | Path, examples: Sequence[tuple[str, str]], out_dir: str | Path, *, num_updates: int = 100,
              batch_size: int = 32, learning_rate: float = 5e-4, warmup: float = 0.1, weight_decay: float = 0.01,
              seed: int = 0, precision: Precision = "auto", progress: bool = True) -> Path:  # fmt: skip
    """Go on training the model folder `model` on (prefix, continuation) pairs; returns `out_dir/sft-<key>`.

    The key is a hash of the weights, the tokenizer, the examples and the arguments: a second call returns at once. The
    folder appears by renaming, complete. The rate falls as a cosine after a warm-up. Same seed, same weights; the global
    random generators are given back as they were.
    Of an empty continuation the end token is learnt. Raises ValueError for no examples, numbers below 1, a folder without
    weights, or one whose tokenizer has no end token.
    """
    if not examples or num_updates < 1 or batch_size < 1:
        raise ValueError(
            f"{len(examples)} examples, num_updates {num_updates}, batch_size {batch_size}; allowed: 1 or more of each"
        )
    bfloat16 = computes_bfloat16() if precision == "auto" else precision == "bfloat16"
    made_with = {"recipe": RECIPE, "num_updates": num_updates, "batch_size": batch_size, "learning_rate": learning_rate,
                 "warmup": warmup, "weight_decay": weight_decay, "seed": seed, "bfloat16": bfloat16}  # fmt: skip
    folder = Path(out_dir) / f"sft-{key_of(Path(model), examples, made_with)}"
    if not folder.is_dir():
        tokenizer = ending_tokenizer(model)
        tuned(model, tokenizer, _rows(tokenizer, examples), folder, num_updates=num_updates, batch_size=batch_size,
              learning_rate=learning_rate, warmup=warmup, weight_decay=weight_decay, seed=seed, stream="sft", bfloat16=bfloat16,
              progress=progress, report={**made_with, "num_examples": len(examples)})  # fmt: skip
    return folder


def _rows(tokenizer: Any, examples: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
    """Tokens with the end token behind them, and what is learnt of each: nothing (-100) of the prefix."""
    texts, start_n = token_ids(tokenizer, examples)
    rows = []
    for ids, start in zip(texts, start_n.tolist(), strict=True):
        whole = [*ids, tokenizer.eos_token_id]
        rows.append({"input_ids": whole, "labels": [-100] * start + whole[start:]})
    return rows
