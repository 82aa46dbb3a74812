"""Fit a step scorer on Samples with the Hugging Face Trainer: outcome losses, step labels, or labels made per batch.

    outcome   L = -1/B sum_b [ y_b log P(right_b) + (1 - y_b) log P(wrong_b) ],   P from a registered pooling
    labels    L = sum_bj w_bj BCE(u_bj, label_bj) / sum_bj w_bj
    relabel   the same, with labels and weights computed from the current, detached scores (SPRM's filter)

The whole schedule of batches is drawn before training: attempts of nearly equal length together, `batch_size` of them
under `token_budget` tokens. An item of the dataset is a batch, so resuming after a kill and `accelerate launch` are the
Trainer's own. The scorer is any torch module with `forward(token_ids_BT, attention_BT, read_BS) -> logit_BSC`.
Only an attempt that carries a signal is forwarded: one with a scored outcome, or a label, as the objective needs.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments

from stepcredit.core import registry
from stepcredit.core.layout import buckets
from stepcredit.core.rng import rng
from stepcredit.core.types import Cost, Floats, Sample
from stepcredit.train._checkpoints import clear, last_checkpoint, run_key
from stepcredit.train._trainer import Batches, EveryUpdates, FiniteLoss, PRMTrainer, plain_attention
from stepcredit.train._watch import SHARES, CollapseWatch
from stepcredit.train.tiny import _EAGER_LENGTH, _Bar, _seeded

Relabel = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Objective:
    """What is minimised: a pooling by name with its knobs, else the Samples' labels, else labels made per batch.

    `recovery="learned"` trains one recovery rate with the derivation chain (from sigmoid(-2) = .12). `relabel` takes
    scores [B, S], outcomes [B] and the step mask [B, S] and returns labels and weights [B, S]; for the first
    `warmup_updates` plain broadcast labels are used instead, so that a fresh head does not start inside a collapsed
    filter. With a pooling and `label_updates`, the Samples' labels teach that many updates before the pooling takes over.
    Raises ValueError for a knob the pooling does not have, or a learned recovery rate without a derivation chain.
    """

    pooling: str | None = "latent_chain"
    knobs: dict[str, Any] = field(default_factory=dict)
    relabel: Relabel | None = None
    warmup_updates: int = 0
    label_updates: int = 0

    def __post_init__(self) -> None:
        if self.learns_recovery and (
            self.pooling != "latent_chain" or self.knobs.get("link", "derivation") != "derivation"
        ):
            raise ValueError(
                f"a learned recovery rate needs latent_chain with link=derivation, got {self.pooling}, {self.knobs}"
            )
        if self.pooling is not None:
            registry.bind("pooling", self.pooling, **self.knobs)

    @property
    def learns_recovery(self) -> bool:
        """Whether the chain's recovery rate is a parameter."""
        return self.knobs.get("recovery") == "learned"

    def teaches(self, sample: Sample) -> bool:
        """Whether a sample carries the signal this objective reads."""
        by_outcome = self.pooling is not None or self.relabel is not None
        by_label = self.label_updates > 0 or not by_outcome
        return bool((by_outcome and np.isfinite(sample.outcome)) or (by_label and sample.weight_CT[0].any()))


@dataclass(frozen=True)
class Fit:
    """What a training run leaves: the loss curve, the learned recovery rate (None if fixed), its cost, and warnings.

    `watched`: the shares a filter keeps, with the update, at each look of the log.
    """

    loss: list[tuple[int, float]]
    recovery: float | None
    cost: Cost
    warnings: tuple[str, ...] = ()
    watched: tuple[dict[str, float], ...] = ()


