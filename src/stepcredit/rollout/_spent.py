"""What a policy wrote and what it has spent, however it says so."""

from __future__ import annotations

from typing import Any

from stepcredit.core.types import Completion, Cost


def generated(completion: Completion) -> int:
    """Generated tokens: the token ids, else one per log-probability (a line, for `policy/tabular`), else 0."""
    known = completion.token_ids if completion.token_ids is not None else completion.logprobs
    return len(known or ())


def spent(policy: Any) -> Cost:
    """The cost a policy has kept so far; nothing where it keeps none."""
    return getattr(policy, "cost", None) or Cost()
