"""What every supervised fine-tuning here has in common: a model folder, rows with labels, and a new folder once it is done."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
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

from stepcredit.core.rng import rng
from stepcredit.train.tiny import _EAGER_LENGTH, _Bar, _collate, _order, _put, _seeded

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
Rows = list[dict[str, list[int]]]


def ending_tokenizer(model: str | Path) -> Any:
    """The folder's tokenizer. Raises ValueError for one without an end token."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {str(model)!r} has no end token; allowed: one with an eos_token")
    return tokenizer


def tuned(
    model: str | Path, tokenizer: Any, rows: Rows, folder: Path, *, num_updates: int, batch_size: int, learning_rate: float,
    warmup: float, weight_decay: float, seed: int, stream: str, bfloat16: bool, progress: bool, report: Mapping[str, Any],
) -> None:  # fmt: skip
    """Train the model on rows of "input_ids" and "labels" and put it, with `report`, where `folder` will be, complete.

    The rate falls as a cosine after a warm-up. `stream` names the draw of the batches, so that it is one of its own.
    """
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
        order = _order(rows, num_updates, batch_size, rng(seed, stream))
        trainer = Trainer(network, arguments, data_collator=_collate, train_dataset=order)
        trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
        if progress:
            trainer.add_callback(_Bar)
        trainer.train()
        made = Path(scratch) / "model"
        trainer.model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        _put(made, folder, {**report, "losses": losses})


def key_of(model: Path, examples: Sequence[tuple[str, str]], made_with: Mapping[str, Any]) -> str:
    """A digest of weights, tokenizer, examples and arguments. Raises ValueError where there is no folder with safetensors weights."""
    weights = sorted(model.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{str(model)!r} is no model folder with safetensors weights")
    digest = hashlib.sha256(json.dumps([made_with, list(examples)], sort_keys=True).encode())
    for path in [*weights, *(model / name for name in TOKENIZER if (model / name).is_file())]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