class Fitting(nn.Module):
    """A scorer with its objective: what the Trainer calls."""

    updates: Tensor
    _keys_to_ignore_on_save: None = None  # the Trainer asks for it where tied weights are stored once

    def __init__(self, scorer: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.scorer = scorer
        self.objective = objective
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))  # kept by checkpoints: the warm-up's clock
        self.watch = CollapseWatch()
        self.recovery_logit = nn.Parameter(torch.tensor(-2.0), requires_grad=objective.learns_recovery)
        self.pool = registry.get("pooling", objective.pooling).function if objective.pooling else None

    @property
    def recovery(self) -> float:
        """The recovery rate learned so far."""
        return float(torch.sigmoid(self.recovery_logit.detach()))

    def forward(
        self, token_ids_BT: Tensor, attention_BT: Tensor, read_BS: Tensor, step_BS: Tensor, outcome_B: Tensor,
        label_BS: Tensor, weight_BS: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The loss of one batch."""
        logit_BSC = self.scorer(token_ids_BT, attention_BT, read_BS)
        return {"loss": self.loss_of(logit_BSC, step_BS, outcome_B, label_BS, weight_BS)}

    def loss_of(
        self, logit_BSC: Tensor, step_BS: Tensor, outcome_B: Tensor, label_BS: Tensor | None = None,
        weight_BS: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The loss of channel logits [B, S, C], whoever computed them; labels where the objective reads them."""
        logit_BSC = logit_BSC.float()
        if self.pool is not None and int(self.updates) >= self.objective.label_updates:
            return self._outcome_loss(logit_BSC, step_BS, outcome_B)
        if self.pool is not None:
            self.updates += int(self.training)
        if self.objective.relabel is not None:
            label_BS, weight_BS = self._relabelled(logit_BSC[:, :, 0].detach(), step_BS, outcome_B)
        assert label_BS is not None and weight_BS is not None
        loss_BS = nn.functional.binary_cross_entropy_with_logits(
            logit_BSC[:, :, 0], label_BS.nan_to_num(), reduction="none"
        )
        loss: Tensor = (loss_BS * weight_BS).sum() / weight_BS.sum().clamp_min(1e-9)
        return loss

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
        warm = int(self.updates) < self.objective.warmup_updates
        self.updates += int(self.training)
        if warm:
            return broadcast, known.to(logit_BS.dtype)
        assert self.objective.relabel is not None
        score = torch.sigmoid(logit_BS).double().numpy(force=True)
        label, weight = self.objective.relabel(score, outcome_B.double().numpy(force=True), known.numpy(force=True))
        if self.training:
            mask = known.numpy(force=True)
            self.watch.update(score[mask], broadcast.double().numpy(force=True)[mask])
        return torch.tensor(label).to(logit_BS), torch.tensor(weight).to(logit_BS)


def schedule(
    lengths: Sequence[int], num_updates: int, batch_size: int, token_budget: int, seed: int
) -> list[list[int]]:
    """Batches of attempt indices for every update: shuffled epochs, bucketed by length within windows of 32 batches.

    Each epoch visits every attempt once. Deterministic in the seed; the order of batches is shuffled, so lengths mix.
    Raises ValueError for no attempts, updates or rows.
    """
    if num_updates < 1 or batch_size < 1 or not len(lengths):
        raise ValueError(
            f"need an attempt, an update and a row in each batch; got {len(lengths)}, {num_updates}, {batch_size}"
        )
    generator = rng(seed, "schedule")
    found: list[list[int]] = []
    window = 32 * batch_size
    while len(found) < num_updates:
        order = generator.permutation(len(lengths))
        for start in range(0, len(order), window):
            part = order[start : start + window]
            batches = [[int(part[i]) for i in b] for b in buckets([lengths[i] for i in part], token_budget, batch_size)]
            found.extend(batches[i] for i in generator.permutation(len(batches)))
            if len(found) >= num_updates:
                break
    return found[:num_updates]


def fit(
    scorer: nn.Module, samples: Sequence[Sample], *, objective: Objective, num_updates: int = 1000, batch_size: int = 64,
    token_budget: int = 16384, learning_rate: float = 1e-3, warmup_share: float = 0.1, weight_decay: float = 0.01,
    max_grad_norm: float = 1.0, dtype: Literal["float32", "bfloat16"] = "float32", seed: int = 0, pad_id: int = 0,
    work_dir: str | Path | None = None, save_every: int = 0, on_update: Callable[[int], None] | None = None,
    on_recovery: Callable[[float], None] | None = None, every: int = 0, progress: bool = False,
) -> Fit:  # fmt: skip
    """Train `scorer` in place. Same seed, same weights; the global random generators are given back as they were.

    With `work_dir` and `save_every`, a killed run continues from its last whole checkpoint there, with the batches it
    would have seen; what it wrote there is removed at the end. Without them nothing is left on disk. `on_update(update)`
    is called every `every` updates, in eval mode, in each worker; before it, `on_recovery` with the rate learned so far,
    without which a judge cannot be read. The cost counts the tokens of all workers, padding left out.
    Raises ValueError where no sample teaches, where `work_dir` holds another run's checkpoint, and for a loss that is no
    longer finite; FilterCollapse (a ValueError) with an explanation for a filter that collapses.
    """
    started = time.perf_counter()
    taught = [sample for sample in samples if objective.teaches(sample)]
    if not taught:
        raise ValueError(f"none of {len(samples)} samples has a scored outcome or a label to learn from")
    workers = int(os.environ.get("WORLD_SIZE", "1"))
    lengths = [len(s.token_ids_T) for s in taught]
    plan = schedule(lengths, num_updates * workers, batch_size, token_budget, seed)
    saves = work_dir is not None and save_every > 0
    with ExitStack() as stack:
        stack.enter_context(_seeded(seed))
        folder = Path(work_dir if work_dir and saves else stack.enter_context(tempfile.TemporaryDirectory()))
        arguments = TrainingArguments(
            output_dir=str(folder), max_steps=num_updates, per_device_train_batch_size=1,
            learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=math.ceil(warmup_share * num_updates),
            weight_decay=weight_decay, max_grad_norm=max_grad_norm, bf16=dtype == "bfloat16", seed=seed,
            save_strategy="steps" if saves else "no", save_steps=save_every or 500, save_total_limit=1,
            logging_steps=max(1, num_updates // 20), logging_nan_inf_filter=False, report_to=[],
            disable_tqdm=not progress, remove_unused_columns=False, train_sampling_strategy="sequential",
            dataloader_pin_memory=False, use_cpu=not torch.cuda.is_available(),
            ddp_find_unused_parameters=workers > 1, label_names=["outcome_B"], log_level="error",
        )  # fmt: skip
        # Several GPUs in one process would each need an item of the dataset; a launcher gives each a process.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        fitting = Fitting(scorer, objective)
        callbacks: list[TrainerCallback] = [FiniteLoss()]
        if on_update and every:

            def report(update: int) -> None:
                if on_recovery and objective.learns_recovery:
                    on_recovery(fitting.recovery)
                on_update(update)

            callbacks.append(EveryUpdates(every, report))
        trainer = PRMTrainer(
            fitting,
            arguments,
            train_dataset=Batches(taught, plan, pad_id),
            data_collator=lambda items: items[0],
            callbacks=callbacks,
        )
        trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
        if progress:
            trainer.add_callback(_Bar)
        last = None
        if saves:
            made_with = (num_updates, save_every, learning_rate, warmup_share, weight_decay, max_grad_norm, dtype, seed)
            shapes = [(name, tuple(value.shape)) for name, value in fitting.named_parameters()]
            taught_by = (objective.pooling, objective.knobs, objective.warmup_updates, objective.label_updates)
            key = run_key(taught, plan, repr((made_with, taught_by, shapes)))
            last = last_checkpoint(folder, key, trainer)
        if dtype == "bfloat16" and arguments.device.type == "cpu" and max(lengths) <= _EAGER_LENGTH:
            stack.enter_context(plain_attention(scorer))
        trainer.train(resume_from_checkpoint=last)
        scorer.eval()
        trainer.accelerator.wait_for_everyone()
        if saves and trainer.is_world_process_zero():
            clear(folder)
    return Fit(
        [(int(row["step"]), float(row["loss"])) for row in trainer.state.log_history if "loss" in row],
        fitting.recovery if objective.learns_recovery else None,
        Cost(forwarded_tokens=sum(lengths[i] for batch in plan for i in batch), seconds=time.perf_counter() - started),
        fitting.watch.lines(),
        tuple(
            {"update": row["step"], **{k: row[k] for k in SHARES}}
            for row in trainer.state.log_history
            if SHARES[0] in row
        ),
    )
