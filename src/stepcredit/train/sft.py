"""Supervised fine-tuning of a language model folder on chosen attempts: what a self-improvement loop does with its data.

    loss = - 1/T sum_t log pi(x_t | prefix, x_<t)      over the continuations' tokens and their end tokens alone

AlphaLLM, arXiv:2404.12253, section 4.5. The new model lies in a folder of its own, found again by content, like those of
`train/tiny`; the old one is left as it is. Degenerate: continuations of a model that already writes nothing else move
nothing but its last digits.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
)

from stepcredit.core.log_ratios import token_ids
from stepcredit.core.rng import rng
from stepcredit.train.tiny import _EAGER_LENGTH, Precision, _Bar, _collate, _order, _put, _seeded, computes_bfloat16

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
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
    folder = Path(out_dir) / f"sft-{_key(Path(model), examples, made_with)}"
    if folder.is_dir():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {str(model)!r} has no end token; allowed: one with an eos_token")
    rows = _rows(tokenizer, examples)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as scratch, _seeded(seed):
        arguments = TrainingArguments(
            output_dir=f"{scratch}/trainer", max_steps=num_updates, per_device_train_batch_size=batch_size,
            learning_rate=learning_rate, warmup_steps=int(warmup * num_updates), lr_scheduler_type="cosine",
            weight_decay=weight_decay, adam_beta2=0.95, bf16=bfloat16, seed=seed, save_strategy="no", logging_steps=20,
            train_sampling_strategy="sequential", dataloader_pin_memory=False, disable_tqdm=not progress,
            report_to="none", use_cpu=not torch.accelerator.is_available(), remove_unused_columns=False,
        )  # fmt: skip
        network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        short = max(len(row["input_ids"]) for row in rows) <= _EAGER_LENGTH
        if bfloat16 and short and arguments.device.type == "cpu":
            network.set_attn_implementation("eager")  # see train/tiny
        order = _order(rows, num_updates, batch_size, rng(seed, "sft"))
        trainer = Trainer(network, arguments, data_collator=_collate, train_dataset=order)
        trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
        if progress:
            trainer.add_callback(_Bar)
        trainer.train()
        made = Path(scratch) / "model"
        trainer.model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        report = {**made_with, "num_examples": len(examples), "losses": losses}
        _put(made, folder, report)
    return folder


def _rows(tokenizer: Any, examples: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
    """Tokens with the end token behind them, and what is learnt of each: nothing (-100) of the prefix."""
    texts, start_n = token_ids(tokenizer, examples)
    rows = []
    for ids, start in zip(texts, start_n.tolist(), strict=True):
        whole = [*ids, tokenizer.eos_token_id]
        rows.append({"input_ids": whole, "labels": [-100] * start + whole[start:]})
    return rows


def _key(model: Path, examples: Sequence[tuple[str, str]], made_with: dict[str, Any]) -> str:
    """Raises ValueError where there is no model folder with safetensors weights."""
    weights = sorted(model.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{str(model)!r} is no model folder with safetensors weights")
    digest = hashlib.sha256(json.dumps([made_with, list(examples)], sort_keys=True).encode())
    for path in [*weights, *(model / name for name in TOKENIZER if (model / name).is_file())]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
