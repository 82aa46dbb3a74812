"""Independent attempts at each problem: a star of chains, the plain group of samples that GRPO and PRM papers start from.

attempt ~ policy(. | prompt),   steps = attempt split at the delimiter
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Cost, Problem, Step, Tree
from stepcredit.rollout._paths import TRUNCATED
from stepcredit.rollout._spent import generated, spent


@register("rollout", paper="arXiv:2402.03300")
def chains(problems: Sequence[Problem], *, policy: Policy, rng: Rng, num: int = 16, delimiter: str = "\n",
           prompt_end: str = "\n", stop: Sequence[str] = (), max_new_tokens: int = 256) -> list[Tree]:  # fmt: skip
    """One star of `num` attempts per problem; the policy is given `problem.prompt + prompt_end`, all in one call.

    GRPO (DeepSeekMath), arXiv:2402.03300, section 4.1: a group of outputs per question.
    Steps are the pieces between delimiters; an empty piece at the end is dropped, empty ones inside stay, so that
    joining the steps restores the attempt. Where the policy says what its tokens spell (a method `token_ends`), each
    step carries its token ids and log-probabilities: a token belongs to the step it begins in, a delimiter to the step
    it ends, and the end token to the last step; laid end to end they are all that was sampled.
    An attempt cut at `max_new_tokens` has the outcome "truncated"; the others have none yet. The policy's tokens and
    the time are divided among the trees: generated tokens as measured, the rest evenly.
    Raises ValueError for an empty delimiter or `num` below 1. Degenerate: an empty attempt is one step with the
    text "", so that it still has a leaf.
    """
    if not delimiter or num < 1:
        raise ValueError(f"delimiter {delimiter!r}, num {num}; allowed: a string that is not empty, 1 or more")
    if not problems:
        return []
    before, start = spent(policy), time.perf_counter()
    groups = policy.sample(
        [problem.prompt + prompt_end for problem in problems], num, rng, stop=stop, max_new_tokens=max_new_tokens
    )
    seconds = (time.perf_counter() - start) / len(problems)
    forwarded = spent(policy).forwarded_tokens - before.forwarded_tokens
    ends: Callable[[Sequence[int]], list[int]] | None = getattr(policy, "token_ends", None)
    trees = []
    for index, (problem, group) in enumerate(zip(problems, groups, strict=True)):
        cost = Cost(
            generated_tokens=sum(generated(completion) for completion in group),
            forwarded_tokens=forwarded // len(problems) + (index < forwarded % len(problems)),
            seconds=seconds,
        )
        outcomes = [TRUNCATED if c.finish == "length" else None for c in group]
        trees.append(star(problem, [_steps(c, delimiter, ends) for c in group], outcomes, cost=cost))
    return trees


def _steps(completion: Completion, delimiter: str, ends: Callable[[Sequence[int]], list[int]] | None) -> list[Step]:
    pieces = completion.text.split(delimiter)
    if len(pieces) > 1 and not pieces[-1]:
        pieces.pop()
    if completion.token_ids is None or ends is None:
        return [Step(piece) for piece in pieces]
    # Step s holds characters [edges[s], edges[s + 1]); whatever stands behind the text belongs to the last step.
    edges = [0]
    for piece in pieces[:-1]:
        edges.append(edges[-1] + len(piece) + len(delimiter))
    ids, logprobs = completion.token_ids, completion.logprobs
    begins = [0, *ends(ids)[:-1]]
    owner_T = [min(bisect_right(edges, begin) - 1, len(pieces) - 1) for begin in begins]
    steps = []
    for index, piece in enumerate(pieces):
        own = [place for place, owner in enumerate(owner_T) if owner == index]
        steps.append(Step(piece, token_ids=tuple(ids[t] for t in own),
                          logprobs=None if logprobs is None else tuple(logprobs[t] for t in own)))  # fmt: skip
    return steps
