"""Outcome labels where the current judge already agrees with them: the self-supervised filter.

    paper:     w_n = 1{ 1[score_n > .5] == y }                                   y: outcome of the attempt, 0 or 1
    released:  w_n = 1.5 N / (P + N) on kept steps with y = 1,  P / (P + N) on kept steps with y = 0
               P, N = 1 + number of kept steps of each class in the batch of trees

SPRM (MetaStone-S1), arXiv:2507.01951, section 3; "released" are the weights of its code, which differ.
Departs: a truncated attempt is left out by its status, where the code marks it with a reward of 0.1 and then erases
the mark; a score of exactly one half agrees with "wrong" under `paper` and with neither under `released`, whose code
takes a zero logit for "no step".
The filter confirms itself: from a head that starts on one side it never leaves it. Warm up on the plain outcome, and
watch `core.filter_state`, which detects the collapse.
Shared nodes: the label on which judge and outcomes agree, weighted by the share of the outcomes below that agree.
Raises ValueError for scores that are not one value Credit per tree, and for a reward outside [0, 1].
Degenerate: a step the judge did not score, or whose outcomes all disagree, stays NaN, weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.registry import register
from stepcredit.core.tree import scored_below
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign, is_right, unit_reward_N

Weighting = Literal["paper", "released"]


@register("credit", paper="arXiv:2507.01951", kind="label")
def self_supervised(trees: Sequence[Tree], *, scores: Sequence[Credit], weighting: Weighting = "paper") -> list[Credit]:
    """Label steps with the outcome where the judge's current `scores` (one value Credit per tree) agree with it."""
    if weighting not in get_args(Weighting):
        raise ValueError(f"weighting is {weighting!r}; allowed: {', '.join(get_args(Weighting))}")
    if isinstance(trees, Tree) or len(scores) != len(trees):
        raise ValueError("self_supervised has batch statistics: give a sequence of trees, and scores for each")
    kept = [_kept(tree, credit, weighting) for tree, credit in zip(trees, scores, strict=True)]
    weights = [share_N for _, share_N in kept]
    if weighting == "released":
        num_right = 1 + sum(float(share_N[label_N == 1].sum()) for label_N, share_N in kept)
        num_wrong = 1 + sum(float(share_N[label_N == 0].sum()) for label_N, share_N in kept)
        factor = np.array([num_right, 1.5 * num_wrong]) / (num_right + num_wrong)
        weights = [share_N * factor[(label_N == 1).astype(int)] for label_N, share_N in kept]
    return [
        assign(tree, label_N, "label", "self_supervised", weight_N=weight_N)
        for tree, (label_N, _), weight_N in zip(trees, kept, weights, strict=True)
    ]


def _kept(tree: Tree, scores: Credit, weighting: Weighting) -> tuple[Floats, Floats]:
    """The judge's side of one half per node, [N], and the share of the scored outcomes below that agree with it."""
    if scores.kind != "value" or len(scores.values_N) != tree.num_nodes:
        raise ValueError(
            f"scores of problem {tree.problem.id!r}: expected a value [{tree.num_nodes}], "
            f"got a {scores.kind} [{len(scores.values_N)}]"
        )
    right_N = is_right(unit_reward_N(tree, "self_supervised"))
    num_right_N, num_N = scored_below(tree, right_N)
    score_N = scores.values_N
    side_N = is_right(score_N)
    agree_N = np.where(side_N == 1, num_right_N, num_N - num_right_N) / np.maximum(num_N, 1)
    decided_N = ~np.isnan(score_N) & tree.sampled_N
    if weighting == "released":
        decided_N &= score_N != 0.5
    share_N = np.where(decided_N, agree_N, 0.0)
    return np.where(share_N > 0, side_N, np.nan), share_N
