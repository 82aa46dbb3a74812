"""A judge without a head: two policies, one tuned on outcomes and one not, score steps by their log-ratio.

    r_j = beta log pi(step j | before) / pi_ref(step j | before)        q_j = r_1 + ... + r_j
    step score = sigmoid(q_j), or sigmoid(r_j) with read="reward"       score = sigmoid(q_S)

ImplicitPRM, arXiv:2412.01981, section 3: cross-entropy on outcomes trains sigmoid(q_S) to be P(right), and q_j is then the
value of the prefix; PRIME, arXiv:2502.01456. Its released scorers read q_j at the steps' ends, as the default does; sigmoid(r_j)
says what the step itself changed, one half where the policies agree. Good for reinforcement learning, poor at locating
errors (ProcessBench F1 31 where labels reach 56): only q_S is trained.
Each policy is asked for every step behind what stands before it, all in one call: `policy/hf` forwards an attempt once,
one that does not look for shared beginnings once a step. No torch here; `credit/log_ratio` is the reward, and
`train/implicit` makes the tuned policy.
Degenerate: an attempt without a sampled step, or with a step that either policy cannot write, makes the judge abstain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.log_ratios import Asked, difference, logprobs, questions
from stepcredit.core.protocols import Judge, Policy, Solution
from stepcredit.core.readout import sigmoid
from stepcredit.core.registry import register
from stepcredit.core.types import Cost, Floats, Judgment, Problem

Read = Literal["value", "reward"]


@register("judge", paper="arXiv:2412.01981")
def implicit(
    *, policy: Policy, reference: Policy, beta: float = 0.05, read: Read = "value", prompt_end: str = "\n",
    delimiter: str = "\n",
) -> Judge:  # fmt: skip
    """A judge of two policies. Channel `reward` holds r_j in nats. Raises ValueError unless beta > 0."""
    if read not in get_args(Read):
        raise ValueError(f"read is {read!r}; allowed: {', '.join(get_args(Read))}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")

    def judge(attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        parts = [questions(*attempt, prompt_end=prompt_end, delimiter=delimiter) for attempt in attempts]
        every = [one for part in parts for one in part]
        (own_n, first), (other_n, second) = logprobs(policy, every), logprobs(reference, every)
        reward_n, total = beta * difference(own_n, other_n), first + second
        ends = np.cumsum([len(part) for part in parts])
        return [
            _judgment(reward_n[end - len(part) : end], read, _share(total, part, every))
            for part, end in zip(parts, ends, strict=True)
        ]

    return judge


def _judgment(reward_S: Floats, read: Read, cost: Cost) -> Judgment:
    if not len(reward_S) or np.isnan(reward_S).any():
        return Judgment(float("nan"), np.full(len(reward_S), np.nan), status="abstained", cost=cost)
    value_S = sigmoid(np.cumsum(reward_S))
    step_scores_S = value_S if read == "value" else sigmoid(reward_S)
    return Judgment(float(value_S[-1]), step_scores_S, {"reward": reward_S}, cost=cost)


def _share(total: Cost, own: Sequence[Asked], every: Sequence[Asked]) -> Cost:
    """An attempt's part of what a call cost, by the length of what it asked."""
    share = sum(len(p) + len(c) for p, c in own) / max(sum(len(p) + len(c) for p, c in every), 1)
    return Cost(forwarded_tokens=round(total.forwarded_tokens * share), judge_calls=1, seconds=total.seconds * share)
