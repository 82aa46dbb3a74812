"""The outcome on the last step, 0 on the steps before it: the trivial label.

    y_n = mean over the scored attempts through n of (r if n is the attempt's last sampled step, else 0)

Ours, a rival rather than a method: where success ends an episode the turn that succeeds *is* the last turn, so this is
the per-turn truth or next to it, and belongs in every table there. It is good for nothing where steps before the last
can be right: it calls them all wrong.
Shared nodes: the mean over the scored attempts through them.
Raises ValueError for a reward outside [0, 1].
Degenerate: an attempt of one step is outcome_broadcast; a step with no scored attempt through it stays NaN, weight 0.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Tree
from stepcredit.credit._assign import assign, unit_reward_N


@register("credit", paper="ours", kind="label")
@each_tree
def outcome_last(tree: Tree) -> Credit:
    """Label the last sampled step of each attempt with its outcome and the steps before it with 0; [N] in [0, 1]."""
    reward_N = unit_reward_N(tree, "outcome_last")
    sampled_N = tree.sampled_N
    sum_N, num_N = np.zeros(tree.num_nodes), np.zeros(tree.num_nodes)
    for leaf in tree.leaves:
        steps = [node for node in tree.path(leaf) if sampled_N[node]]
        if steps and not np.isnan(reward_N[leaf]):
            num_N[steps] += 1
            sum_N[steps[-1]] += reward_N[leaf]
    label_N = np.where(num_N > 0, sum_N / np.maximum(num_N, 1), np.nan)
    return assign(tree, label_N, "label", "outcome_last")
