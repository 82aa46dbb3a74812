r"""Episodes with tools: the policy writes a turn, the environment answers its call, until there is an answer.

    turn      policy writes up to the delimiter -> `tool_call`, `reason` or `answer`;   environment -> `tool_result`, not sampled
    episode   turns until an answer, the policy's own end, or `max_turns`

Tree-GRPO, arXiv:2509.21240, section 3: with `num_rounds` above 0 the M = `num` episodes of a problem are trees that branch as
`rollout/branch` says, at whole turns: the prompt, results and thoughts are continued, never a call, whose result is of its turn.
With `num_rounds=0` they are a star. All live episodes of all problems write together: a round is one call of the policy and one
of the environment. A branch shares no state with another: the environment works it out from the path (`core/environment`).

Memory folding: ToolPO (DeepAgent), arXiv:2510.21618, section 3.2. Where the text has more than `fold_after` tokens, the next turn
is sampled behind the prompt and what `fold` remembers of the path. Departs: a function folds, not the policy, so that a fold is no
step. The rule of segments: **a step with a `context` starts a new segment, which was sampled behind that text and no other;
following steps with context None continue it.** `train/policy_samples` (contexts="own") lays out each segment under its own.
The same way a step says what it was sampled from where the tokens of the path are not those of its text, as when the policy spells
a word in a way that its tokenizer does not; so segments laid end to end are, token by token, what the policy was given.

An episode that is cut, in a turn at `max_new_tokens` or at `max_turns`, has the outcome "truncated"; the others have none yet, also
those that the policy ended without an answer. The call at a cut or an end has no result, so that every leaf is the policy's.
Cost: generated tokens as measured; calls are counted by `core.environment.num_calls`, but for those that were pruned.
Raises ValueError for counts below 1, more leaves than 1 + L N, an empty delimiter, choices without what they need.
Degenerate: an answer in the first turn is an episode of one step; a tree with nothing to choose is not continued.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepcredit.core.environment import Environment
from stepcredit.core.protocols import Judge, Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Problem, Tree
from stepcredit.rollout._choosing import Branching, Choose, branched
from stepcredit.rollout._folding import Fold, Folding, last_facts
from stepcredit.rollout._playing import Playing, played
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._writing import Writing


@register("rollout", paper="arXiv:2509.21240")
@resumable()
def episodes(problems: Sequence[Problem], *, policy: Policy, environment: Environment, rng: Rng, num: int = 8,
             num_nodes: int = 2, num_rounds: int = 0, num_leaves: int | None = None, root: bool = True,
             choose: Choose = "random", judge: Judge | None = None, max_turns: int = 8, fold_after: int | None = None,
             fold: Fold | None = None, delimiter: str = "\n", prompt_end: str = "\n", max_new_tokens: int = 64,
             folder: str | None = None) -> list[Tree]:  # fmt: skip
    """One Tree a problem, of `num` episodes from the prompt, and `num_rounds` rounds of continuing `num_nodes` nodes of each.

    The paper's M, N, L, K are num=2, num_nodes=2, num_rounds=1, num_leaves=3. `max_turns` counts what the policy wrote from the
    prompt on, `max_new_tokens` is of one turn. `fold(problem, steps)` gives the lines that are remembered; None: the last two
    calls that found something, with what they found. With a `folder`, what is written, replied and judged is kept there as it
    comes; the same call goes on from it after a kill.
    """
    writing = Writing(delimiter, prompt_end, (delimiter,), max_new_tokens)
    by = Playing(policy, environment, rng, writing, Folding(fold_after, fold or last_facts), max_turns)
    how = Branching(num, num_nodes, num_rounds, num_leaves, root, choose, judge)
    return branched(problems, lambda trees, starts: played(trees, starts, by), rng, how)
