"""Monte Carlo labels of first errors with their typical noise taken out.

    m_j = successes / restarts of step j,   a = share of the problem's attempts that are right,   e = first j with m_j = 0
    right attempt    y_j = 1
    wrong attempt    y_e = 0,   y_j = min(1, m_j / a) on the `num_soft` steps before e,   y_j = 1 before these, none after e

SCAN, arXiv:2509.16548. Three rules against noise: only problems with a >= min_accuracy (a weak policy fails from sound
steps), soft labels next to the error (a policy that repairs puts the error too late), and m over a, so that a policy's own
failures are no evidence. Then as many right as wrong attempts: by weights here (`balance`), in the released code by leaving
attempts out at random, which is this on average. The tree holds attempts and restarts already, in groups as `monte_carlo`
reads them; restarts are evidence, not samples, and stay unassigned.
Departs: an attempt that is wrong is itself evidence that its last step is, where the released code rolls out once more from
the finished attempt and drops it if that succeeds.
Shared nodes: the mean over the attempts through the node, each by its weight. Batch statistics: the balance.
Raises ValueError for a reward outside [0, 1], or knobs outside their range.
Degenerate: a wrong attempt with an unmeasured step before its first failure is left out, NaN, weight 0; so is a problem
without scored attempts. A batch of one class has nothing to balance and keeps weight 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.registry import register
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign, is_right, unit_reward_N
from stepcredit.credit.monte_carlo import counts

Labelled = tuple[bool, list[int], Floats]  # is right, the attempt's sampled nodes, a label or NaN for each


@register("credit", paper="arXiv:2509.16548", kind="label")
def scan(trees: Sequence[Tree], *, min_accuracy: float = 0.75, num_soft: int = 2, balance: bool = True) -> list[Credit]:
    """Denoised Monte Carlo labels of every attempt, [N] in [0, 1]."""
    if isinstance(trees, Tree):
        raise ValueError("scan has batch statistics: give a sequence of trees")
    if not 0 <= min_accuracy <= 1 or num_soft < 0:
        raise ValueError(f"min_accuracy {min_accuracy}, num_soft {num_soft}; allowed: in [0, 1], 0 or more")
    labelled = [_attempts(tree, min_accuracy, num_soft) for tree in trees]
    num_right = sum(right for one in labelled for right, _, _ in one)
    num_wrong = sum(not right for one in labelled for right, _, _ in one)
    fewer = min(num_right, num_wrong)
    weight_of = {True: 1.0, False: 1.0}
    if balance and fewer:
        weight_of = {True: fewer / num_right, False: fewer / num_wrong}
    return [_credit(tree, one, weight_of) for tree, one in zip(trees, labelled, strict=True)]


def _attempts(tree: Tree, min_accuracy: float, num_soft: int) -> list[Labelled]:
    """The attempts of a problem that are kept, with their labels."""
    right_N = is_right(unit_reward_N(tree, "scan"))
    scored = [leaf for leaf in tree.leaves if _is_attempt(tree, leaf) and not np.isnan(right_N[leaf])]
    accuracy = float(np.mean(right_N[scored])) if scored else 0.0
    if not scored or accuracy < min_accuracy:
        return []
    num_success_N, num_rollout_N = counts(tree)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate_N = num_success_N / num_rollout_N
    found = []
    for leaf in scored:
        nodes = [node for node in tree.path(leaf) if tree.steps[node].sampled]
        if not nodes:
            continue
        if right_N[leaf] == 1:
            found.append((True, nodes, np.ones(len(nodes))))
            continue
        rate_S = rate_N[nodes]
        rate_S[-1] = 0.0 if np.isnan(rate_S[-1]) else rate_S[-1]  # a tool result ends the attempt: it failed from here
        failures = np.flatnonzero(rate_S == 0)
        if failures.size and not np.isnan(rate_S[: failures[0]]).any():
            found.append((False, nodes, _labels(rate_S, int(failures[0]), accuracy, num_soft)))
    return found


def _is_attempt(tree: Tree, leaf: int) -> bool:
    """Whether the leaf ends what its first step began, rather than a restart."""
    return tree.group_N is None or len({int(tree.group_N[node]) for node in tree.path(leaf)}) == 1


def _labels(rate_S: Floats, error: int, accuracy: float, num_soft: int) -> Floats:
    label_S = np.ones(len(rate_S))
    soft = slice(max(error - num_soft, 0), error)
    label_S[soft] = np.minimum(1.0, rate_S[soft] / accuracy) if accuracy > 0 else 1.0
    label_S[error], label_S[error + 1 :] = 0.0, np.nan
    return label_S


def _credit(tree: Tree, attempts: Sequence[Labelled], weight_of: dict[bool, float]) -> Credit:
    sum_N, weight_N, num_N = (np.zeros(tree.num_nodes) for _ in range(3))
    for right, nodes, label_S in attempts:
        known = np.array(nodes)[~np.isnan(label_S)]
        sum_N[known] += weight_of[right] * label_S[~np.isnan(label_S)]
        weight_N[known] += weight_of[right]
        num_N[known] += 1
    label_N = np.where(num_N > 0, np.minimum(sum_N / np.where(num_N > 0, weight_N, 1.0), 1.0), np.nan)
    return assign(tree, label_N, "label", "scan", weight_N=weight_N / np.maximum(num_N, 1))
