"""Choose what to learn from: of a problem's right attempts, those whose steps the judge likes best.

    argmax_i mean_s score_(i, s)   over {i : outcome_i is right}

StepWiser, arXiv:2508.19229 (data selection for rejection-sampling fine-tuning). The outcome decides who may be chosen,
the judge whom. Right: `outcome.correct`, or, where that was not recorded, a reward above one half.
Ties are drawn uniformly from `rng`. An abstained judgment is chosen only behind every scored one, and then uniformly:
with a judge that always abstains, or a constant one, this is plain rejection sampling.
Degenerate: a problem without a right attempt gives none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.aggregate import Scoring
from stepcredit.core.protocols import Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Judgment, Outcome, Tree
from stepcredit.search._pick import scores


@register("search", paper="arXiv:2508.19229")
def select_data(
    tree: Tree, judgments: Sequence[Judgment], *, rng: Rng, keep: int = 1, aggregation: Scoring = "mean"
) -> list[int]:
    """Up to `keep` leaves (node indices), best first; judgments align with `tree.leaves`.

    Raises ValueError for judgments that do not align, `keep` below 1, or an unknown aggregation.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}; allowed: 1 or more")
    if not tree.leaves:
        return []
    score_G = scores(tree, judgments, None, aggregation)
    draw_G = rng.random(len(score_G))
    right = [i for i, leaf in enumerate(tree.leaves) if _is_right(tree.outcomes[leaf])]
    order = sorted(right, key=lambda i: (bool(np.isnan(score_G[i])), -float(np.nan_to_num(score_G[i])), draw_G[i]))
    return [tree.leaves[i] for i in order[:keep]]


def _is_right(outcome: Outcome | None) -> bool:
    if outcome is None:
        return False
    return outcome.correct if outcome.correct is not None else outcome.reward > 0.5
