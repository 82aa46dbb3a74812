"""Recorded step truth as labels: the upper reference for controls, never a method.

    y_n = 0 where any step on the path up to n is wrong, 1 where all are right, NaN where that is unknown

Ours, a control: every label-free method is reported beside a judge taught by this at equal updates.
`so_far=False` keeps each step's own label (sound given what stands before it) instead of "no error so far".
Raises ValueError unless the truth is a label Credit of the tree's size.
Degenerate: a step without recorded truth stays NaN, weight 0; a tree without truth gives no label at all.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Tree
from stepcredit.credit._assign import assign


@register("credit", paper="ours", kind="label", control=True, resource_kinds={"truth": "label"})
@each_tree
def oracle(tree: Tree, *, truth: Credit, so_far: bool = True) -> Credit:
    """Label steps with the recorded `truth`, [N] in [0, 1]: for controls only."""
    if truth.kind != "label" or len(truth.values_N) != tree.num_nodes:
        raise ValueError(
            f"truth of problem {tree.problem.id!r}: expected a label [{tree.num_nodes}], "
            f"got a {truth.kind} [{len(truth.values_N)}]"
        )
    label_N = truth.values_N.copy()
    if so_far:
        sampled_N = tree.sampled_N
        label_N[~sampled_N] = 1.0  # a tool result cannot be wrong: the state passes through it
        for node in range(1, tree.num_nodes):
            before = label_N[tree.parent_N[node]]
            if before == 0 or (np.isnan(before) and label_N[node] != 0):
                label_N[node] = before
    return assign(tree, label_N, "label", "oracle")
