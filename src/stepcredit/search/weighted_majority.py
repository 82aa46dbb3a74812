"""Choose an attempt with the answer whose attempts have the largest sum of scores.

    argmax_a sum over {i : answer_i = a} of score_i

DiVeRSe, arXiv:2206.02336 (voting verifier). Answers are compared, and ties broken, as in `majority`.
Constant positive scores give `majority`. Unparsed attempts and abstained judgments do not vote. Degenerate: where
nobody votes, `best_of_n` over the same scores decides, so that an abstained judgment is chosen only if all abstain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.aggregate import Scoring, vote
from stepcredit.core.protocols import Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Judgment, Tree
from stepcredit.search._pick import scores, standing, winner
from stepcredit.search.best_of_n import best_of_n


@register("search", paper="arXiv:2206.02336")
def weighted_majority(
    tree: Tree, judgments: Sequence[Judgment], *, rng: Rng, num: int | None = None, aggregation: Scoring = "judge"
) -> int:
    """The chosen leaf (node index) among the first `num`; judgments align with `tree.leaves`.

    Raises ValueError for judgments that do not align, `num` beyond the attempts there are, or an unknown aggregation.
    """
    leaves, score_G = standing(tree, num), scores(tree, judgments, num, aggregation)
    votes = [vote(tree.outcomes[leaf]) for leaf in leaves]
    if not any(v is not None and not np.isnan(s) for v, s in zip(votes, score_G, strict=True)):
        return best_of_n(tree, judgments, rng=rng, num=num, aggregation=aggregation)
    return leaves[winner(votes, score_G, rng)]
