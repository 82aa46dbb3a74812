"""Structural labels of all steps, corrected by human labels of a few so that their mean stays unbiased.

    in each stratum of the structural label f, L its labelled steps, U the rest:
    m = mean_U(lambda f) + mean_L(h - lambda f)
    y = h on L;  on U, with t = mean_U(f):  y = f m / t  where m <= t,  else  1 - (1 - f) (1 - m) / (1 - t)

Ours. m is the prediction-powered mean (Angelopoulos et al., arXiv:2301.09633), lambda (`power`) the weight of its control
variate (arXiv:2311.01453), by strata (arXiv:2406.04291); f is scaled to it, which keeps it in [0, 1] and keeps its order.
Assumption: within a stratum, which steps are labelled does not depend on their labels (`draw_labels` draws them). Then the
expected mean label of a stratum is its mean human label, whatever the bias of f, and the better f is the less it varies:
by the variance of h - lambda f over the number of labels. Exact where steps are drawn; up to one over their number where
whole attempts are, which therefore must not share labelled steps: a shared one would be drawn more often than the others. Labels that stop at the first error are not random: `so_far` completes them with zeros.
Not unbiased step by step. `pseudo_labels` are, f + (h - f) / share on labelled steps, but they leave [0, 1], as anything
must that is right on average and is not always h: they are terms of an estimate and no targets.
Strata are groups of equal size by f, ties together: `num_strata`, or fewer, so that an average one has `min_labels`
human labels. `human_weight` is what a human label weighs beside a corrected one; weights of f are not read.
Raises ValueError for credits that do not fit their trees, no human label at all, or knobs outside their range.
Degenerate: m is cut to [0, 1], where the mean is no longer unbiased; a stratum without a human label takes the correction
of all; a step with neither label stays NaN, weight 0; with every step labelled the credit is the human labels. Batch statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Bools, Credit, Floats, Ints, Tree
from stepcredit.credit._assign import assign
from stepcredit.credit.oracle import oracle

Unit = Literal["attempt", "step"]


@register("credit", paper="ours", kind="label", resource_kinds={"human": "label"}, step_label_free=False)
def hybrid(
    trees: Sequence[Tree], *, structural: Sequence[Credit], human: Sequence[Credit], rng: Rng, share: float = 1.0,
    by: Unit = "attempt", power: float = 1.0, num_strata: int = 10, min_labels: int = 10, human_weight: float = 1.0,
    so_far: bool = True,
) -> list[Credit]:  # fmt: skip
    """Correct `structural` (values or labels) by the `share` of the `human` labels that is used, [N] in [0, 1]."""
    if isinstance(trees, Tree) or not len(trees) == len(structural) == len(human):
        raise ValueError("hybrid has batch statistics: give a sequence of trees, and both credits for each")
    if not 0 <= power <= 1 or num_strata < 1 or min_labels < 1 or not human_weight > 0:
        raise ValueError(f"power {power}, num_strata {num_strata}, min_labels {min_labels}, human_weight {human_weight}; "
                         "allowed: in [0, 1], 1 or more, 1 or more, above 0")  # fmt: skip
    for tree, credit in zip(trees, structural, strict=True):
        if credit.kind not in ("value", "label") or len(credit.values_N) != tree.num_nodes:
            raise ValueError(f"structural of problem {tree.problem.id!r}: expected a value or label [{tree.num_nodes}], "
                             f"got a {credit.kind} [{len(credit.values_N)}]")  # fmt: skip
    if not trees:
        return []
    known = [oracle(tree, truth=credit, so_far=so_far) for tree, credit in zip(trees, human, strict=True)]
    used = draw_labels(trees, known, rng=rng, share=share, by=by)
    sizes = np.cumsum([tree.num_nodes for tree in trees])[:-1]
    f = np.concatenate(
        [np.where(tree.sampled_N, c.values_N, np.nan) for tree, c in zip(trees, structural, strict=True)]
    )
    h = np.concatenate([np.where(use_N, c.values_N, np.nan) for use_N, c in zip(used, known, strict=True)])
    if not np.isnan(f).all() and np.isnan(h).all():
        raise ValueError("hybrid corrects by human labels, and there is none on any step")
    label = corrected(f, h, power=power, num_strata=num_strata, min_labels=min_labels)
    weight = np.where(np.isnan(h), 1.0, human_weight)
    return [
        assign(tree, label_N, "label", "hybrid", weight_N=weight_N)
        for tree, label_N, weight_N in zip(trees, np.split(label, sizes), np.split(weight, sizes), strict=True)
    ]


def corrected(structural_n: Floats, human_n: Floats, *, power: float = 1.0, num_strata: int = 10,
              min_labels: int = 10) -> Floats:  # fmt: skip
    """The labels of steps, [n]: human where given (not NaN), else the structural one scaled to its stratum's mean.

    >>> corrected(np.array([1.0, 1.0, 1.0, 1.0]), np.array([1.0, 0.0, np.nan, np.nan]))
    array([1. , 0. , 0.5, 0.5])
    """
    label_n = human_n.copy()
    drawn_n = ~np.isnan(human_n) & ~np.isnan(structural_n)
    if not drawn_n.any():
        return np.where(np.isnan(human_n), structural_n, human_n)
    stratum_n = _strata(structural_n, max(1, min(num_strata, int(drawn_n.sum()) // min_labels)))
    for stratum in range(int(stratum_n.max()) + 1):
        rest_n = (stratum_n == stratum) & np.isnan(human_n)
        among_n = drawn_n & (stratum_n == stratum)
        among_n = among_n if among_n.any() else drawn_n
        if rest_n.any():
            f, total = structural_n[rest_n], _mean(structural_n[rest_n])
            mean = power * total + _mean(human_n[among_n] - power * structural_n[among_n])
            label_n[rest_n] = _scaled(f, total, float(np.clip(mean, 0.0, 1.0)))
    return label_n


def pseudo_labels(structural_n: Floats, human_n: Floats, share: float, *, power: float = 1.0) -> Floats:
    """Step by step unbiased, [n]: power f + (h - power f) / share where labelled, power f elsewhere.

    Their expectation over the draw is h. `share` is each step's chance of being labelled. Not bounded.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share lies in (0, 1]; got {share}")
    shrunk_n = power * structural_n
    return np.where(np.isnan(human_n), shrunk_n, shrunk_n + (np.nan_to_num(human_n) - shrunk_n) / share)


