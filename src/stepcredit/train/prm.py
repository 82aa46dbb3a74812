"""Fit a step scorer on Samples with the Hugging Face Trainer: outcome losses, step labels, or labels made per batch.

    outcome   L = -1/B sum_b [ y_b log P(right_b) + (1 - y_b) log P(wrong_b) ],   P from a registered pooling
    labels    L = sum_bj w_bj BCE(u_bj, label_bj) / sum_bj w_bj
    relabel   the same, with labels and weights computed from the current, detached scores (SPRM's filter)

The whole schedule of batches is drawn before training: attempts of nearly equal length together, `batch_size` of them
under `token_budget` tokens. An item of the dataset is a batch, so resuming after a kill and `accelerate launch` are the
Trainer's own. The scorer is any torch module with `forward(token_ids_BT, attention_BT, read_BS) -> logit_BSC`.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from stepcredit.core import registry
from stepcredit.core.layout import Encoded, buckets, pad
from stepcredit.core.rng import rng
from stepcredit.core.types import Cost, Floats, Sample
from stepcredit.train._watch import CollapseWatch

Relabel = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Objective:
    """What is minimised: a pooling by name with its knobs, else the Samples' labels, else labels made per batch.

    `recovery="learned"` trains one recovery rate with the chain (logit initialised at .12). `relabel` takes scores
    [B, S], outcomes [B] and the step mask [B, S] and returns labels and weights [B, S]; for the first `warmup_updates`
    plain broadcast labels are used instead, so that a fresh head does not start inside a collapsed filter.
    """

    pooling: str | None = "latent_chain"
    knobs: dict[str, Any] = field(default_factory=dict)
    relabel: Relabel | None = None
    warmup_updates: int = 0

    @property
    def learns_recovery(self) -> bool:
        """Whether the chain's recovery rate is a parameter."""
        return self.knobs.get("recovery") == "learned"


@dataclass(frozen=True)
class Fit:
    """What a training run leaves: the loss curve, the learned recovery rate (None if fixed), its cost, and warnings."""

    loss: list[tuple[int, float]]
    recovery: float | None
    cost: Cost
    warnings: tuple[str, ...] = ()


