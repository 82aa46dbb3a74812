"""Which step of a demonstration is hard, read off its starts' values; measured by where the policy's own attempts go wrong.

    rise          V(s_k) - V(s_(k-1))              what the step is worth: R3's values as a step signal
    relative      1 - V(s_(k-1)) / V(s_k)          where nothing recovers: P(the policy gets this step wrong | it came so far)
    reciprocal    1 / V(s_(k-1)) - 1 / V(s_k)      the same times P(it came so far), up to a constant: its first errors

The last line: an attempt reaches step k unbroken with probability V(s_0) / V(s_(k-1)). Measured on attempts that end wrong
and whose first wrong step, by the oracle, has a place in the demonstration: which share of them does the step that was
found hold? Rates enter the reciprocal as (right + 1/2) / (scored + 1), so that none is 0. Ties go to the earliest step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.protocols import Task
from stepcredit.core.tree import first_error
from stepcredit.core.types import Estimate, Floats, Tree
from stepcredit.recipes._r3_values import point

Reading = Literal["rise", "relative", "reciprocal"]


def signal(value_S: Floats, how: Reading = "rise", num: float = np.inf) -> Floats:
    """How hard each of the S steps is, from the values of its S starts and its end, [S + 1] -> [S]; NaN where not known.

    `num`: continuations behind each value, infinite where it is exact. Raises ValueError for a reading there is not.

    >>> signal(np.array([0.2, 0.4, 0.8, 1.0])).round(2), signal(np.array([0.2, 0.4, 0.8, 1.0]), "relative").round(2)
    (array([0.2, 0.4, 0.2]), array([0.5, 0.5, 0.2]))
    """
    if how not in get_args(Reading):
        raise ValueError(f"reading is {how!r}; allowed: {', '.join(get_args(Reading))}")
    before_S, after_S = value_S[:-1], value_S[1:]
    if how == "rise":
        return np.asarray(after_S - before_S)
    with np.errstate(divide="ignore", invalid="ignore"):
        if how == "relative":
            return np.where(after_S > 0, 1 - before_S / after_S, np.nan)
        if np.isfinite(num):
            before_S, after_S = ((num * side + 0.5) / (num + 1) for side in (before_S, after_S))
        return np.where(after_S > 0, 1 / before_S - 1 / after_S, np.nan)


def hardest(signal_S: Floats) -> int:
    """The step of the largest signal, 0-based; the earliest of equals, 0 where nothing is known."""
    return int(np.argmax(np.where(np.isnan(signal_S), -np.inf, signal_S)))


def first_errors(tree: Tree, task: Task, num: int, every: slice = slice(None)) -> Floats:
    """Wrong attempts among the tree's leaves by the step they first go wrong at, [num]; steps beyond have no place."""
    found = np.zeros(num)
    for leaf in tree.leaves[every]:
        if tree.reward_N[leaf] <= 0.5:
            at = first_error(task.label_steps(tree.problem, tree.solution(leaf)))
            if 0 <= at < num:
                found[at] += 1
    return found


def measured(steps: Sequence[int], errors: Sequence[Floats]) -> dict[str, Estimate]:
    """Share of first errors at the steps found, and how often that is the most frequent place; problems weigh alike.

    Problems without a wrong attempt are left out.
    """
    return averaged([np.eye(len(own_S))[step] for step, own_S in zip(steps, errors, strict=True)], errors)


def averaged(chance: Sequence[Floats], errors: Sequence[Floats]) -> dict[str, Estimate]:
    """The same for a step drawn by these chances, [S] each: a random step has 1 / S everywhere."""
    shares, hits = [], []
    for chance_S, own_S in zip(chance, errors, strict=True):
        if own_S.sum():
            shares.append(float(chance_S @ own_S / own_S.sum()))
            hits.append(float(chance_S[own_S == own_S.max()].sum()))
    unit = "share of first errors at the step found"
    return {
        "errors found": point(float(np.mean(shares)) if shares else np.nan, len(shares), unit),
        "most frequent": point(float(np.mean(hits)) if hits else np.nan, len(hits), "share of problems"),
    }


def share_hard(trees: Sequence[Tree], steps: Sequence[int], hard: Callable[[str], bool]) -> Estimate:
    """How many of the steps found are ones the policy gets wrong by habit."""
    found = [hard(tree.steps[step + 1].text) for tree, step in zip(trees, steps, strict=True)]
    return point(float(np.mean(found)), len(found), "share of the steps found that are wrong facts of the policy")


def concentration(signals: Sequence[Floats]) -> Estimate:
    """The part of all rises that the largest one is, mean over demonstrations: 1 / S where all steps are alike."""
    parts = [float(np.nanmax(one) / np.nansum(np.maximum(one, 0))) for one in signals if np.nansum(np.maximum(one, 0))]
    return point(float(np.mean(parts)) if parts else np.nan, len(parts), "part of all rises that the largest is")
