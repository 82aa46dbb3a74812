"""What SPRM adds to TRL's `GRPOTrainer`: outcomes kept beside the rewards, and the head's loss in the same pass.

`JointLoss` is mixed into the trainer's class where it is built, so that this file needs no TRL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stepcredit.core.filter_state import FilterCollapse
from stepcredit.core.protocols import Verifier
from stepcredit.core.readout import judgment
from stepcredit.core.types import NO_ANSWER, Outcome, Problem, Step
from stepcredit.train.prm import Fitting

Row = dict[str, float]


class Rollouts:
    """Verifies what the policy wrote: a reward for GRPO, an outcome for the head, the count of both.

    Truncated or unparsed is a wrong answer (reward 0) but no outcome (NaN), so that it teaches the head nothing; a
    verifier that failed or abstained gives neither (None, NaN).
    """

    def __init__(self, problems: Sequence[Problem], verifier: Verifier, delimiter: str, ends: Sequence[int]) -> None:
        self.problems, self.verifier, self.delimiter, self.ends = problems, verifier, delimiter, set(ends)
        self.last: list[Outcome] = []
        self.num_attempts = self.num_tokens = 0

    def reward(
        self, completions: Sequence[str], completion_ids: Sequence[Sequence[int]], row: Sequence[int], **_: Any
    ) -> list[float | None]:
        """One reward a completion, in TRL's form; `row` says whose problem it is."""
        self.last = [
            self._outcome(self.problems[index], text, ids)
            for index, text, ids in zip(row, completions, completion_ids, strict=True)
        ]
        self.num_attempts += len(self.last)
        self.num_tokens += sum(len(ids) for ids in completion_ids)
        return [_reward(outcome) for outcome in self.last]

    def _outcome(self, problem: Problem, text: str, ids: Sequence[int]) -> Outcome:
        if not ids or ids[-1] not in self.ends:
            return Outcome(status="truncated", verifier="rollout")
        pieces = text.split(self.delimiter)
        if len(pieces) > 1 and not pieces[-1]:
            pieces.pop()
        return self.verifier(problem, [[Step(piece) for piece in pieces]])[0]


def _reward(outcome: Outcome) -> float | None:
    if outcome.status == "scored":
        return outcome.reward
    return 0.0 if outcome.status in NO_ANSWER else None


@contextmanager
def kept_states(backbone: nn.Module) -> Iterator[list[tuple[Tensor, ...]]]:
    """The hidden states of every forward pass of `backbone` inside, one tuple over layers a pass."""
    found: list[tuple[Tensor, ...]] = []

    def ask(_: nn.Module, given: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return given, {**named, "output_hidden_states": True}

    def keep(_: nn.Module, given: Any, output: Any) -> None:
        found.append(output.hidden_states)

    hooks = [backbone.register_forward_pre_hook(ask, with_kwargs=True), backbone.register_forward_hook(keep)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def read_positions(marker_BC: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Where the True of each row stand, `start` added, in order: `read_BS` (0 where absent) and `step_BS`."""
    num_B = marker_BC.sum(1)
    depth = int(num_B.max()) if len(num_B) else 0
    place_BS = torch.argsort(marker_BC.int(), dim=1, descending=True, stable=True)[:, :depth]
    step_BS = torch.arange(depth, device=marker_BC.device)[None, :] < num_B[:, None]
    return torch.where(step_BS, place_BS + start, 0), step_BS


class JointLoss:
    """Mixed in before GRPOTrainer; the attributes are set once the trainer is built."""

    scorer: Any
    fitting: Fitting
    rollouts: Rollouts
    coefficient: float
    on_row: Callable[[Row], None]
    on_collapse: str
    collapsed = ""
    num_forwarded = 0

    def _send_telemetry(self) -> None:
        """Nobody is told."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        device = output["completion_ids"].device
        outcomes = self.rollouts.last
        rewards = [_reward(outcome) for outcome in outcomes]
        output["outcome_B"] = torch.tensor([outcome.reward for outcome in outcomes], device=device)
        output["reward_B"] = torch.tensor([np.nan if r is None else r for r in rewards], device=device)
        return output

    def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Tensor:
        """GRPO's loss plus the head's, on the hidden states of GRPO's own forward pass."""
        with kept_states(self.scorer.model.base_model) as states:
            loss: Tensor = super().compute_loss(model, inputs, *given, **named)  # type: ignore[misc]
        assert len(states) == 1, "the policy's loss forwards the backbone once"
        self.num_forwarded += int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        manifest = self.scorer.manifest
        # The marker is the step's last token and was sampled: an attempt's last step that was never closed is not read.
        marker_BC = (inputs["completion_ids"] == manifest.marker_id) & inputs["completion_mask"].bool()
        read_BS, step_BS = read_positions(marker_BC, inputs["prompt_ids"].shape[1] - (manifest.layout.read == "pre"))
        rows = step_BS.any(1)
        update = float(self.state.global_step + 1)  # type: ignore[attr-defined]
        row = {"update": update, "accuracy": _mean(inputs["reward_B"])}
        head_loss = loss.new_zeros(())
        if bool(rows.any()):
            logit_BSC = self.scorer.of_states(states[0], read_BS)[rows]
            row |= self._means(states[0], read_BS, step_BS, inputs["outcome_B"])
            try:
                head_loss = self.fitting.loss_of(logit_BSC, step_BS[rows], inputs["outcome_B"][rows])
            except FilterCollapse as collapse:
                if self.on_collapse == "raise":
                    raise
                self.collapsed = self.collapsed or f"The filter collapsed by update {update:.0f}. {collapse}"
        self.on_row({**row, "head_loss": float(head_loss.detach()), **self.fitting.watch.shares()})
        return loss + self.coefficient * head_loss

    @torch.no_grad()
    def _means(self, states: Sequence[Tensor], read_BS: Tensor, step_BS: Tensor, outcome_B: Tensor) -> Row:
        """Mean score of right and of wrong attempts, as the judge would give it: without dropout."""
        self.scorer.head.eval()
        logit_BSC = self.scorer.of_states(states, read_BS).double().numpy(force=True)
        self.scorer.head.train()
        readout, num_B = self.scorer.manifest.readout, step_BS.sum(1).tolist()
        score_B = torch.tensor([judgment(one[:num], readout).score for one, num in zip(logit_BSC, num_B, strict=True)])
        right_B = outcome_B.cpu()
        return {"score_right": _mean(score_B[right_B > 0.5]), "score_wrong": _mean(score_B[right_B <= 0.5])}

    def training_step(self, *given: Any, **named: Any) -> Tensor:
        """One update's gradient; the head's is clipped by itself, so that it never shrinks the policy's."""
        self.scorer.head.zero_grad()
        loss: Tensor = super().training_step(*given, **named)  # type: ignore[misc]
        nn.utils.clip_grad_norm_(self.scorer.head.parameters(), self.args.max_grad_norm)  # type: ignore[attr-defined]
        return loss


def _mean(values: Tensor) -> float:
    known = values[~torch.isnan(values)]
    return float(known.double().mean()) if len(known) else float("nan")
