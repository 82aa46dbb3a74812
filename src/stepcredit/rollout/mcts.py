"""eta-MCTS: a search tree over options, as many children as a node's importance asks for, valued by mixed critics.

    select   argmax q(c) + exploration * sqrt(ln N(s) / N(c)), until a node may have another child; expand one option
    children n(s) = max(those there are, min_n, min(floor(importance * I(s)) + 1, max_n)),  I(s) = max_i |v(c_i) - v(s)|
    merge    an option within `merge_distance` (edits over the longer length; 0: equal texts; -1: none) of a child is drawn again
    own(s)   = (b_v v(s) + b_prm PRM(s) + b_orm mean_k R(rollout_k(s))) / (b_v + b_prm + b_orm),   rollouts by `fast`
    backup   q(s) = mean of own over the evaluations at and below s, no discount

AlphaLLM, arXiv:2404.12253, section 4.3; `search/guided_mcts` is the same without a verifier.
One scale: every critic speaks in [0, 1], and their mean does too, where the paper adds a value in [-1, 1] to the others;
`importance` = 2 here is its alpha = 1 there. At that setting I < 1/2 asks for one child, so the minimum decides nearly
always; near `max_children` importance has a say. A critic that cannot speak (abstained, unscored, no rollout finished)
is left out of the mean, never counted as 0. A sure end has the verifier's word in place of rollouts.
Departs: the first search values the prompt; an option that repeats its siblings `max_resamples` times more sends the
search on among them, and its node looks again when its visits have doubled (the paper resamples, and does not say).
Repeats are paid for: where options are few, `max_resamples` = 0 merges at once.
Tree: the search in group 0 with `visits_N`; every fast rollout behind its node in a group of its own, without visits (one
that wrote nothing is an empty step there; its attempt is verified without it):
leave those out of a policy's update where `fast` is another policy. An unfinished leaf has the outcome "truncated".
Cost: options, repeats and rollouts alike, as measured.
Degenerate: an attempt that is over is visited again at no cost, its value backed up again.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepcredit.core.protocols import Judge, Policy, Rng, Solution, Verifier
from stepcredit.core.registry import register
from stepcredit.core.types import Cost, Outcome, Problem, Tree
from stepcredit.rollout._mcts import Critics, Ends, grow
from stepcredit.rollout._mcts_tree import Settings
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._writing import by_steps


@register("rollout", paper="arXiv:2404.12253")
@resumable(longer=("num_searches",))
def mcts(problems: Sequence[Problem | Tree], *, policy: Policy, verify: Verifier, rng: Rng, fast: Policy | None = None,
         value: Judge | None = None, prm: Judge | None = None,
         num_searches: int = 40, num_rollouts: int = 4, exploration: float = 1.0, importance: float = 2.0,
         min_children: int = 2, max_children: int = 10, root_min_children: int = 10, root_max_children: int = 60,
         merge_distance: float = 0.0, max_resamples: int = 5, weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
         max_steps: int = 32, token_budget: int | None = None, option_pattern: str = "", end_pattern: str = "", delimiter: str = "\n",
         prompt_end: str = "\n", stop: Sequence[str] = (), max_new_tokens: int = 256,
         folder: str | None = None) -> list[Tree]:  # fmt: skip
    """A tree for each problem, searched `num_searches` times, or until it has cost `token_budget` generated tokens.

    `value` judges an attempt so far by its score, `prm` by what it says of the last step; `weights` are theirs and the
    outcome's. `fast` (default: the policy) writes `num_rollouts` rollouts of every new node. `max_steps` is the depth at
    which an attempt is cut, `max_new_tokens` the length of one option and of one rollout; an option goes on to a line with
    `option_pattern`, an attempt ends with one in which `end_pattern` is found (see `search/beam`). Children's defaults are the
    paper's for GSM8K (small).
    A tree that was grown here goes on where it stood, to `num_searches` in all: its nodes keep their numbers, its values
    are read off its visits and outcomes, `value` and `prm` are asked again.
    With a `folder`, what is written, decided and judged is kept there as it comes; the same call goes on from it after a
    kill to the same trees, and with more searches to larger ones.
    Raises ValueError for knobs out of range, and for a reward or a critic outside [0, 1].
    """
    settings = Settings(num_searches, num_rollouts, exploration, importance, min_children, max_children, root_min_children,
                        root_max_children, merge_distance, max_resamples, weights, max_steps, token_budget)  # fmt: skip
    writing = by_steps(delimiter, prompt_end, stop, max_new_tokens, pattern=option_pattern, end_pattern=end_pattern)
    trees = grow(problems, policy=policy, fast=fast, critics=Critics(_by(verify), value, prm), rng=rng,
                 writing=writing, settings=settings)  # fmt: skip
    return [tree.tree() for tree in trees]


def _by(verify: Verifier) -> Ends:
    """Finished attempts are worth their reward."""

    def ends(problem: Problem, attempts: Sequence[Solution]) -> tuple[list[tuple[float, Outcome | None]], Cost]:
        return [(outcome.reward, outcome) for outcome in verify(problem, attempts)], Cost(verifier_calls=len(attempts))

    return ends
