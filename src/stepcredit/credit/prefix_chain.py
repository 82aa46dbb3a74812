"""The hidden chain on shared prefixes: attempts that begin alike exonerate each other's beginnings.

    state ok / broken at the end of each distinct prefix;  keep = 1 - hazard (1 - recovery), fix = recovery on every step
    P(outcome = right) = a (1 - fn) + (1 - a) fp at the end of each attempt
    label_n = P(kept at n | was ok before n, all outcomes of the problem),   weight_n = P(was ok before n | the same)

Outcomes alone, no judge, no further rollout: the attempts a group-sampled problem already has form a tree of prefixes,
and one right attempt through a prefix speaks for all who share it. Ours; the chain is RSP's (arXiv:2609.39220), the
idea that shared prefixes are what identifies outcome-only credit is Monte Carlo's (Math-Shepherd, arXiv:2312.08935).
`hazard` None: fitted to the trees given, by maximum likelihood over a grid, one value for all. fp and fn are never
fitted: outcomes cannot tell luck from repair. Set fp to what the domain knows, such as one over the number of answers.
Per step, training on (label, weight) by BCE is one EM step of the chain's likelihood on trees from constant rates.
The state passes through steps the policy did not write unchanged: keep = 1, fix = 0.
Raises ValueError for a hazard outside (0, 1) or impossible verifier rates.
Degenerate: a problem whose attempts share no step reduces to the single-attempt posterior, which leans to equal blame;
a step below which nothing is scored stays NaN, weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.chain import TreePosterior, check_rates, tree_posterior
from stepcredit.core.registry import register
from stepcredit.core.tree import prefix_of
from stepcredit.core.types import Bools, Credit, Floats, Ints, Tree

HAZARDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


@register("credit", paper="arXiv:2609.39220", kind="label")
def prefix_chain(
    trees: Tree | Sequence[Tree], *, hazard: float | None = None, recovery: float = 0.0, fp: float = 0.0,
    fn: float = 0.0,
) -> Credit | list[Credit]:  # fmt: skip
    """Posterior soundness of each step given all outcomes of its problem; a single tree gives a single credit."""
    many = [trees] if isinstance(trees, Tree) else list(trees)
    if not many:
        return []
    for name, given in (("hazard", hazard), ("recovery", 1 - recovery if recovery else None)):
        if given is not None and not 0 < given < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {hazard if name == 'hazard' else recovery}")
    check_rates(fp, fn)
    forest = _forest(many)
    found = [_posterior(forest, h, recovery, fp, fn) for h in (HAZARDS if hazard is None else (hazard,))]
    best = max(found, key=lambda one: one.log_likelihood)  # ties: the smaller hazard
    credits = [_credit(tree, node_N, forest, best) for tree, node_N in zip(many, forest[3], strict=True)]
    return credits[0] if isinstance(trees, Tree) else credits


Forest = tuple[Ints, Floats, Floats, list[Ints], Bools]


def _forest(trees: Sequence[Tree]) -> Forest:
    """Parents, right and wrong endings of all distinct prefixes, where each tree's nodes stand, which are sampled."""
    parents: list[Ints] = []
    right: list[Floats] = []
    wrong: list[Floats] = []
    places: list[Ints] = []
    offset = 0
    for tree in trees:
        prefix_N = prefix_of(tree)
        num_right, num_wrong = np.zeros(tree.num_nodes), np.zeros(tree.num_nodes)
        reward_N = tree.reward_N
        scored = np.flatnonzero(~np.isnan(reward_N))
        np.add.at(num_right, prefix_N[scored], reward_N[scored] > 0.5)
        np.add.at(num_wrong, prefix_N[scored], reward_N[scored] <= 0.5)
        parent = prefix_N[np.maximum(tree.parent_N, 0)] + offset
        parent[0] = -1
        parents.append(parent)
        right.append(num_right)
        wrong.append(num_wrong)
        places.append(prefix_N + offset)
        offset += tree.num_nodes
    sampled_N = np.concatenate([tree.sampled_N for tree in trees])
    return np.concatenate(parents), np.concatenate(right), np.concatenate(wrong), places, sampled_N


def _posterior(forest: Forest, hazard: float, recovery: float, fp: float, fn: float) -> TreePosterior:
    parent_N, num_right_N, num_wrong_N, _, sampled_N = forest
    keep_N = np.where(sampled_N, 1.0 - hazard * (1.0 - recovery), 1.0)
    return tree_posterior(parent_N, num_right_N, num_wrong_N, keep_N, np.where(sampled_N, recovery, 0.0), fp=fp, fn=fn)


def _credit(tree: Tree, place_N: Ints, forest: Forest, found: TreePosterior) -> Credit:
    below = forest[1][place_N] + forest[2][place_N]  # endings at this prefix, then at all prefixes below it
    for node in range(tree.num_nodes - 1, 0, -1):
        below[tree.parent_N[node]] += below[node]
    with np.errstate(invalid="ignore", divide="ignore"):
        label_N = np.clip(found.kept_N[place_N] / found.was_ok_N[place_N], 0.0, 1.0)
    weight_N = np.where(tree.sampled_N & (below > 0) & np.isfinite(label_N), found.was_ok_N[place_N], 0.0)
    return Credit(np.where(weight_N > 0, label_N, np.nan), "label", np.nan_to_num(weight_N), "prefix_chain")
