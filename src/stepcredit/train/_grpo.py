"""What `train/grpo` adds to TRL's `GRPOTrainer`: rows out of trees, advantages of tokens, and the loss of shaped rows.

`CreditLoss` is mixed into the trainer's class where it is built, so that this file needs no TRL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stepcredit.core.log_ratios import encode
from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.truth import judged_wrong
from stepcredit.core.types import Completion, Cost, Credit, Floats, Problem, Sample, Tree
from stepcredit.train.groups import grouped
from stepcredit.train.policy_samples import Rules, policy_samples, segments, without_signal
from stepcredit.train.step_advantages import Returns

Row = dict[str, float]


class Batch:
    """One process's trees of one batch, as rows: `rows` is TRL's `rollout_func`.

    `chosen` are the problems of the batch, by their place; `samples` what its rows are, the empty ones at the end left out.
    """

    policy: Any
    settings: Any
    chosen: Sequence[int] = ()
    samples: Sequence[Sample] = ()
    num_attempts = 1

    def __init__(
        self, problems: Sequence[Problem], rollout: Callable[[Sequence[Problem], Policy, Rng], Sequence[Tree]],
        credit: Callable[[Sequence[Tree]], Sequence[Credit]], rules: Rules, rng: Rng, on_row: Callable[[Row], None],
    ) -> None:  # fmt: skip
        self.problems, self.rollout, self.credit, self.rules, self.rng = problems, rollout, credit, rules, rng
        self.on_row = on_row
        self.cost = Cost()
        self.row: Row = {}

    def rows(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """Grow the trees, credit them, and lay them out in tokens: prompt, completion, and what the policy wrote of it."""
        network = trainer.accelerator.unwrap_model(trainer.model)
        network.eval()
        self.policy.num_calls, generated = 0, _generated(self.policy)
        grown = self.rollout([self.problems[place] for place in self.chosen], self.policy, self.rng)
        trees = [judged_wrong(tree, self.settings.wrong) for tree in grouped(grown)]
        if not any(outcome is not None for tree in trees for outcome in tree.outcomes):
            raise ValueError("the rollout's trees have no outcomes: verify their leaves, or nothing is ever learnt")
        credits = list(self.credit(trees))
        network.train()
        tokenizer = trainer.processing_class
        self.samples = policy_samples(trees, credits, tokenizer, rules=self.rules)
        self._fits(network)
        self.num_attempts = sum(len(tree.leaves) for tree in trees)
        if self.settings.loss != "dr_grpo" and not all(_row_is_attempt(tree, self.rules) for tree in trees):
            raise ValueError(f"loss {self.settings.loss!r} averages over rows, and here attempts share steps or fold: a row is no "
                             "attempt; allowed: 'dr_grpo'")  # fmt: skip
        self.cost += sum((tree.cost for tree in trees), sum((credit.cost for credit in credits), Cost()))
        # What a policy says that it generated counts also where trees hold less of it, as behind a stop string.
        kept = sum(tree.cost.generated_tokens for tree in trees)
        self.cost += Cost(generated_tokens=max(0, _generated(self.policy) - generated - kept))
        self.row = _row(trees, credits, self.samples, self.cost, self.rules.returns) | {
            "update": float(trainer.state.global_step + 1)
        }
        heads = [int(np.argmax(sample.loss_mask_T)) for sample in self.samples]
        ids = [sample.token_ids_T.tolist() for sample in self.samples]
        # TRL splits a batch into equal mini-batches, and its groups are pairs: empty rows fill up.
        unit = 2 * self.settings.num_mini_batches
        empty = -len(ids) % unit if ids else unit
        blank = [tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id]
        logprobs = None
        if getattr(trainer, "use_vllm", False):
            logprobs = [s.old_logprob_T[h:].tolist() for s, h in zip(self.samples, heads, strict=True)  # type: ignore[index]
                        ] + [[0.0]] * empty  # fmt: skip
        return {
            "prompt_ids": [own[:head] for own, head in zip(ids, heads, strict=True)] + [blank] * empty,
            "completion_ids": [own[head:] for own, head in zip(ids, heads, strict=True)] + [blank] * empty,
            "env_mask": [s.loss_mask_T[h:].astype(int).tolist() for s, h in zip(self.samples, heads, strict=True)]
            + [[0]] * empty,
            "logprobs": logprobs,
        }

    def _fits(self, network: Any) -> None:
        positions = getattr(network.config, "max_position_embeddings", None)
        longest = max(self.samples, key=lambda one: len(one.token_ids_T), default=None)
        if positions and longest is not None and len(longest.token_ids_T) > positions:
            raise ValueError(
                f"a row of {longest.key} has {len(longest.token_ids_T)} tokens, the policy {positions} positions"
            )

    def advantages(self, width: int, rows: int) -> tuple[Tensor, Tensor]:
        """`advantage_BT` and whether each row is shaped, [B]; 0 and False behind the rows there are.

        TRL divides its sum by the rows there are, empty ones included: times rows over attempts, it is by the attempts.
        """
        advantage_BT, shaped_B = torch.zeros(rows, width), torch.zeros(rows, dtype=torch.bool)
        scale = rows / self.num_attempts if self.settings.loss == "dr_grpo" else 1.0
        for place, sample in enumerate(self.samples):
            assert sample.advantage_T is not None
            own_T: Floats = scale * sample.advantage_T[int(np.argmax(sample.loss_mask_T)) :]
            advantage_BT[place, : len(own_T)] = torch.from_numpy(own_T.copy())
            shaped_B[place] = sample.ratio == "shaped"
        return advantage_BT, shaped_B

    def sampled(self, width: int, rows: int) -> Tensor:
        """Log-probabilities at sampling, [B, T], NaN where there are none."""
        old_BT = torch.full((rows, width), float("nan"))
        for place, sample in enumerate(self.samples):
            assert sample.old_logprob_T is not None
            own_T = sample.old_logprob_T[int(np.argmax(sample.loss_mask_T)) :]
            old_BT[place, : len(own_T)] = torch.from_numpy(own_T.copy())
        return old_BT


def _generated(policy: Any) -> int:
    return int((getattr(policy, "cost", None) or Cost()).generated_tokens)


def _row_is_attempt(tree: Tree, rules: Rules) -> bool:
    """Whether every attempt is laid out in one row of its own."""
    sampled_N = tree.sampled_N
    apart = sum(int(sampled_N[list(tree.path(leaf))].sum()) for leaf in tree.leaves) == int(sampled_N.sum())
    return apart and all(len(segments(tree, leaf, rules)) <= 1 for leaf in tree.leaves)


def _row(
    trees: Sequence[Tree], credits: Sequence[Credit], samples: Sequence[Sample], cost: Cost, returns: Returns
) -> Row:
    outcomes = [tree.outcomes[leaf] for tree in trees for leaf in tree.leaves]
    rewards = [outcome.reward for outcome in outcomes if outcome is not None and outcome.status == "scored"]
    silent, groups = without_signal(trees, credits, returns)
    length = [
        sum(len(tree.steps[n].token_ids or ()) for n in tree.path(leaf)) for tree in trees for leaf in tree.leaves
    ]
    nan = float("nan")
    return {
        "accuracy": float(np.mean([reward > 0.5 for reward in rewards])) if rewards else nan,
        "reward": float(np.mean(rewards)) if rewards else nan,
        "tokens": float(cost.generated_tokens), "length": float(np.mean(length)) if length else nan,
        "attempts": float(len(outcomes)), "rows": float(len(samples)), "silent": silent / groups if groups else nan,
        "trained": float(sum(int(sample.loss_mask_T.sum()) for sample in samples)),
    }  # fmt: skip


class CreditLoss:
    """Mixed in before GRPOTrainer; `batch` and `shaping` are set once the trainer is built."""

    batch: Batch
    shaping: float | None
    num_forwarded = 0
    _fresh = False
    _logprob_BT: Tensor

    def _send_telemetry(self) -> None:
        """Nobody is told."""

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """None: the credit is in the rows. TRL's own advantages are replaced."""
        return torch.zeros(len(prompts), 1, device=self.accelerator.device)  # type: ignore[attr-defined]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.batch.chosen = list(dict.fromkeys(int(one["row"]) for one in inputs))
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        rows, width = output["completion_ids"].shape
        device = output["completion_ids"].device
        advantage_BT, shaped_B = self.batch.advantages(width, rows)
        output["advantages"], output["shaped"] = advantage_BT.to(device), shaped_B.to(device)
        output["sampled_logprobs"] = self.batch.sampled(width, rows).to(device)
        self._fresh = True
        limit, spent = self.batch.settings.max_generated_tokens, self.batch.cost.generated_tokens
        if limit is not None:  # of all processes together: they stop at the same update
            own = torch.tensor([spent], device=device)
            if int(self.accelerator.gather(own).sum()) >= limit:  # type: ignore[attr-defined]
                self.control.should_training_stop = True  # type: ignore[attr-defined]
        return output

    def _get_per_token_logps_and_entropies(self, *given: Any, **named: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*given, **named)  # type: ignore[misc]
        self._logprob_BT = found[0].detach()
        return found

    def _compute_loss(self, model: Any, inputs: Any) -> Tensor:
        """TRL's loss of the rows under the ordinary ratio, and -A pi / (pi + gamma) of the shaped ones."""
        self.num_forwarded += int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        shaped_B = inputs["shaped"]
        plain = {**inputs, "tool_mask": inputs["tool_mask"] * ~shaped_B[:, None]} if self._shapes(shaped_B) else inputs
        loss: Tensor = super()._compute_loss(model, plain)  # type: ignore[misc]
        if self._fresh:  # the weights are still those that wrote
            self._fresh = False
            self.batch.on_row({**self.batch.row, "sampling_gap": self._gap(inputs)})
        if not self._shapes(shaped_B):
            return loss
        if self.loss_type != "dr_grpo":  # type: ignore[attr-defined]
            raise ValueError(f"shaped rows need loss='dr_grpo', this is {self.loss_type!r}")  # type: ignore[attr-defined]
        ids_BT, there_BT = (torch.cat([inputs[f"prompt_{of}"], inputs[f"completion_{of}"]], dim=1)[shaped_B]
                            for of in ("ids", "mask"))  # fmt: skip
        self.num_forwarded += int(there_BT.sum())
        width = inputs["completion_ids"].shape[1]
        logprob_BT = self._get_per_token_logps_and_entropies(model, ids_BT, there_BT, width)[0]
        ratio_BT = torch.sigmoid(logprob_BT - float(np.log(self.shaping or 1.0)))  # pi / (pi + gamma)
        mask_BT = (inputs["completion_mask"] * inputs["tool_mask"])[shaped_B]
        total = (inputs["advantages"][shaped_B] * ratio_BT * mask_BT).sum()
        constant = len(shaped_B) * self.max_completion_length * self.current_gradient_accumulation_steps  # type: ignore[attr-defined]
        whole: Tensor = loss - total / constant
        return whole

    def _shapes(self, shaped_B: Tensor) -> bool:
        return self.shaping is not None and bool(shaped_B.any())

    def _gap(self, inputs: Any) -> float:
        """How far the trainer's log-probabilities are from those at sampling, which are the model's own at temperature 1."""
        if self.batch.settings.temperature != 1.0:
            return float("nan")
        there_BT = inputs["sampled_logprobs"]
        trained_BT = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
        known_BT = trained_BT & ~torch.isnan(there_BT) & ~inputs["shaped"][:, None]
        return float((self._logprob_BT - there_BT)[known_BT].abs().max()) if bool(known_BT.any()) else float("nan")

    def as_policy(self, own: Any) -> Any:
        """TRL's generation (vLLM or `generate`) as a Policy."""
        return TrlPolicy(self, own)


