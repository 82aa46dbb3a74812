"""An attempt's outcome against those of its own tree, and against those of all trees of the problem.

    inter_i = (r_i - mean_P) / std_P        P: all scored leaves of the problem
    intra_i = (r_i - mean_t) / std_t        t: the scored leaves of i's tree (`group_N`)
    A_i = inter_i + intra_i

Tree-GRPO, arXiv:2509.21240, equations 6 and 7 (std with one less than the leaves, as in its released code); `rollout/branch`
grows such trees. Every step of a leaf's path carries A_i; a shared step carries the mean over the scored leaves below it.
The paper trains a shared step once a leaf, `shared="repeated"`: its weight is the number of these leaves; "once" gives it
weight 1, so that prefixes are not counted more than what follows them. A star, each chain its own tree, is `group_mean`.
Departs: no 1e-6 under the fraction, and a tree of one leaf has intra 0, where the released code lets its reward through.
With intra alone, few leaves a tree collapse in the paper's ablation. Raises ValueError for unknown knobs.
Degenerate: a group of one or of equal rewards is exactly 0, never a residue over epsilon; `without_variance` counts them.
An unscored attempt takes no part, NaN. Without groups the whole is one tree: inter and intra are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Tree
from stepcredit.credit._assign import assign
from stepcredit.credit.group_mean import Normalize, advantages

Over = Literal["both", "inter", "intra"]
Shared = Literal["repeated", "once"]


@register("credit", paper="arXiv:2509.21240", kind="advantage")
@each_tree
def tree_advantage(
    tree: Tree, *, over: Over = "both", normalize: Normalize = "std", shared: Shared = "repeated"
) -> Credit:
    """Give every step the mean advantage of the attempts through it, [N]."""
    for name, given, allowed in (("over", over, Over), ("shared", shared, Shared)):
        if given not in get_args(allowed):
            raise ValueError(f"{name} is {given!r}; allowed: {', '.join(get_args(allowed))}")
    reward_N, groups = tree.reward_N, _groups(tree)
    advantage_N = np.zeros(tree.num_nodes)
    for leaves in ([groups["inter"]] if over != "intra" else []) + ([groups["intra"]] if over != "inter" else []):
        for own in leaves:
            advantage_N[own] += advantages(reward_N[own], normalize)
    through: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for own in groups["inter"]:
        for leaf in own:
            for node in tree.path(leaf):
                through[node].append(float(advantage_N[leaf]))
    mean_N = np.array([np.mean(np.sort(found)) if found else np.nan for found in through])
    num_N = np.array([len(found) for found in through], dtype=np.float64)
    weight_N = num_N if shared == "repeated" else np.ones(tree.num_nodes)
    return assign(tree, mean_N, "advantage", "tree_advantage", weight_N=weight_N)


def without_variance(trees: Sequence[Tree]) -> dict[str, tuple[int, int]]:
    """How many groups carry no advantage (one leaf, or equal rewards) of how many with a scored leaf: inter and intra."""
    found = {}
    for over in ("inter", "intra"):
        groups = [tree.reward_N[own] for tree in trees for own in _groups(tree)[over]]
        found[over] = (sum(bool(np.all(reward_G == reward_G[0])) for reward_G in groups), len(groups))
    return found


def _groups(tree: Tree) -> dict[str, list[list[int]]]:
    """The scored leaves, all together and by tree; no empty group."""
    reward_N = tree.reward_N
    scored = [leaf for leaf in tree.leaves if not np.isnan(reward_N[leaf])]
    by_tree: dict[int, list[int]] = {}
    for leaf in scored:
        by_tree.setdefault(0 if tree.group_N is None else int(tree.group_N[leaf]), []).append(leaf)
    return {"inter": [scored] if scored else [], "intra": list(by_tree.values())}
