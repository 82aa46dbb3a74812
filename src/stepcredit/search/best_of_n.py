"""Choose the attempt the judge scores highest.

    argmax_i score_i,   score_i = the judge's own score, or an aggregation of its step scores

Verifiers for GSM8K, arXiv:2110.14168, section 4.2; aggregations as in `core.aggregate`.
Ties are drawn uniformly from `rng`. Degenerate: an abstained judgment is chosen only where all abstain, and then
uniformly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.aggregate import Scoring
from stepcredit.core.protocols import Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Judgment, Tree
from stepcredit.search._pick import one_of, scores, standing


@register("search", paper="arXiv:2110.14168")
def best_of_n(
    tree: Tree, judgments: Sequence[Judgment], *, rng: Rng, num: int | None = None, aggregation: Scoring = "judge"
) -> int:
    """The leaf (node index) with the highest score among the first `num`; judgments align with `tree.leaves`.

    Raises ValueError for judgments that do not align, `num` beyond the attempts there are, or an unknown aggregation.
    """
    leaves, score_G = standing(tree, num), scores(tree, judgments, num, aggregation)
    if np.isnan(score_G).all():
        return one_of(leaves, rng)
    return one_of([leaves[i] for i in np.flatnonzero(score_G == np.nanmax(score_G))], rng)
