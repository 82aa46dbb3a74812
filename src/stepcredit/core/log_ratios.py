"""Log-ratio of two policies on steps: what implicit process rewards are made of.

    d = log pi(step | what stands before it) - log pi_ref(step | the same), in nats, summed over the step's tokens

ImplicitPRM, arXiv:2412.01981, section 3. The text is the one a rollout of `chains` read and wrote: prompt + prompt_end,
then steps, each closed by the delimiter, but for the last of an attempt. A step that was sampled from another text
(`Step.context`) is scored behind that text.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from stepcredit.core.protocols import Policy
from stepcredit.core.types import Cost, Floats, Problem, Step

Asked = tuple[str, str]


def asked(
    problem: Problem,
    before: Sequence[Step],
    step: Step,
    *,
    is_last: bool,
    prompt_end: str = "\n",
    delimiter: str = "\n",
) -> Asked:
    r"""The prefix and the continuation that put a policy to this step.

    >>> asked(Problem("p", "2+3=?"), [Step("so")], Step("5"), is_last=True)
    ('2+3=?\nso\n', '5')
    """
    prefix = problem.prompt + prompt_end + "".join(one.text + delimiter for one in before)
    return step.context if step.context is not None else prefix, step.text + ("" if is_last else delimiter)


def logprobs(policy: Policy, questions: Sequence[Asked]) -> tuple[Floats, Cost]:
    """Log-probabilities, [n], and what they cost: the tokens that the policy says it has forwarded, and the time.

    Raises ValueError for a policy that does not answer every question.
    """
    if not questions:
        return np.zeros(0), Cost()
    before, start = _forwarded(policy), time.perf_counter()
    given = np.asarray(policy.logprob([p for p, _ in questions], [c for _, c in questions]), dtype=np.float64)
    if given.shape != (len(questions),):
        raise ValueError(f"{len(questions)} steps, but the policy gave log-probabilities {list(given.shape)}")
    return given, Cost(forwarded_tokens=_forwarded(policy) - before, seconds=time.perf_counter() - start)


def difference(first_n: Floats, second_n: Floats) -> Floats:
    """The difference, [n]; NaN where either is not finite: what a policy cannot write has no ratio."""
    known_n = np.isfinite(first_n) & np.isfinite(second_n)
    return np.where(known_n, np.where(known_n, first_n, 0.0) - np.where(known_n, second_n, 0.0), np.nan)


def _forwarded(policy: Any) -> int:
    return int((getattr(policy, "cost", None) or Cost()).forwarded_tokens)
