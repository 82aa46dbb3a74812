"""Chunk-reset: write a step, and write it again where the judge rejects it.

    repeat up to num_tries times:  o ~ policy(. | h);  accept if judge(h, o) >= threshold
    h <- h + o,   o the accepted step, or after num_tries rejections the last one ("last") or the best scored ("best")

StepWiser, arXiv:2508.19229 (chunk-reset reasoning; up to 5 attempts a chunk). What follows five rejections the paper
does not say: "last" is plain, "best" uses what the judge said, equals drawn from `rng`.
The judge's word is what it says of the new step by itself (`Judgment.local_scores_S`): a running score would reject all
that follows one mistake. A judge that abstains gives no ground to reject. An end that writes nothing is an option like
others, worth what the step before it was: were it always accepted, five tries would end an attempt early.
With a constant judge the answer is distributed as one plain sample.
Degenerate: an attempt still open after `max_steps` is cut, its outcome "truncated".
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from stepcredit.core.protocols import Judge, Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Cost, Judgment, Problem, Step
from stepcredit.rollout._mcts_options import Option
from stepcredit.rollout._writing import by_steps
from stepcredit.search._pick import one_of
from stepcredit.search._stepwise import Found, Sprout, judge_all, write

Exhausted = Literal["last", "best"]


@register("search", paper="arXiv:2508.19229")
def chunk_reset(problems: Sequence[Problem], *, policy: Policy, judge: Judge, rng: Rng, num_tries: int = 5,
                threshold: float = 0.5, exhausted: Exhausted = "last", max_steps: int = 40, delimiter: str = "\n",
                prompt_end: str = "\n", stop: Sequence[str] = (), max_new_tokens: int = 256, end_pattern: str = "") -> list[Found]:  # fmt: skip
    """One attempt a problem, with all that was rejected beside it; `max_new_tokens` is a step's.

    Raises ValueError for an unknown `exhausted`, or `num_tries` or `max_steps` below 1.
    """
    if exhausted not in get_args(Exhausted) or num_tries < 1 or max_steps < 1:
        raise ValueError(f"exhausted {exhausted!r}, num_tries {num_tries}, max_steps {max_steps}; allowed: "
                         f"{', '.join(get_args(Exhausted))}; 1 or more; 1 or more")  # fmt: skip
    writing = by_steps(delimiter, prompt_end, stop, max_new_tokens, end_pattern=end_pattern)
    started = time.perf_counter()
    attempts = [_Attempt(Sprout(problem)) for problem in problems]
    while going := [one for one in attempts if one.node not in one.sprout.over and one.num_steps < max_steps]:
        places = [(one.sprout, one.sprout.solution(one.node)) for one in going]
        options = [option for (option,) in write(policy, places, 1, rng, writing)]
        # An end that writes nothing is an option like others, worth what the step before it was.
        asked = [(one, (*steps, option.step or Step(""))) for one, (_, steps), option in zip(going, places, options, strict=True)
                 if option.step is not None or not steps]  # fmt: skip
        judged = dict(zip([id(one) for one, _ in asked], judge_all(judge, [(one.sprout, steps) for one, steps in asked]), strict=True))  # fmt: skip
        for one, option in zip(going, options, strict=True):
            score = _step_score(judged[id(one)]) if id(one) in judged else one.score
            node = one.sprout.add(one.node, option) if option.step is not None else None
            one.tried.append((option, node, score))
            if math.isnan(score) or score >= threshold:
                one.take(-1)
            elif len(one.tried) == num_tries:
                one.take(-1 if exhausted == "last" else _best([score for *_, score in one.tried], rng))
    seconds = Cost(seconds=(time.perf_counter() - started) / max(len(attempts), 1))
    for one in attempts:
        one.sprout.cost += seconds
    return [Found(one.sprout.tree(), one.node) for one in attempts]


@dataclass
class _Attempt:
    """Where one problem's attempt stands, and what has been tried behind it."""

    sprout: Sprout
    node: int = 0
    score: float = math.nan
    num_steps: int = 0
    tried: list[tuple[Option, int | None, float]] = field(default_factory=list)

    def take(self, place: int) -> None:
        option, node, self.score = self.tried[place]
        self.node = self.sprout.add(self.node, option) if node is None else node
        self.num_steps, self.tried = self.num_steps + 1, []


def _step_score(judgment: Judgment) -> float:
    said_S = judgment.local_scores_S
    return float(said_S[-1]) if judgment.status == "scored" and said_S.size else math.nan


def _best(scores: Sequence[float], rng: Rng) -> int:
    score_K = np.array(scores)
    return one_of(np.flatnonzero(score_K == score_K.max()).tolist(), rng)
