"""Supervised fine-tuning on texts of which some end and some do not: the two tracks of post-completion learning.

    loss = - 1/T sum_t log pi(x_t | prefix, x_<t)      over the continuations' tokens, with the end token where they end

PCL, arXiv:2507.20252: a reasoning track that stops behind the end-of-completion marker, so that the end token is never learnt
behind an answer, and an evaluation track with the loss on the evaluation and the end token alone. `train/sft` ends every text.
The folder is found again by content, like those of `train/tiny`. Departs: one loss over the tokens of both; the weight of a
track is how many of its examples there are. Degenerate: examples none of which ends give a model that does not.
"""

from __future__ import annotations

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
from stepcredit.train.sft import _key
from stepcredit.train.tiny import _Bar, _collate, _order, _put, _seeded

RECIPE = 1  # enters the cache key: raise it when the same arguments would give other weights
Example = tuple[str, str, bool]  # what is read, what is learnt, whether the end token is learnt behind it


def fine_tune_tracks(
    model: str | Path, examples: Sequence[Example], out_dir: str | Path, *, num_tokens: int, batch_size: int = 32,
    learning_rate: float = 5e-4, warmup: float = 0.1, weight_decay: float = 0.01, seed: int = 0, progress: bool = False,
) -> Path:  # fmt: skip
    """Train the model folder `model` until about `num_tokens` tokens had a loss; returns `out_dir/tracks-<key>`.

    The number of updates is `num_tokens` over the mean number of learnt tokens of a batch, rounded, at least 1.
    Raises ValueError for no examples, numbers below 1, or a folder without weights or end token.
    """
    if not examples or num_tokens < 1 or batch_size < 1:
        raise ValueError(
            f"{len(examples)} examples, num_tokens {num_tokens}, batch_size {batch_size}; allowed: 1 or more of each"
        )
    made_with = {"tracks": RECIPE, "num_tokens": num_tokens, "batch_size": batch_size, "learning_rate": learning_rate,
                 "warmup": warmup, "weight_decay": weight_decay, "seed": seed, "ends": [ends for _, _, ends in examples]}  # fmt: skip
    folder = Path(out_dir) / f"tracks-{_key(Path(model), [(a, b) for a, b, _ in examples], made_with)}"
    if folder.is_dir():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {str(model)!r} has no end token; allowed: one with an eos_token")
    rows = track_rows(tokenizer, examples)
    learnt = sum(sum(label != -100 for label in row["labels"]) for row in rows)
    num_updates = max(1, round(num_tokens * len(rows) / (learnt * batch_size)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as scratch, _seeded(seed):
        arguments = TrainingArguments(
            output_dir=f"{scratch}/trainer", max_steps=num_updates, per_device_train_batch_size=batch_size,
            learning_rate=learning_rate, warmup_steps=int(warmup * num_updates), lr_scheduler_type="cosine",
            weight_decay=weight_decay, adam_beta2=0.95, seed=seed, save_strategy="no", logging_steps=20,
            train_sampling_strategy="sequential", dataloader_pin_memory=False, disable_tqdm=not progress,
            report_to="none", use_cpu=not torch.accelerator.is_available(), remove_unused_columns=False,
        )  # fmt: skip
        network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        order = _order(rows, num_updates, batch_size, rng(seed, "tracks"))
        trainer = Trainer(network, arguments, data_collator=_collate, train_dataset=order)
        trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
        if progress:
            trainer.add_callback(_Bar)
        trainer.train()
        made = Path(scratch) / "model"
        trainer.model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        _put(made, folder, {**made_with, "ends": None, "num_updates": num_updates, "losses": losses})
    return folder


def track_rows(tokenizer: Any, examples: Sequence[Example]) -> list[dict[str, list[int]]]:
    """Tokens, and what is learnt of each row: nothing (-100) of what is read."""
    texts, start_n = token_ids(tokenizer, [(prefix, continuation) for prefix, continuation, _ in examples])
    rows = []
    for (_, _, ends), ids, start in zip(examples, texts, start_n.tolist(), strict=True):
        whole = [*ids, *([tokenizer.eos_token_id] if ends else [])]
        rows.append({"input_ids": whole, "labels": [-100] * start + whole[start:]})
    return rows
