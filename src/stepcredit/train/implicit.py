"""Train a language model on outcomes so that its log-ratio to where it started says P(right): an implicit reward.

    q_b = beta sum_t log pi(t | before) / pi_ref(t | before)       over the tokens of the sampled steps of attempt b
    L = -1/B sum_b [ y_b log sigmoid(q_b) + (1 - y_b) log sigmoid(-q_b) ]
    dL/dtheta = beta/B sum_b (sigmoid(q_b) - y_b) d log pi(b)/dtheta

ImplicitPRM, arXiv:2412.01981, section 3, its cross-entropy form, which takes soft and unpaired outcomes; PRIME,
arXiv:2502.01456. `judge/implicit` and `credit/log_ratio` read what it learned; their texts and tokens are the trainer's, by
`core/log_ratios`. Tool results and prompts are read, never counted.
The copy stays in evaluation mode, without dropout: at the start every reward is 0 and P is 1/2. Departs: linear warm-up
and decay of the learning rate; no weight decay, which would draw to zero, not to the reference.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
)

from stepcredit.core.layout import buckets
from stepcredit.core.types import Cost, Floats, Record
from stepcredit.train._log_ratio_rows import Attempt, attempts, collate
from stepcredit.train._trainer import FiniteLoss, plain_attention
from stepcredit.train.prm import schedule
from stepcredit.train.tiny import _EAGER_LENGTH, _Bar, _seeded

Dtype = Literal["float32", "bfloat16"]
OnLong = Literal["raise", "skip"]


@dataclass(frozen=True)
class ImplicitFit:
    """The folder of the tuned model, its loss by update, and what the reference's pass and the training cost."""

    folder: Path
    loss: list[tuple[int, float]]
    cost: Cost