def draw_labels(
    trees: Sequence[Tree], human: Sequence[Credit], *, rng: Rng, share: float, by: Unit = "attempt"
) -> list[Bools]:
    """Which labelled steps are used, [N] for each tree: a `share` of the labelled attempts (or steps), at least one.

    Nothing is drawn at share 1. Raises ValueError where attempts that are drawn whole share a labelled step.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share lies in (0, 1]; got {share}")
    if by not in get_args(Unit):
        raise ValueError(f"by is {by!r}; allowed: {', '.join(get_args(Unit))}")
    known = [~np.isnan(credit.values_N) for credit in human]
    if share == 1:
        return known
    units: list[tuple[int, Ints]] = []
    for index, (tree, known_N) in enumerate(zip(trees, known, strict=True)):
        paths = tree.leaves if by == "attempt" else np.flatnonzero(known_N).tolist()
        nodes = [np.array(tree.path(n) if by == "attempt" else [n], dtype=np.int64) for n in paths]
        own = [path[known_N[path]] for path in nodes]
        if own and len(np.unique(np.concatenate(own))) < sum(len(each) for each in own):
            raise ValueError(f"problem {tree.problem.id!r}: attempts share labelled steps, which would be drawn more often than "
                             "others; draw by step, not by attempt")  # fmt: skip
        units.extend((index, each) for each in own if len(each))
    used = [np.zeros(tree.num_nodes, dtype=np.bool_) for tree in trees]
    for place in rng.permutation(len(units))[: max(1, round(share * len(units)))]:
        index, own = units[place]
        used[index][own] = True
    return used


def _strata(structural_n: Floats, num: int) -> Ints:
    """Stratum of each step, [n], by the middle rank of its structural label; -1 where it has none."""
    known_n = ~np.isnan(structural_n)
    _, place, size = np.unique(structural_n[known_n], return_inverse=True, return_counts=True)
    middle = (np.cumsum(size) - size / 2) / size.sum()
    stratum_n = np.full(len(structural_n), -1, dtype=np.int64)
    stratum_n[known_n] = np.minimum((num * middle).astype(np.int64), num - 1)[place]
    return stratum_n


def _scaled(f: Floats, total: float, mean: float) -> Floats:
    """Numbers in [0, 1] of mean `total`, brought to another mean in their own order."""
    if mean <= total:
        return f * (mean / total) if total > 0 else f
    return 1.0 - (1.0 - f) * ((1.0 - mean) / (1.0 - total))


def _mean(values: Floats) -> float:
    return float(np.mean(np.sort(values)))  # sorted: the order of steps cannot change a bit
