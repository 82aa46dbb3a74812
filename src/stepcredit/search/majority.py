"""Choose an attempt with the most frequent answer.

    argmax_a #{i : answer_i = a}

Self-consistency, arXiv:2203.11171, section 2. Answers are compared as text, white space collapsed and case folded.
Unparsed attempts and those without an answer do not vote. Tied answers, then the voters of the winner, are drawn
uniformly from `rng`. Degenerate: where nobody votes any attempt is drawn. Needs no judgment.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.aggregate import vote
from stepcredit.core.protocols import Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Judgment, Tree
from stepcredit.search._pick import standing, winner


@register("search", paper="arXiv:2203.11171")
def majority(tree: Tree, judgments: Sequence[Judgment] = (), *, rng: Rng, num: int | None = None) -> int:
    """The chosen leaf (node index) among the first `num`; `judgments` are not read.

    Raises ValueError for `num` beyond the attempts there are.
    """
    leaves = standing(tree, num)
    return leaves[winner([vote(tree.outcomes[leaf]) for leaf in leaves], np.ones(len(leaves)), rng)]
