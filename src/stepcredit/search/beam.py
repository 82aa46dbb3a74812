"""Beam search against a judge: write a step, score what is written so far, go on from the best.

    level 1      num options behind the prompt
    each level   keep the num / width candidates with the highest score, write `width` options behind each
    answer       the finished attempt with the highest score in the last beam

Scaling LLM test-time compute, arXiv:2408.03314, section 5.2 (beam search against a process reward model).
Width 1 is best-of-`num`: independent attempts, the judge asked at each step but heeded at the end. Where num equals
width, one prefix is kept, the best of `width` options at each step.
A finished attempt keeps its place while its score does, and stands for its `width` continuations, so that long attempts
crowd out no short ones: with a constant judge the answer is distributed as one plain sample, whatever the lengths.
Ties are drawn from `rng`. An abstained judgment ranks behind every number. Judges that remember (`IncrementalScorer`)
are asked only about attempts that grew, and forward new tokens alone.
Degenerate: where nothing finishes within `max_steps`, the best cut attempt is chosen, its outcome "truncated".
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
def beam(problems: Sequence[Problem], *, policy: Policy, judge: Judge, rng: Rng, num: int = 16, width: int = 4,
         aggregation: Scoring = "judge", max_steps: int = 40, delimiter: str = "\n", prompt_end: str = "\n",
         stop: Sequence[str] = (), max_new_tokens: int = 256, end_pattern: str = "") -> list[Found]:  # fmt: skip
    """One `Found` a problem: all that was written, with its cost, and the chosen leaf; `max_new_tokens` is a step's.

    Steps end at the delimiter. An attempt ends with the policy's own end token where the policy says what its tokens
    spell, when it writes nothing, before a `stop` string, or with a step in which `end_pattern`, a regular expression,
    is found: over a server it is the only way to see an end behind text.

    Raises ValueError for `num` that is no multiple of `width`, or knobs out of range.
    """
    writing = by_steps(delimiter, prompt_end, stop, max_new_tokens, end_pattern=end_pattern)
    return search(problems, policy=policy, judge=judge, rng=rng, num=num, width=width, ahead=0, num_rollouts=1,
                  aggregation=aggregation, max_steps=max_steps, writing=writing)  # fmt: skip
