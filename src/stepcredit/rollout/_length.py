"""How long steps are, for methods that weigh what a rollout would cost before it is written."""

from __future__ import annotations

from collections.abc import Sequence

from stepcredit.core.types import Step


def step_tokens(steps: Sequence[Step]) -> int:
    """Tokens of some steps; a step that carries none counts as one."""
    return sum(len(step.token_ids or step.logprobs or " ") for step in steps)
