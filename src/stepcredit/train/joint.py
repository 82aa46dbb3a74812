"""SPRM's joint training: GRPO on the outcome and the judge's own loss, on one backbone and the same rollouts.

    L = L_GRPO + c L_head,      h <- g h + (1 - g) stop_gradient(h) where the head reads

MetaStone-S1, arXiv:2507.01951, section 3. GRPO (arXiv:2402.03300) is TRL's `GRPOTrainer`; the head reads the hidden
states of its forward pass, at the delimiters the policy wrote, so that judging costs the head alone. Defaults are the
1.5B script's; its reward mark for a truncated answer is a status here. One AdamW with a group for the policy and one for
the head, each clipped by itself; constant rates. `g` and the layer are the scorer's (`judge/shared_head`).
Departs: temperature 1 (.6 in the script), so that attempts are the policy's own; no length filter.
Degenerate: a group of equal outcomes has no advantage and still teaches the head; a rollout without a closed step does
not. TRL is the extra `rl`, imported when a run starts. One process; a run that is killed starts anew.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from transformers import PrinterCallback, ProgressCallback

from stepcredit.core.protocols import Verifier
from stepcredit.core.types import Cost, Problem
from stepcredit.train._extra import check_installed
from stepcredit.train._joint import JointLoss, Rollouts, Row
from stepcredit.train._trainer import EveryUpdates, FiniteLoss, quietly
from stepcredit.train.prm import Fitting, Objective
from stepcredit.train.tiny import _Bar, _seeded

OnCollapse = Literal["raise", "note"]


@dataclass(frozen=True)
class Grpo:
    """The policy's half, and how the head is weighed against it.

    A batch of rollouts is `num_attempts` attempts at each of `num_problems` problems, split over `num_mini_batches`
    updates. `coefficient` is c; `kl` and `entropy` weigh the distance to the first policy and the entropy bonus.
    Raises ValueError for values out of range, or a batch that does not split evenly.
    """

    num_updates: int = 200
    num_problems: int = 32
    num_attempts: int = 8
    num_mini_batches: int = 4  # 32 problems in mini-batches of 8
    learning_rate: float = 1e-6
    head_learning_rate: float = 1e-5
    coefficient: float = 1.0
    clip: float = 0.2
    kl: float = 0.001
    entropy: float = 0.001
    max_grad_norm: float = 1.0
    weight_decay: float = 0.01
    temperature: float = 1.0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        whole = {"num_updates": 1, "num_problems": 1, "num_attempts": 2, "num_mini_batches": 1, "max_new_tokens": 1}
        for name, least in whole.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {least} or more")
        for name in ("learning_rate", "head_learning_rate", "coefficient", "kl", "entropy"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")
        if not (self.temperature > 0 and self.max_grad_norm > 0 and 0 < self.clip < 1):
            raise ValueError(f"temperature {self.temperature}, max_grad_norm {self.max_grad_norm}, clip {self.clip}; "
                             "allowed: above 0, above 0, between 0 and 1")  # fmt: skip
        if self.num_problems * self.num_attempts % self.num_mini_batches:
            raise ValueError(f"{self.num_problems} problems with {self.num_attempts} attempts each do not split evenly "
                             f"into {self.num_mini_batches} mini-batches")  # fmt: skip


@dataclass(frozen=True)
class Joint:
    """What a joint run leaves: a row an update, what the filter keeps in sentences, the cost, whether the filter fell.

    `collapsed` says when and how, and is empty where it did not. A row has `update`, `accuracy` (share of right attempts; unparsed and truncated ones are wrong), `score_right` and
    `score_wrong` (mean attempt score of each, absent or NaN where there are none), `head_loss`, and the filter's shares.
    """

    curve: list[Row]
    lines: tuple[str, ...]
    cost: Cost
    collapsed: str = ""


def joint(
    scorer: Any, problems: Sequence[Problem], verifier: Verifier, *, objective: Objective, grpo: Grpo | None = None,
    seed: int = 0, on_row: Callable[[Row], None] | None = None, on_update: Callable[[int], None] | None = None,
    every: int = 0, on_collapse: OnCollapse = "raise", progress: bool = False,
) -> Joint:  # fmt: skip
    """Train policy and head of a `SharedHeadScorer` in place. Same seed, same weights; global generators are given back.

    The policy writes on from `prompt + prompt_end`; its steps end in the layout's marker. `objective` teaches the head
    by outcomes: a filter (`relabel`) or a pooling. `on_row` gets each row as it comes, also those before a collapse;
    `on_update(update)` is called every `every` updates, in eval mode. With on_collapse="note" a filter that collapses
    leaves the policy its run.
    Raises RuntimeError where TRL is missing; ValueError for an objective that needs labels, a scorer that does not see the
    problem, too few or too long problems, several processes, a loss that is no longer finite; FilterCollapse (a
    ValueError) for a filter that collapses.
    """
    started, grpo = time.perf_counter(), grpo or Grpo()
    check_installed()
    layout = scorer.manifest.layout
    prompts = [problem.prompt + layout.prompt_end for problem in problems]
    _check(scorer, prompts, objective, grpo)
    if on_collapse not in get_args(OnCollapse):
        raise ValueError(f"on_collapse is {on_collapse!r}; allowed: {', '.join(get_args(OnCollapse))}")
    curve: list[Row] = []

    def row(one: Row) -> None:
        curve.append(one)
        if on_row is not None:
            on_row(one)

    with _seeded(seed), tempfile.TemporaryDirectory() as folder, quietly():
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        arguments = GRPOConfig(
            output_dir=folder, max_steps=grpo.num_updates, num_generations=grpo.num_attempts,
            per_device_train_batch_size=grpo.num_problems * grpo.num_attempts // grpo.num_mini_batches,
            steps_per_generation=grpo.num_mini_batches, max_completion_length=grpo.max_new_tokens,
            temperature=grpo.temperature, loss_type="bnpo", epsilon=grpo.clip, beta=grpo.kl,
            use_bias_correction_kl=False, entropy_coef=grpo.entropy, max_grad_norm=grpo.max_grad_norm,
            lr_scheduler_type="constant", bf16=False, gradient_checkpointing=False, save_strategy="no", seed=seed,
            logging_steps=max(1, grpo.num_updates // 20), logging_nan_inf_filter=False, report_to=[],
            disable_tqdm=not progress, dataloader_pin_memory=False, use_cpu=not torch.cuda.is_available(),
            log_level="error",
        )  # fmt: skip
        arguments._n_gpu = min(arguments.n_gpu, 1)
        scorer.to(arguments.device).train()
        groups = [
            {"params": [p for p in scorer.model.parameters() if p.requires_grad], "lr": grpo.learning_rate},
            {"params": list(scorer.head.parameters()), "lr": grpo.head_learning_rate},
        ]
        ends = scorer.model.generation_config.eos_token_id
        ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        rollouts = Rollouts(problems, verifier, layout.marker, [*ends, scorer.tokenizer.eos_token_id])
        kind: Any = type("JointTrainer", (JointLoss, GRPOTrainer), {})
        try:
            trainer = kind(
                model=scorer.model, reward_funcs=rollouts.reward, args=arguments, processing_class=scorer.tokenizer,
                train_dataset=Dataset.from_dict({"prompt": prompts, "row": list(range(len(prompts)))}),
                optimizers=(torch.optim.AdamW(groups, weight_decay=grpo.weight_decay), None),
                callbacks=[FiniteLoss(), *([EveryUpdates(every, on_update)] if on_update and every else [])],
            )  # fmt: skip
            trainer.scorer, trainer.fitting, trainer.rollouts = scorer, Fitting(scorer, objective).train(), rollouts
            trainer.coefficient, trainer.on_row, trainer.on_collapse = grpo.coefficient, row, on_collapse
            trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
            if progress:
                trainer.add_callback(_Bar)
            trainer.train()
        finally:
            scorer.model.__dict__.pop("forward", None)  # TRL puts one of its own on the instance
            scorer.eval()
    passes = 1 + (grpo.num_mini_batches > 1) + (grpo.kl > 0)  # the loss, the policy that wrote, the first policy
    cost = Cost(rollouts.num_tokens, passes * trainer.num_forwarded, rollouts.num_attempts,
                seconds=time.perf_counter() - started)  # fmt: skip
    return Joint(curve, trainer.fitting.watch.lines(), cost, trainer.collapsed)


def _check(scorer: Any, prompts: Sequence[str], objective: Objective, grpo: Grpo) -> None:
    if (
        objective.label_updates
        or (objective.pooling is None and objective.relabel is None)
        or objective.learns_recovery
    ):
        raise ValueError("a rollout has an outcome and no step labels: the objective needs a pooling or a filter, its "
                         "recovery rate fixed")  # fmt: skip
    if not scorer.manifest.layout.show_problem:
        raise ValueError(
            "the head reads the policy's own states, which have seen the problem: show_problem must be True"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"joint training runs in one process, this is one of {os.environ['WORLD_SIZE']}")
    if len(prompts) < grpo.num_problems:
        raise ValueError(f"{len(prompts)} problems do not fill a batch of {grpo.num_problems}")
    lengths = [len(ids) for ids in scorer.tokenizer(list(prompts), verbose=False)["input_ids"]]
    positions = getattr(scorer.model.config, "max_position_embeddings", None)
    if positions and max(lengths) + grpo.max_new_tokens > positions:
        raise ValueError(f"problem {lengths.index(max(lengths))} has {max(lengths)} tokens; with {grpo.max_new_tokens} new "
                         f"ones that is beyond the policy's {positions} positions")  # fmt: skip
