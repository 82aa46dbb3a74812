"""The Hugging Face Trainer, fitted to batches that are made beforehand."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.utils import logging

from stepcredit.core.layout import Encoded, pad
from stepcredit.core.types import Sample
from stepcredit.train._watch import check_loss


class Batches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The schedule: item i is the i-th update's batch, ready for the model."""

    def __init__(self, samples: Sequence[Sample], schedule: list[list[int]], pad_id: int) -> None:
        self.samples, self.schedule, self.pad_id = samples, schedule, pad_id

    def __len__(self) -> int:
        return len(self.schedule)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rows = [self.samples[i] for i in self.schedule[index]]
        encoded = [Encoded(s.token_ids_T, np.flatnonzero(s.loss_mask_T)) for s in rows]
        token_ids_BT, attention_BT, read_BS, step_BS = pad(encoded, self.pad_id)
        label_BS, weight_BS = np.full(read_BS.shape, np.nan, np.float32), np.zeros(read_BS.shape, np.float32)
        for row, (sample, one) in enumerate(zip(rows, encoded, strict=True)):
            label_BS[row, : len(one.read_S)] = sample.label_CT[0, one.read_S]
            weight_BS[row, : len(one.read_S)] = sample.weight_CT[0, one.read_S]
        outcome_B = np.array([s.outcome for s in rows], dtype=np.float32)
        named = {"token_ids_BT": token_ids_BT, "attention_BT": attention_BT, "read_BS": read_BS, "step_BS": step_BS,
                 "outcome_B": outcome_B, "label_BS": label_BS, "weight_BS": weight_BS}  # fmt: skip
        return {name: torch.as_tensor(array) for name, array in named.items()}


class EveryUpdates(TrainerCallback):  # type: ignore[misc]
    """Calls `call(update)` every `every` updates, in eval mode."""

    def __init__(self, every: int, call: Callable[[int], None]) -> None:
        self.every, self.call = every, call

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the update, before a checkpoint."""
        if state.global_step % self.every == 0:
            kwargs["model"].eval()
            self.call(state.global_step)
            kwargs["model"].train()


class FiniteLoss(TrainerCallback):  # type: ignore[misc]
    """Stops a diverged run."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """The mean loss since the last look is not finite if one was not."""
        if logs and "loss" in logs:
            check_loss(state.global_step, float(logs["loss"]))


class PRMTrainer(Trainer):  # type: ignore[misc]
    """The Trainer, for a module that is no `PreTrainedModel`; its log also says what a filter keeps."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's log, with the shares of the filter's watch beside the loss."""
        watch = self.accelerator.unwrap_model(self.model).watch
        super().log({**logs, **watch.shares()} if "loss" in logs else logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Weights that share storage (tied embeddings) are stored once, which `save_file` refuses to do."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        weights = self.accelerator.unwrap_model(self.model).state_dict() if state_dict is None else state_dict
        once = {(w.untyped_storage().data_ptr(), w.storage_offset(), w.shape): n for n, w in reversed(weights.items())}
        kept = {name: weights[name].contiguous() for name in once.values()}
        safetensors.torch.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Without the recovery rate, which decay would draw to one half."""
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith("recovery_logit")]


@contextmanager
def plain_attention(scorer: nn.Module) -> Iterator[None]:
    """The CPU kernel of bfloat16 fused attention is several times slower backwards than plain products."""
    models = [m for m in scorer.modules() if isinstance(m, PreTrainedModel)]
    before = [m.config._attn_implementation for m in models]
    try:
        for model in models:
            model.set_attn_implementation("eager")
        yield
    finally:
        for model, name in zip(models, before, strict=True):
            model.set_attn_implementation(name)


@contextmanager
def quietly() -> Iterator[None]:
    """Without the bar of loading the first policy, and without what TRL says of names and experiments of its own."""
    bar, said = logging.is_progress_bar_enabled(), os.environ.get("TRL_EXPERIMENTAL_SILENCE")
    logging.disable_progress_bar()
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
            yield
    finally:
        if bar:
            logging.enable_progress_bar()
        if said is None:
            del os.environ["TRL_EXPERIMENTAL_SILENCE"]
        else:
            os.environ["TRL_EXPERIMENTAL_SILENCE"] = said
