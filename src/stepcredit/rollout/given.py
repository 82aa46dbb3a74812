"""Attempts that start on a demonstration: its first k steps are given, the policy writes the rest.

    s_k = prompt and first k of the S steps,   attempt ~ policy(. | s_k),   k = 0..S-1;   one star of attempts behind s_k

R3, arXiv:2402.05808, section 3: all starts are mixed in one batch, so that none is learned at another's cost. `starts` says k
for each problem; where it is None k is drawn: every start as often as another, or the prompt itself with probability `scratch`
and the others alike (24 % of the paper's released GSM8K rows start there; AdaBack, 2506.18110, forces 10 %).
The demonstration is the problem's `reference`. Given steps are nodes with `sampled=False`: a trainer puts them in the prompt,
out of loss and ratio, and compares attempts with those of the same start alone. Each is closed by the delimiter, so the policy
goes on at the beginning of a line and never has to close one that it was given.
Attempts are groups of their own behind the given steps, which `credit/reverse_curriculum.starts` counts as V(s_k).
The verifier reads a whole attempt, what was given as if it had been written; one cut at its length is "truncated".
Raises ValueError for a problem without a reference, a reference step that is empty or holds the delimiter, another number of
starts than problems, a start outside 0..S-1, and a `scratch` outside [0, 1].
Degenerate: k = 0 is `chains`, verified; a demonstration of one step has no other start.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepcredit.core.protocols import Policy, Rng, Verifier
from stepcredit.core.registry import register
from stepcredit.core.tree import star
from stepcredit.core.types import Problem, Step, Tree
from stepcredit.rollout._paths import cut, extended
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._verified import verified
from stepcredit.rollout._writing import Writing, ask


@register("rollout", paper="arXiv:2402.05808")
@resumable()
def given(problems: Sequence[Problem], *, policy: Policy, verify: Verifier, rng: Rng, num: int = 8,
          starts: Sequence[int] | None = None, scratch: float | None = None, delimiter: str = "\n", prompt_end: str = "\n",
          stop: Sequence[str] = (), max_new_tokens: int = 256, folder: str | None = None) -> list[Tree]:  # fmt: skip
    """A star of `num` attempts behind each problem's start, verified; all in one call. A problem may come more than once.

    With a `folder`, attempts and outcomes are kept there as they come; the same call goes on from them after a kill.
    """
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens)
    if num < 1:
        raise ValueError(f"num {num}; allowed: 1 or more")
    shown = [_reference(problem, delimiter) for problem in problems]
    lengths = [len(steps) for steps in shown]
    cuts = drawn(lengths, rng, scratch) if starts is None else _allowed(problems, lengths, starts)
    heads = [steps[:k] for steps, k in zip(shown, cuts, strict=True)]
    groups, costs = ask(policy, [writing.prefix(problem, head) for problem, head in zip(problems, heads, strict=True)],
                        num, rng, writing)  # fmt: skip
    trees = []
    for problem, head, group, cost in zip(problems, heads, groups, costs, strict=True):
        paths = [
            ((len(head), place + bool(head)), writing.steps(one, policy), cut(one)) for place, one in enumerate(group)
        ]
        trees.append(verified(extended(star(problem, [head] if head else []), paths, cost), verify))
    return trees


def drawn(lengths: Sequence[int], rng: Rng, scratch: float | None = None) -> list[int]:
    """A start for each demonstration of so many steps: 0..S-1 alike, or 0 with probability `scratch` and 1..S-1 alike."""
    if scratch is not None and not 0.0 <= scratch <= 1.0:
        raise ValueError(f"scratch is {scratch}; allowed: 0 to 1, or None")
    found = []
    for num in lengths:
        anew = num == 1 or (scratch is not None and rng.random() < scratch)
        found.append(0 if anew else int(rng.integers(0 if scratch is None else 1, num)))
    return found


def _reference(problem: Problem, delimiter: str) -> list[Step]:
    if not problem.reference:
        raise ValueError(f"problem {problem.id!r} has no reference: there is no demonstration to start on")
    if bad := [text for text in problem.reference if not text or delimiter in text]:
        raise ValueError(f"problem {problem.id!r}: reference step {bad[0]!r} is empty or holds the delimiter {delimiter!r}: "
                         "a cut behind it is at no border of steps")  # fmt: skip
    return [Step(text, sampled=False) for text in problem.reference]


def _allowed(problems: Sequence[Problem], lengths: Sequence[int], starts: Sequence[int]) -> list[int]:
    if len(starts) != len(problems):
        raise ValueError(f"{len(problems)} problems need as many starts, got {len(starts)}")
    for problem, num, k in zip(problems, lengths, starts, strict=True):
        if not 0 <= k < num:
            raise ValueError(f"problem {problem.id!r}: start {k}; allowed: 0 to {num - 1}")
    return [int(k) for k in starts]
