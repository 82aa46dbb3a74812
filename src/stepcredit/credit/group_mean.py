"""An attempt's outcome against those of its siblings for the same problem.

    A_i = (r_i - mean_G r) / std_G r          G: the G scored attempts of the problem's tree, std with G - 1

GRPO, arXiv:2402.03300, section 4.1 (std as in its released code, unbiased). `normalize="none"` is Dr.GRPO,
arXiv:2503.20783; with `leave_one_out=True` besides, r_i - mean of the *other* attempts, it is RLOO, arXiv:2402.14740.
Departs: no epsilon under the fraction; whether a group varies is decided by equality of its rewards, not by residue.
Each step carries its attempt's advantage, whatever its length: longer does not mean more.
Shared nodes: the mean advantage of the scored attempts below.
Degenerate: a group of one and a group of equal rewards get exactly 0; an unscored attempt takes no part, NaN.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign

Normalize = Literal["std", "none"]


def advantages(reward_G: Floats, normalize: Normalize = "std", leave_one_out: bool = False) -> Floats:
    """Advantages of a group of scored rewards, [G].

    >>> advantages(np.array([1.0, 0.0, 0.0, 1.0]), "none")
    array([ 0.5, -0.5, -0.5,  0.5])
    """
    if normalize not in get_args(Normalize):
        raise ValueError(f"normalize is {normalize!r}; allowed: {', '.join(get_args(Normalize))}")
    num = len(reward_G)
    if num < 2 or np.all(reward_G == reward_G[0]):
        return np.zeros(num)
    advantage_G = reward_G - np.mean(np.sort(reward_G))  # sorted: the order of attempts cannot change a bit
    scale = num / (num - 1) if leave_one_out else 1.0
    if normalize == "std":
        scale /= float(np.sqrt(np.sum(np.sort(advantage_G**2)) / (num - 1)))
    return np.asarray(advantage_G * scale)


@register("credit", paper="arXiv:2402.03300", kind="advantage")
@each_tree
def group_mean(tree: Tree, *, normalize: Normalize = "std", leave_one_out: bool = False) -> Credit:
    """Give every step its attempt's advantage over the problem's other attempts, [N]."""
    reward_N = tree.reward_N
    scored = [leaf for leaf in tree.leaves if not np.isnan(reward_N[leaf])]
    advantage_G = advantages(reward_N[scored], normalize, leave_one_out)
    sum_N, num_N = np.zeros(tree.num_nodes), np.zeros(tree.num_nodes)
    for leaf, advantage in zip(scored, advantage_G, strict=True):
        path = list(tree.path(leaf))
        sum_N[path] += advantage
        num_N[path] += 1
    return assign(tree, np.where(num_N > 0, sum_N / np.maximum(num_N, 1), np.nan), "advantage", "group_mean")
