"""Independent attempts at each problem: a star of chains, the plain group of samples that GRPO and PRM papers start from.

attempt ~ policy(. | prompt),   steps = attempt split at the delimiter
"""

from __future__ import annotations

from collections.abc import Sequence

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.tree import star
from stepcredit.core.types import Problem, Tree
from stepcredit.rollout._paths import cut
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._writing import Writing, ask


@register("rollout", paper="arXiv:2402.03300")
@resumable()
def chains(problems: Sequence[Problem], *, policy: Policy, rng: Rng, num: int = 16, delimiter: str = "\n",
           prompt_end: str = "\n", stop: Sequence[str] = (), max_new_tokens: int = 256,
           folder: str | None = None) -> list[Tree]:  # fmt: skip
    """One star of `num` attempts per problem; the policy is given `problem.prompt + prompt_end`, all in one call.

    GRPO (DeepSeekMath), arXiv:2402.03300, section 4.1: a group of outputs per question.
    Steps are the pieces between delimiters; an empty piece at the end is dropped, empty ones inside stay, so that
    joining the steps restores the attempt. Where the policy says what its tokens spell (a method `token_ends`), each
    step carries its token ids and log-probabilities: a token belongs to the step it begins in, a delimiter to the step
    it ends, and the end token to the last step; laid end to end they are all that was sampled.
    An attempt cut at `max_new_tokens` has the outcome "truncated"; the others have none yet. The policy's tokens and
    the time are divided among the trees: generated tokens as measured, the rest evenly.
    With a `folder`, attempts are kept there as they are written; the same call goes on from them after a kill.
    Raises ValueError for an empty delimiter or `num` below 1. Degenerate: an empty attempt is one step with the
    text "", so that it still has a leaf.
    """
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens)
    if num < 1:
        raise ValueError(f"num {num}; allowed: 1 or more")
    groups, costs = ask(policy, [writing.prefix(problem, ()) for problem in problems], num, rng, writing)
    return [
        star(problem, [writing.steps(one, policy) for one in group], [cut(one) for one in group], cost=cost)
        for problem, group, cost in zip(problems, groups, costs, strict=True)
    ]