class Fitting(nn.Module):
    """A scorer with its objective: what the Trainer calls."""

    def __init__(self, scorer: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.scorer = scorer
        self.objective = objective
        self.updates = 0
        self.watch = CollapseWatch()
        self.recovery_logit = nn.Parameter(torch.tensor(-2.0), requires_grad=objective.learns_recovery)
        self.pool = registry.get("pooling", objective.pooling).function if objective.pooling else None

    def forward(
        self, token_ids_BT: Tensor, attention_BT: Tensor, read_BS: Tensor, step_BS: Tensor, outcome_B: Tensor,
        label_BS: Tensor, weight_BS: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The loss of one batch."""
        logit_BSC = self.scorer(token_ids_BT, attention_BT, read_BS).float()
        if self.pool is not None:
            return {"loss": self._outcome_loss(logit_BSC, step_BS, outcome_B)}
        if self.objective.relabel is not None:
            label_BS, weight_BS = self._relabelled(logit_BSC[:, :, 0].detach(), step_BS, outcome_B)
        loss_BS = nn.functional.binary_cross_entropy_with_logits(
            logit_BSC[:, :, 0], label_BS.nan_to_num(), reduction="none"
        )
        return {"loss": (loss_BS * weight_BS).sum() / weight_BS.sum().clamp_min(1e-9)}

    def _outcome_loss(self, logit_BSC: Tensor, step_BS: Tensor, outcome_B: Tensor) -> Tensor:
        knobs = dict(self.objective.knobs)
        if self.objective.learns_recovery:
            knobs["recovery"] = torch.sigmoid(self.recovery_logit)
        assert self.pool is not None
        right_B, wrong_B = self.pool(logit_BSC, step_BS, **knobs)
        scored = torch.isfinite(outcome_B)
        y = outcome_B.nan_to_num()
        loss: Tensor = -((y * right_B + (1 - y) * wrong_B) * scored).sum() / scored.sum().clamp_min(1)
        return loss

    def _relabelled(self, logit_BS: Tensor, step_BS: Tensor, outcome_B: Tensor) -> tuple[Tensor, Tensor]:
        broadcast = outcome_B[:, None].expand_as(logit_BS)
        known = step_BS & torch.isfinite(broadcast)
        warm = self.updates < self.objective.warmup_updates
        self.updates += self.training
        if warm:
            return broadcast, known.to(logit_BS.dtype)
        assert self.objective.relabel is not None
        score = torch.sigmoid(logit_BS).double().numpy(force=True)
        label, weight = self.objective.relabel(score, outcome_B.double().numpy(force=True), known.numpy(force=True))
        if self.training:
            self.watch.update(logit_BS[known], broadcast[known], torch.as_tensor(weight)[known.cpu()])
        return torch.as_tensor(label).to(logit_BS), torch.as_tensor(weight).to(logit_BS)


class _Batches(torch.utils.data.Dataset[dict[str, Tensor]]):
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


def schedule(
    lengths: Sequence[int], num_updates: int, batch_size: int, token_budget: int, seed: int
) -> list[list[int]]:
    """Batches of attempt indices for every update: shuffled epochs, bucketed by length within windows of 32 batches.

    Each epoch visits every attempt once. Deterministic in the seed; the order of batches is shuffled, so lengths mix.
    """
    if num_updates < 1 or batch_size < 1:
        raise ValueError(f"need at least one update and one row a batch, got {num_updates}, {batch_size}")
    generator = rng(seed, "schedule")
    found: list[list[int]] = []
    window = 32 * batch_size
    while len(found) < num_updates:
        order = generator.permutation(len(lengths))
        for start in range(0, len(order), window):
            part = order[start : start + window]
            batches = [[int(part[i]) for i in b] for b in buckets([lengths[i] for i in part], token_budget, batch_size)]
            found.extend(batches[i] for i in generator.permutation(len(batches)))
    return found[:num_updates]


class _EveryUpdates(TrainerCallback):  # type: ignore[misc]
    def __init__(self, every: int, call: Callable[[int], None]) -> None:
        self.every, self.call = every, call

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.every == 0:
            kwargs["model"].eval()
            self.call(state.global_step)
            kwargs["model"].train()


class _PRMTrainer(Trainer):  # type: ignore[misc]
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Weights that share storage (tied embeddings) are stored once, which `save_file` refuses to do."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(self.accelerator.unwrap_model(self.model), str(folder / "model.safetensors"))
        torch.save(self.args, folder / "training_args.bin")


def fit(
    scorer: nn.Module, samples: Sequence[Sample], *, objective: Objective, num_updates: int = 1000, batch_size: int = 64,
    token_budget: int = 16384, learning_rate: float = 1e-3, warmup_share: float = 0.1, weight_decay: float = 0.01,
    max_grad_norm: float = 1.0, dtype: Literal["float32", "bfloat16"] = "float32", seed: int = 0, pad_id: int = 0,
    work_dir: str | Path | None = None, save_every: int = 0, on_update: Callable[[int], None] | None = None,
    every: int = 0, progress: bool = False,
) -> Fit:  # fmt: skip
    """Train `scorer` in place.

    With `work_dir` and `save_every`, a killed run continues from its last checkpoint there, with the batches it would
    have seen; the folder is removed at the end. `on_update(update)` is called every `every` updates, in eval mode.
    Raises RuntimeError with an explanation when a filter collapses (see `train/_watch.py`).
    """
    started = time.perf_counter()
    fitting = Fitting(scorer, objective)
    workers = int(os.environ.get("WORLD_SIZE", "1"))
    plan = schedule([len(s.token_ids_T) for s in samples], num_updates * workers, batch_size, token_budget, seed)
    folder = Path(work_dir) if work_dir is not None else None
    arguments = TrainingArguments(
        output_dir=str(folder or "runs/.unused"), max_steps=num_updates, per_device_train_batch_size=1,
        learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=math.ceil(warmup_share * num_updates),
        weight_decay=weight_decay, max_grad_norm=max_grad_norm, bf16=dtype == "bfloat16", seed=seed,
        save_strategy="steps" if folder and save_every else "no", save_steps=save_every or 500, save_total_limit=1,
        logging_steps=max(1, num_updates // 20), report_to=[], disable_tqdm=not progress, remove_unused_columns=False,
        train_sampling_strategy="sequential", dataloader_pin_memory=False, use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=True, label_names=["outcome_B"], log_level="error",
    )  # fmt: skip
    callbacks: list[TrainerCallback] = [_EveryUpdates(every, on_update)] if on_update and every else []
    trainer = _PRMTrainer(
        fitting,
        arguments,
        train_dataset=_Batches(samples, plan, pad_id),
        data_collator=lambda items: items[0],
        callbacks=callbacks,
    )
    if not progress:
        trainer.callback_handler.callbacks = [
            c for c in trainer.callback_handler.callbacks if type(c).__name__ != "PrinterCallback"
        ]
    last = get_last_checkpoint(str(folder)) if folder and folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    scorer.eval()
    if folder and trainer.is_world_process_zero():
        shutil.rmtree(folder, ignore_errors=True)
    forwarded = sum(max(len(samples[i].token_ids_T) for i in batch) * len(batch) for batch in plan)
    return Fit(
        [(int(row["step"]), float(row["loss"])) for row in trainer.state.log_history if "loss" in row],
        float(torch.sigmoid(fitting.recovery_logit)) if objective.learns_recovery else None,
        Cost(forwarded_tokens=forwarded, seconds=time.perf_counter() - started),
        fitting.watch.warnings(),
    )
