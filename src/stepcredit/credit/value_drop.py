"""An outcome value that drops by more than half marks the first error.

    d_j = (v_j - v_(j-1)) / v_(j-1)        y = 0 from the first step with d_j < threshold, 1 before it

AutoPSV, arXiv:2405.16802 (threshold -1/2): the values are those of a verifier trained on outcomes alone, which is then
trained again on these labels. As in its released code a step that starts below 1e-5 is an error, and every step after an
error is wrong. Departs: v_(j-1) is the value at the end of the step before, where the code takes the value at the step's
own first token; `start` is the value of the prompt, such as the problem's success rate, without which the first step
cannot drop. The test is relative: it does not see how low a value is, nor a decline in small steps.
A step without a value hands on the last one known. Shared nodes: a label belongs to the node and its path.
Raises ValueError for values that are not one value Credit of the tree's size, a threshold outside [-1, 0], or a start
outside [0, 1].
Degenerate: a step without a value and without an error before it stays NaN, weight 0. Reads no outcome.
"""

from __future__ import annotations

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign

NOTHING = 1e-5  # a value from which no relative drop can be taken


@register("credit", paper="arXiv:2405.16802", kind="label")
@each_tree
def value_drop(tree: Tree, *, values: Credit, threshold: float = -0.5, start: float | None = None) -> Credit:
    """Label steps 0 from the first relative drop of `values` below the threshold on, 1 before it, [N]."""
    if values.kind != "value" or len(values.values_N) != tree.num_nodes:
        raise ValueError(
            f"values of problem {tree.problem.id!r}: expected a value [{tree.num_nodes}], "
            f"got a {values.kind} [{len(values.values_N)}]"
        )
    if not -1 <= threshold <= 0:
        raise ValueError(f"threshold is a relative drop in [-1, 0]; got {threshold}")
    if start is not None and not 0 <= start <= 1:
        raise ValueError(f"start is a value in [0, 1]; got {start}")
    label_N: Floats = np.full(tree.num_nodes, np.nan)
    known_N: Floats = np.full(tree.num_nodes, np.nan)  # the last value known on the path up to the node
    known_N[0] = np.nan if start is None else start
    broken_N = np.zeros(tree.num_nodes, dtype=np.bool_)
    for node in range(1, tree.num_nodes):
        parent, value = tree.parent_N[node], values.values_N[node]
        before, broken_N[node] = known_N[parent], broken_N[parent]
        known_N[node] = before
        if not tree.steps[node].sampled:
            continue
        if not np.isnan(value):
            known_N[node] = value
            broken_N[node] |= before < NOTHING or (value - before) / max(before, NOTHING) < threshold
        if broken_N[node] or not np.isnan(value):
            label_N[node] = 0.0 if broken_N[node] else 1.0
    return assign(tree, label_N, "label", "value_drop")
