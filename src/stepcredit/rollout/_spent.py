"""What a policy wrote, what policies and judges have spent, however they say so, and how that is divided."""

from __future__ import annotations

import time
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


def clock(policy: Any) -> float:
    """Seconds that only differences are taken of; what was answered from a file counts the time that it once took."""
    return time.perf_counter() + float(getattr(policy, "replayed_seconds", 0.0))


def shares(total: int, num: int) -> list[int]:
    """`total` in `num` parts that differ by one at most, the larger ones first.

    >>> shares(7, 3)
    [3, 2, 2]
    """
    return [total // num + (place < total % num) for place in range(num)]


def judging(judgment: Judgment) -> Cost:
    """What a judgment cost; a judge that keeps no count was still called once."""
    return judgment.cost if judgment.cost.judge_calls else replace(judgment.cost, judge_calls=1)
