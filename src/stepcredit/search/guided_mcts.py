"""eta-MCTS as a search: the judge values prefixes, steps and finished attempts; the best finished attempt is the answer.

    own(s) = (b_v judge(s) + b_prm judge(s, last step) + b_orm mean_k judge(rollout_k(s))) / (b_v + b_prm + b_orm)
    answer = argmax of judge over the finished attempts, those of the search and its rollouts

AlphaLLM, arXiv:2404.12253, sections 4.3 and 4.4; the engine, and what it departs in, is `rollout/mcts`'s. No verifier is
asked: in the paper gold answers are seen in training alone. One judge plays all three critics, and is asked once where
two ask the same; ties are drawn from `rng`.
Degenerate: where no attempt finished, the leaf the critics valued highest, its outcome "truncated".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stepcredit.core.protocols import Judge, Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Problem
from stepcredit.rollout._mcts import Critics, grow
from stepcredit.rollout._mcts_tree import Growth, Settings
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._writing import by_steps
from stepcredit.search._pick import one_of
from stepcredit.search._stepwise import Found


@register("search", paper="arXiv:2404.12253")
@resumable(longer=("num_searches",))
def guided_mcts(problems: Sequence[Problem], *, policy: Policy, judge: Judge, rng: Rng, fast: Policy | None = None,
                num_searches: int = 40, num_rollouts: int = 1, exploration: float = 1.0, importance: float = 2.0,
                min_children: int = 2, max_children: int = 10, root_min_children: int = 10, root_max_children: int = 60,
                merge_distance: float = 0.0, max_resamples: int = 5,
                weights: tuple[float, float, float] = (1.0, 1.0, 1.0), max_steps: int = 32,
                token_budget: int | None = None, option_pattern: str = "", end_pattern: str = "", delimiter: str = "\n", prompt_end: str = "\n",
                stop: Sequence[str] = (), max_new_tokens: int = 256, folder: str | None = None) -> list[Found]:  # fmt: skip
    """One `Found` a problem; knobs as in `rollout/mcts`. Raises ValueError as it does."""
    settings = Settings(num_searches, num_rollouts, exploration, importance, min_children, max_children, root_min_children,
                        root_max_children, merge_distance, max_resamples, weights, max_steps, token_budget)  # fmt: skip
    writing = by_steps(delimiter, prompt_end, stop, max_new_tokens, pattern=option_pattern, end_pattern=end_pattern)
    trees = grow(problems, policy=policy, fast=fast, critics=Critics(None, judge, judge), rng=rng,
                 writing=writing, settings=settings)  # fmt: skip
    return [Found(tree.tree(), _answer(tree, rng)) for tree in trees]


def _answer(tree: Growth, rng: Rng) -> int:
    inner = set(tree.parents)
    leaves = [node for node in range(1, len(tree.parents)) if node not in inner]
    ended = [node for node in leaves if tree.over[node] and tree.outcomes[node] is None]
    scores = {node: tree.scores[node] if ended else tree.own(node) for node in ended or leaves}
    best = max((score for score in scores.values() if not math.isnan(score)), default=math.nan)
    return one_of([node for node, score in scores.items() if score == best] or list(scores), rng)
