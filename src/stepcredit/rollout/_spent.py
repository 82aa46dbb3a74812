"""What a policy wrote, and what policies and judges have spent, however they say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepcredit.core.types import Completion, Cost, Judgment


def generated(completion: Completion) -> int:
    """Generated tokens: the token ids, else one per log-probability (a line, for `policy/tabular`), else 0."""
    known = completion.token_ids if completion.token_ids is not None else completion.logprobs
    return len(known or ())


def spent(policy: Any) -> Cost:
    """The cost a policy has kept so far; nothing where it keeps none."""
    return getattr(policy, "cost", None) or Cost()


def judging(judgment: Judgment) -> Cost:
    """What a judgment cost; a judge that keeps no count was still called once."""
    return judgment.cost if judgment.cost.judge_calls else replace(judgment.cost, judge_calls=1)
