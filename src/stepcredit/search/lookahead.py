"""Beam search whose scores look ahead: a candidate is worth what the judge says a few steps further on.

    score(s) = mean over num_rollouts of judge(s, o_1..o_k),   o ~ policy,   k = steps, or fewer where the attempt ends

Scaling LLM test-time compute, arXiv:2408.03314, section 5.2 (lookahead search), where k = 0 is `beam`.
Departs: the paper simulates greedily; a Policy has no temperature to set, so rollouts are sampled, one by default.
For a judge that knows the value exactly, the score is an unbiased, noisier copy of it: looking ahead pays only where the
judge sees further on what it does not see yet. What is simulated is counted in the cost and kept in no tree.
Degenerate: a finished attempt is scored as it stands; an abstained judgment is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepcredit.core.aggregate import Scoring
from stepcredit.core.protocols import Judge, Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Problem
from stepcredit.rollout._writing import by_steps
from stepcredit.search._beam import search
from stepcredit.search._stepwise import Found


@register("search", paper="arXiv:2408.03314")
def lookahead(problems: Sequence[Problem], *, policy: Policy, judge: Judge, rng: Rng, num: int = 16, width: int = 4,
              steps: int = 1, num_rollouts: int = 1, aggregation: Scoring = "judge", max_steps: int = 40,
              delimiter: str = "\n", prompt_end: str = "\n", stop: Sequence[str] = (),
              max_new_tokens: int = 256, end_pattern: str = "") -> list[Found]:  # fmt: skip
    """As `beam`, with scores `steps` steps ahead. Raises ValueError as `beam` does."""
    writing = by_steps(delimiter, prompt_end, stop, max_new_tokens, end_pattern=end_pattern)
    return search(problems, policy=policy, judge=judge, rng=rng, num=num, width=width, ahead=steps,
                  num_rollouts=num_rollouts, aggregation=aggregation, max_steps=max_steps, writing=writing)  # fmt: skip