class TrlPolicy:
    """A policy whose tokens TRL generates: with vLLM, or with `generate` on a model that is spread over processes.

    A stop string is cut afterwards; what was generated behind it is counted by the batch. Randomness is TRL's own. Generation is
    collective where weights are spread, so with several processes a rollout may ask once a batch: ValueError beyond that.
    """

    def __init__(self, trainer: Any, own: Any) -> None:
        self.trainer, self.own, self.cost, self.num_calls = trainer, own, Cost(), 0
        self.tokenizer, self.token_ends = own.tokenizer, own.token_ends
        self.temperature, self.top_p = own.temperature, own.top_p

    def sample(
        self, prefixes: Sequence[str], num: int, rng: Rng, *, stop: Sequence[str] = (), max_new_tokens: int = 256
    ) -> list[list[Completion]]:
        """`num` completions of each prefix, as `Policy` has it; `rng` is not used."""
        started = time.perf_counter()
        self.num_calls += 1
        if self.num_calls > 1 and self.trainer.accelerator.num_processes > 1:
            raise ValueError("with several processes generation='trl' asks once a batch, and this rollout asks again, as trees and "
                             "episodes do; allowed: generation='policy', or one process")  # fmt: skip
        heads = [ids for ids in encode(self.tokenizer, list(prefixes)) for _ in range(num)]
        rows, logprobs = self.trainer._generate_single_turn(heads, None, {}, 1)
        found = [self._completion(ids, None if logprobs is None else logprobs[place], stop, max_new_tokens)
                 for place, ids in enumerate(rows)]  # fmt: skip
        self.cost += Cost(sum(map(len, rows)), sum(map(len, heads)), seconds=time.perf_counter() - started)
        return [found[place * num : (place + 1) * num] for place in range(len(prefixes))]

    def logprob(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Floats:
        """The policy's own."""
        found: Floats = self.own.logprob(prefixes, continuations)
        return found

    def _completion(self, ids: Sequence[int], logprobs: Sequence[float] | None, stop: Sequence[str], limit: int) -> Completion:  # fmt: skip
        ended = len(ids) <= limit and bool(ids) and ids[-1] in self.trainer.eos_token_ids
        ids = list(ids[:limit])
        text = self.own._texts([ids])[0]
        at = min((text.find(mark) + len(mark) for mark in stop if mark in text), default=None)
        if at is not None:
            ends = self.token_ends(ids)
            ids = ids[: next(place + 1 for place, end in enumerate(ends) if end >= at)]
            text = text[: min(text.find(mark) for mark in stop if mark in text)]
        return Completion(text, tuple(ids), None if logprobs is None else tuple(logprobs[: len(ids)]),
                          finish="stop" if ended or at is not None else "length")  # fmt: skip