class LogRatio(nn.Module):
    """A causal language model with the cross-entropy of its log-ratio: what the Trainer calls."""

    def __init__(self, policy: nn.Module, beta: float) -> None:
        super().__init__()
        self.policy, self.beta = policy, beta
        self.policy.eval()

    def train(self, mode: bool = True) -> LogRatio:
        """The policy stays in evaluation mode: a reward is read without dropout, and so it is trained."""
        super().train(mode)
        self.policy.eval()
        return self

    def forward(
        self, token_ids_RT: Tensor, attention_RT: Tensor, weight_RT: Tensor, owner_BR: Tensor, outcome_B: Tensor,
        reference_B: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The loss of one batch; `reference_B` are the reference's log-probabilities of the attempts, in nats."""
        own_B = self.logprob(token_ids_RT, attention_RT, weight_RT, owner_BR)
        loss = nn.functional.binary_cross_entropy_with_logits(self.beta * (own_B - reference_B), outcome_B)
        return {"loss": loss}

    def logprob(self, token_ids_RT: Tensor, attention_RT: Tensor, weight_RT: Tensor, owner_BR: Tensor) -> Tensor:
        """Log-probability of each attempt's counted tokens, [B], in nats, added in double precision."""
        logits_RTV = self.policy(input_ids=token_ids_RT, attention_mask=attention_RT, use_cache=False).logits[:, :-1]
        counted_RT = weight_RT[:, 1:] > 0
        logits_MV = logits_RTV[counted_RT]  # a softmax of what counts alone
        logits_MV = logits_MV.to(torch.promote_types(logits_MV.dtype, torch.float32))
        own_M = -nn.functional.cross_entropy(logits_MV, token_ids_RT[:, 1:][counted_RT], reduction="none")
        own_RT = torch.zeros_like(weight_RT[:, 1:]).masked_scatter(counted_RT, own_M.double())
        own_B: Tensor = (owner_BR * (own_RT * weight_RT[:, 1:]).sum(-1)).sum(-1)
        return own_B


def fit(
    records: Iterable[Record], reference: str | Path, folder: str | Path, *, beta: float = 0.05, num_updates: int = 1000,
    batch_size: int = 64, token_budget: int = 16384, max_tokens: int = 4096, on_long: OnLong = "raise",
    learning_rate: float = 1e-6, warmup_share: float = 0.1, max_grad_norm: float = 10.0, dtype: Dtype = "float32",
    seed: int = 0, prompt_end: str = "\n", delimiter: str = "\n", progress: bool = False,
) -> ImplicitFit:  # fmt: skip
    """Train a copy of the model in folder `reference` and save it as `folder`, an ordinary model folder.

    beta, learning rate and clipping are PRIME's; a model of a million weights wants a rate near 1e-4. Weights are
    float32, also in the saved folder; "bfloat16" is autocast, for the reference's pass too. A batch holds attempts of nearly
    equal length, `batch_size` of them under `token_budget` padded tokens. Same seed, same weights; the global random
    generators are given back as they were. `folder` appears when training is done, with `training.json`: what made
    it, and what a judge must be given again (beta, prompt_end, delimiter).
    Attempts without a scored outcome are left out. Raises ValueError for a knob out of range, a reference that is no
    model folder, a `folder` that is not empty, an attempt over `max_tokens` or the model's positions, naming its row,
    outcomes that are all missing or all alike, and a loss that is no longer finite.
    """
    started = time.perf_counter()
    source, out = _checked(reference, folder, beta, dtype, on_long)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    policy = AutoModelForCausalLM.from_pretrained(source, dtype="float32", trust_remote_code=False)
    positions = getattr(policy.config, "max_position_embeddings", None) or max_tokens
    data = attempts(records, tokenizer, limit=min(max_tokens, positions), on_long=on_long,
                    prompt_end=prompt_end, delimiter=delimiter)  # fmt: skip
    room = [attempt.room for attempt in data]
    plan = schedule(room, num_updates, batch_size, token_budget, seed)
    pad_id = tokenizer.pad_token_id or 0
    made_with = {
        "reference": str(reference), "beta": beta, "prompt_end": prompt_end, "delimiter": delimiter, "seed": seed,
        "num_updates": num_updates, "batch_size": batch_size, "token_budget": token_budget, "dtype": dtype,
        "learning_rate": learning_rate, "warmup_share": warmup_share, "max_grad_norm": max_grad_norm,
        "num_attempts": len(data),
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(_seeded(seed))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(dir=out.parent, prefix=".unfinished-"))
        arguments = TrainingArguments(
            output_dir=f"{scratch}/trainer", max_steps=num_updates, per_device_train_batch_size=1,
            learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=math.ceil(warmup_share * num_updates),
            weight_decay=0.0, max_grad_norm=max_grad_norm, bf16=dtype == "bfloat16", seed=seed, save_strategy="no",
            logging_steps=max(1, num_updates // 20), logging_nan_inf_filter=False, report_to=[],
            disable_tqdm=not progress, remove_unused_columns=False, train_sampling_strategy="sequential",
            dataloader_pin_memory=False, use_cpu=not torch.cuda.is_available(), label_names=["outcome_B"],
            log_level="error",
        )  # fmt: skip
        arguments._n_gpu = min(arguments.n_gpu, 1)  # each would want an item of the dataset, which is a whole batch
        if dtype == "bfloat16" and arguments.device.type == "cpu" and max(room) <= _EAGER_LENGTH:
            stack.enter_context(plain_attention(policy))
        model = LogRatio(policy.to(arguments.device), beta)
        reference_A = _reference(model, data, buckets(room, token_budget), pad_id, dtype)
        trainer = Trainer(
            model, arguments, train_dataset=_Batches(data, plan, reference_A, pad_id),
            data_collator=lambda items: items[0], callbacks=[FiniteLoss()],
        )  # fmt: skip
        trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
        if progress:
            trainer.add_callback(_Bar)
        trainer.train()
        loss = [(int(row["step"]), float(row["loss"])) for row in trainer.state.log_history if "loss" in row]
        made = Path(scratch) / "model"
        policy.save_pretrained(made)
        tokenizer.save_pretrained(made)
        (made / "training.json").write_text(json.dumps({**made_with, "loss": loss}, indent=1), encoding="utf-8")
        os.replace(made, out)
    tokens = [attempt.num_tokens for attempt in data]
    forwarded = sum(tokens) + sum(tokens[place] for batch in plan for place in batch)
    return ImplicitFit(out, loss, Cost(forwarded_tokens=forwarded, seconds=time.perf_counter() - started))


class _Batches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The schedule: item i is the i-th update's batch."""

    def __init__(self, data: Sequence[Attempt], plan: list[list[int]], reference_A: Floats, pad_id: int) -> None:
        self.data, self.plan, self.reference_A, self.pad_id = data, plan, reference_A, pad_id

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        chosen = self.plan[index]
        batch = collate([self.data[place] for place in chosen], self.pad_id)
        return {**batch, "reference_B": torch.as_tensor(self.reference_A[chosen])}


def _reference(
    model: LogRatio, data: Sequence[Attempt], batches: Iterable[list[int]], pad_id: int, dtype: Dtype
) -> Floats:
    """The log-probability of every attempt before training, [A]; ValueError where there is none."""
    found_A = np.full(len(data), np.nan)
    device = next(model.parameters()).device
    model.eval()
    for chosen in batches:
        batch = collate([data[place] for place in chosen], pad_id)
        batch.pop("outcome_B")
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            found_A[chosen] = model.logprob(**{name: one.to(device) for name, one in batch.items()}).cpu().numpy()
    for attempt, found in zip(data, found_A, strict=True):
        if not np.isfinite(found):
            raise ValueError(f"{attempt.where}: the reference gives it the log-probability {found}, which has no ratio")
    return found_A


def _checked(reference: str | Path, folder: str | Path, beta: float, dtype: str, on_long: str) -> tuple[Path, Path]:
    """The two folders; ValueError for what can be refused before anything is read."""
    if not (beta > 0 and math.isfinite(beta)):
        raise ValueError(f"beta must be positive, got {beta}")
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype is {dtype!r}; allowed: {', '.join(get_args(Dtype))}")
    if on_long not in get_args(OnLong):
        raise ValueError(f"on_long is {on_long!r}; allowed: {', '.join(get_args(OnLong))}")
    source, out = Path(reference).expanduser(), Path(folder).expanduser()
    if not (source / "config.json").is_file():
        raise ValueError(f"the reference {str(reference)!r} is no model folder: there is no config.json in it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{str(folder)!r} is there already; remove it, or choose another folder")
    return source, out
