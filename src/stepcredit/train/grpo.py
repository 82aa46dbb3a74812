"""Reinforcement learning with step credit: TRL's `GRPOTrainer`, told per token what each step is worth.

    problems -> rollout -> trees -> credit -> rows of tokens with A_t (`policy_samples`) -> clipped policy gradient

GRPO (arXiv:2402.03300) with token advantages [B, T]; the trainer never learns which credit method made them. The loop, mixed
precision, accelerate and FSDP, peft and the clipped loss are TRL's; what is ours is what stands between a rollout and A_t. The
loss is a sum over tokens divided by attempts times `max_new_tokens` ("dr_grpo", arXiv:2503.20783), so that neither the length
of an attempt, nor the number of its steps, nor the rows it is laid out in scale a token: with one pass over the data its
gradient is the policy gradient. TRL's other losses average over rows, and are refused where a row is not an attempt.
A group is a problem with its given prefix (`grouped`). Old log-probabilities are those of the policy that wrote, by the same
forward pass and temperature as the loss; sampling must cut nothing (top_p 1).
Rows marked "shaped" (a refinement, under the question alone) have the loss -A pi / (pi + gamma), without clipping, as
Critique-GRPO's code (arXiv:2506.03106, equation 4; its clip would drop every token with A < 0 and pi < .4).
The budget: `max_generated_tokens` ends a run once that many tokens are sampled, so that arms stop at equal measured cost.
Degenerate: a group of equal outcomes has advantages of exactly 0 and is counted (`silent`); a batch of nothing but such groups
is an update with gradient 0 (or the KL's). TRL is the extra `rl`, imported when a run starts. A killed run starts anew.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from transformers import PrinterCallback, ProgressCallback

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.rng import rng as rng_of
from stepcredit.core.types import NO_ANSWER, Cost, Credit, OutcomeStatus, Problem, Tree
from stepcredit.train._extra import check_installed
from stepcredit.train._grpo import Batch, CreditLoss, Row
from stepcredit.train._trainer import EveryUpdates, FiniteLoss, quietly
from stepcredit.train.policy_samples import Rules
from stepcredit.train.tiny import _Bar, _seeded

Rollout = Callable[[Sequence[Problem], Policy, Rng], Sequence[Tree]]
CreditFn = Callable[[Sequence[Tree]], Sequence[Credit]]
LossType = Literal["dr_grpo", "grpo", "bnpo", "dapo", "cispo"]
Generation = Literal["policy", "trl"]


@dataclass(frozen=True)
class Settings:
    """What an update is. A batch of trees at `num_problems` problems serves `num_mini_batches` x `num_iterations` updates.

    `clip` is epsilon, `clip_high` the upper one (DAPO) where it differs; `shaping` is gamma of shaped rows, None to treat them
    like the others; `max_new_tokens` is the constant that sums are divided by. Attempts whose outcome has a status in `wrong`
    are wrong answers, reward 0: were they unscored, nothing would hold a policy from never ending. A verifier that failed,
    timed out or abstained says nothing, and such attempts take no part. Raises ValueError out of range.
    """

    num_updates: int = 100
    num_problems: int = 8
    num_mini_batches: int = 1
    num_iterations: int = 1
    learning_rate: float = 1e-6
    clip: float = 0.2
    clip_high: float | None = None
    kl: float = 0.0
    entropy: float = 0.0
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    temperature: float = 1.0
    max_new_tokens: int = 256
    loss: LossType = "dr_grpo"
    shaping: float | None = 0.1
    wrong: tuple[OutcomeStatus, ...] = NO_ANSWER
    max_generated_tokens: int | None = None
    generation: Generation = "policy"
    trl: dict[str, Any] = field(default_factory=dict)  # anything else of TRL's GRPOConfig: use_vllm, fsdp, bf16, ...

    def __post_init__(self) -> None:
        for name in ("num_updates", "num_problems", "num_mini_batches", "num_iterations", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        for name in ("learning_rate", "kl", "entropy", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")
        if not (self.temperature > 0 and self.max_grad_norm > 0 and 0 < self.clip < 1):
            raise ValueError(f"temperature {self.temperature}, max_grad_norm {self.max_grad_norm}, clip {self.clip}; "
                             "allowed: above 0, above 0, between 0 and 1")  # fmt: skip
        if self.loss not in get_args(LossType) or self.generation not in get_args(Generation):
            raise ValueError(f"loss is {self.loss!r}, generation {self.generation!r}; allowed: "
                             f"{', '.join(get_args(LossType))}; {', '.join(get_args(Generation))}")  # fmt: skip
        for name in ("clip_high", "max_generated_tokens"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: above 0, or None")
        if self.loss == "cispo" and (self.clip_high is None or self.clip_high < 1):
            raise ValueError(
                f"clip_high is {self.clip_high}; with loss='cispo' it is the largest ratio: allowed: 1 or more"
            )
        if self.trl.get("use_vllm") and self.generation != "trl":
            raise ValueError("use_vllm goes with generation='trl': the policy itself would write, and vLLM stand by")
        if self.shaping is not None and not self.shaping > 0:
            raise ValueError(f"shaping is {self.shaping}; allowed: above 0, or None")
        if 2 * self.num_problems % self.num_mini_batches:
            raise ValueError(
                f"{self.num_problems} problems twice do not split evenly into {self.num_mini_batches} mini-batches"
            )


@dataclass(frozen=True)
class Trained:
    """What a run leaves: a row a batch, and the cost. The policy's network was trained in place.

    A row has `update`, `accuracy` (share of scored attempts that are right; truncated and unparsed count as wrong),
    `reward` (their mean), `tokens` generated so far, `length` (tokens an attempt), `attempts`, `rows`, `silent` (share of
    groups whose advantage is exactly 0), `trained` (tokens with a loss), `sampling_gap` (largest difference between the
    log-probabilities at sampling and the trainer's at the first update of the batch, NaN where there is nothing to compare).
    """

    curve: list[Row]
    cost: Cost


def grpo(
    policy: Any, problems: Sequence[Problem], *, rollout: Rollout, credit: CreditFn, settings: Settings | None = None,
    rules: Rules | None = None, seed: int = 0, on_row: Callable[[Row], None] | None = None,
    on_update: Callable[[int], None] | None = None, every: int = 0, peft_config: Any = None, progress: bool = False,
) -> Trained:  # fmt: skip
    """Train the network of `policy` (`policy/hf`: it has `model` and `tokenizer`) in place. Same seed, same weights.

    `rollout(problems, policy, rng)` grows trees whose leaves have outcomes, several a problem where they start elsewhere;
    `credit(trees)` gives a credit of kind advantage or reward each. `generation="trl"` samples through TRL (vLLM with
    `trl={"use_vllm": True}`), "policy" through the policy itself, which needs its weights whole on this process. `on_row` gets
    a row a batch, `on_update(update)` is called every `every` updates in eval mode. With `peft_config` adapters are trained.
    Raises RuntimeError where TRL is missing; ValueError for too few problems, a policy that cuts what it samples or has another
    temperature, rows beyond its positions, credit that is no advantage or reward, a loss that is no longer finite.
    """
    started, settings = time.perf_counter(), settings or Settings()
    check_installed()
    _check(policy, problems, settings, adapted=peft_config is not None)
    curve: list[Row] = []

    def row(one: Row) -> None:
        curve.append(one)
        if on_row is not None:
            on_row(one)

    batch = Batch(
        problems,
        rollout,
        credit,
        rules or Rules(),
        rng_of(seed, "grpo", "rollout", int(os.environ.get("RANK", "0"))),
        row,
    )
    with _seeded(seed), tempfile.TemporaryDirectory() as folder, quietly():
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        arguments = GRPOConfig(**{
            "output_dir": folder, "max_steps": settings.num_updates, "num_generations": 2,
            "per_device_train_batch_size": 2 * settings.num_problems // settings.num_mini_batches,
            "steps_per_generation": settings.num_mini_batches, "num_iterations": settings.num_iterations,
            "max_completion_length": settings.max_new_tokens, "temperature": settings.temperature,
            "loss_type": settings.loss, "epsilon": settings.clip, "epsilon_high": settings.clip if settings.clip_high is None else settings.clip_high,
            "beta": settings.kl, "use_bias_correction_kl": False, "entropy_coef": settings.entropy,
            "max_grad_norm": settings.max_grad_norm, "learning_rate": settings.learning_rate,
            "weight_decay": settings.weight_decay, "lr_scheduler_type": "constant", "bf16": False,
            "gradient_checkpointing": False, "save_strategy": "no", "seed": seed,
            "logging_steps": max(1, settings.num_updates // 20), "logging_nan_inf_filter": False, "report_to": [],
            "disable_tqdm": not progress, "dataloader_pin_memory": False, "use_cpu": not torch.accelerator.is_available(),
            "log_level": "error", **settings.trl,
        })  # fmt: skip
        kind: Any = type("CreditTrainer", (CreditLoss, GRPOTrainer), {})
        data = {"prompt": [problem.prompt for problem in problems], "row": list(range(len(problems)))}
        callbacks = [FiniteLoss(), *([EveryUpdates(every, on_update)] if on_update and every else [])]
        try:
            trainer = kind(
                model=policy.model, reward_funcs=_no_reward, args=arguments, processing_class=policy.tokenizer,
                train_dataset=Dataset.from_dict(data), rollout_func=batch.rows, callbacks=callbacks,
                peft_config=peft_config,
            )  # fmt: skip
            trainer.batch, trainer.shaping, batch.settings = batch, settings.shaping, settings
            batch.policy = policy if settings.generation == "policy" else trainer.as_policy(policy)
            trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
            if progress:
                trainer.add_callback(_Bar)
            trainer.train()
        finally:
            policy.model.__dict__.pop("forward", None)  # TRL puts one of its own on the instance
            policy.model.eval()
    # Where a batch serves several updates the policy that wrote is asked once a batch, and so is the first policy.
    asked = (settings.num_mini_batches * settings.num_iterations > 1) + (settings.kl > 0)
    cost = batch.cost + Cost(
        forwarded_tokens=trainer.num_forwarded + asked * trainer.num_forwarded // settings.num_iterations
    )
    return Trained(curve, Cost(cost.generated_tokens, cost.forwarded_tokens, cost.verifier_calls, cost.judge_calls,
                               time.perf_counter() - started))  # fmt: skip


def _no_reward(prompts: Sequence[str], **_: Any) -> list[float]:
    """TRL wants a reward function; the credit decides."""
    return [0.0] * len(prompts)


def _check(policy: Any, problems: Sequence[Problem], settings: Settings, adapted: bool) -> None:
    if len(problems) < settings.num_problems:
        raise ValueError(f"{len(problems)} problems do not fill a batch of {settings.num_problems}")
    temperature, top_p = getattr(policy, "temperature", settings.temperature), getattr(policy, "top_p", 1.0)
    if not math.isclose(temperature, settings.temperature) or top_p != 1.0:
        raise ValueError(f"the policy samples at temperature {temperature}, top_p {top_p}; the ratio needs temperature "
                         f"{settings.temperature} and top_p 1")  # fmt: skip
    if not hasattr(policy, "model") or getattr(policy, "tokenizer", None) is None:
        raise ValueError(
            f"a {type(policy).__name__} has no network to train; allowed: policies with `model` and `tokenizer`"
        )
    narrow = next((p.dtype for p in policy.model.parameters() if p.requires_grad and p.dtype != torch.float32), None)
    if narrow is not None and not adapted:
        raise ValueError(f"the policy's weights are {narrow}: updates at small rates vanish in them; load it with dtype float32, and "
                         "compute in less with trl={'bf16': True}")  # fmt: skip
