"""A policy's own word on its attempt, said behind the end of completion: its predicted reward is the score.

    score = predicted reward of the answer        step_scores = re-check bits, one a step written before the marker

PCL, arXiv:2507.20252: a policy trained past its answer evaluates itself; inference that stops at the marker never pays for it.
An attempt that holds its evaluation (steps of kind "evaluation") is read at no cost. Another, which ended at the marker as
inference does, is gone on with by the policy, one sample behind the marker, its tokens on the judgment's cost.
Departs: the release never reads the evaluation at inference. A self-report: it knows no outcome, and what it is worth is
what `evaluate` says of it (AUROC, calibration). Raises ValueError for `max_new_tokens` below 1.
Degenerate: an evaluation that cannot be read abstains; bits that are not one a step are left out (NaN), the score stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from stepcredit.core.post_completion import MARKER, Evaluation, completed, evaluation_of, read_evaluation
from stepcredit.core.protocols import Judge, Policy, Rng, Solution
from stepcredit.core.registry import register
from stepcredit.core.types import Cost, Judgment, Problem


@register("judge", paper="arXiv:2507.20252")
def post_completion(
    *, policy: Policy, rng: Rng, marker: str = MARKER, delimiter: str = "\n", prompt_end: str = "\n",
    max_new_tokens: int = 64,
) -> Judge:  # fmt: skip
    """A judge that reads what attempts say of themselves, and has the policy say it where they do not."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; allowed: 1 or more")

    def judge(attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        started = time.perf_counter()
        silent = [place for place, (_, steps) in enumerate(attempts) if not any(s.kind == "evaluation" for s in steps)]
        texts = [
            attempts[place][0].prompt + prompt_end
            + delimiter.join([*(step.text for step in completed(attempts[place][1], marker)), marker]) + delimiter
            for place in silent
        ]  # fmt: skip
        asked = policy.sample(texts, 1, rng, max_new_tokens=max_new_tokens) if texts else []
        seconds = (time.perf_counter() - started) / max(len(silent), 1)
        said = {}
        for place, (one,) in zip(silent, asked, strict=True):
            lines = one.text.removesuffix(delimiter).split(delimiter)
            known = one.token_ids if one.token_ids is not None else ()
            said[place] = (read_evaluation(lines) if one.finish == "stop" else None,
                           Cost(len(known), judge_calls=1, seconds=seconds))  # fmt: skip
        return [_judgment(steps, *said.get(place, (evaluation_of(steps), Cost(judge_calls=1))), marker)
                for place, (_, steps) in enumerate(attempts)]  # fmt: skip

    return judge


def _judgment(steps: Solution, said: Evaluation | None, cost: Cost, marker: str) -> Judgment:
    """Scores of all sampled steps; those of the marker and of the evaluation itself are NaN."""
    score_S = np.full(sum(step.sampled for step in steps), np.nan)
    if said is None:
        return Judgment(float("nan"), score_S, status="abstained", cost=cost)
    own = [step for step in steps if step.sampled]
    before = sum(step.sampled for step in completed(own, marker))
    if len(said.bits) == before:
        score_S[:before] = said.bits
    parts = dict(zip(("answer", "format"), said.rewards, strict=False))
    return Judgment(said.rewards[0], score_S, parts=parts, cost=cost)
