"""Every step gets the outcome of its attempt: the outcome-reward baseline.

    y_n = mean of the scored outcomes at and below node n          on a star: y_n = r(attempt of n)

The label that outcome-supervised value models learn from: OVM, arXiv:2311.09724, section 3; its expectation given the
prefix is P(right | prefix).
Shared nodes: the mean over the scored outcomes below.
Raises ValueError for a reward outside [0, 1].
Degenerate: a step with no scored outcome below it stays NaN, weight 0; the prompt and tool results always do.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.tree import scored_below
from stepcredit.core.types import Credit, Tree
from stepcredit.credit._assign import assign, unit_reward_N


@register("credit", paper="arXiv:2311.09724", kind="label")
@each_tree
def outcome_broadcast(tree: Tree) -> Credit:
    """Label every step with its attempt's outcome; [N] in [0, 1]."""
    unit_reward_N(tree, "outcome_broadcast")
    sum_N, num_N = scored_below(tree)
    label_N = np.where(num_N > 0, sum_N / np.maximum(num_N, 1), np.nan)
    return assign(tree, label_N, "label", "outcome_broadcast")
