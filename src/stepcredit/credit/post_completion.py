"""An attempt's outcome on its steps, the truth of its self-evaluation on the steps that evaluate it.

    reasoning steps:   advantage of  accuracy + format         among the problem's attempts
    evaluation steps:  advantage of  consistency(predicted, true rewards)     among those with an evaluation
    brier      1 - mean_i (p_i - y_i)^2                        best at p_i = E[y_i]
    log        mean_i 1 - log q_i / log .01,   q_i: what p_i gives to what happened, .01 or more
    released   1 - mean_i |y_i - p_i| / max(y_i, p_i), 0 wherever a maximum is 0

PCL, arXiv:2507.20252, by its released code: all tokens share the advantage of the sum of all three rewards, weights 1, which
is `split=False`. Departs by default: split, so that an evaluation is not paid for an answer nor an answer for its evaluation;
and a proper score, since the released one gives 0 to "[0,1]" said truly of a wrong answer and .5 to the false "[1,1]": it teaches
to claim success (released code defect). Accuracy is the outcome's reward, in [0, 1]; format its `well_formed`, None as False.
Evaluation: steps of kind "evaluation" (`core/post_completion`, lines of one step each); one that cannot be read has consistency
0, the least there is. A step that attempts share carries the mean of theirs. Raises ValueError for unknown knobs.
Degenerate: equal sums of rewards carry exactly 0, as does a single attempt; an unscored attempt takes no part, NaN; without
evaluations this is `group_mean` of accuracy + format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.post_completion import evaluation_of
from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit._assign import assign, unit_reward_N
from stepcredit.credit.group_mean import Normalize, advantages

Consistency = Literal["brier", "log", "released"]
FLOOR = 0.01


def consistency(predicted: Sequence[float], true: Sequence[float], reward: Consistency = "brier") -> float:
    """What a prediction of rewards is worth when they are these, in [0, 1]. ValueError for other lengths or no such reward.

    >>> [consistency(said, (0, 1), "released") for said in ((0, 1), (1, 1))], consistency((0, 1), (0, 1))
    ([0.0, 0.5], 1.0)
    """
    if reward not in get_args(Consistency) or not 1 <= len(predicted) == len(true):
        raise ValueError(f"reward is {reward!r}, {len(predicted)} numbers for {len(true)}; allowed: "
                         f"{', '.join(get_args(Consistency))}; as many of each")  # fmt: skip
    pairs = [(float(p), float(y)) for p, y in zip(predicted, true, strict=True)]
    if reward == "released":
        if any(max(pair) == 0 for pair in pairs):
            return 0.0
        return 1 - sum(abs(y - p) / max(y, p) for p, y in pairs) / len(pairs)
    one = _brier if reward == "brier" else _log
    return sum(one(p, y) for p, y in pairs) / len(pairs)


@register("credit", paper="arXiv:2507.20252", kind="advantage")
@each_tree
def post_completion(
    tree: Tree, *, reward: Consistency = "brier", split: bool = True, consistency_weight: float = 1.0,
    format_weight: float = 1.0, normalize: Normalize = "std",
) -> Credit:  # fmt: skip
    """Give reasoning steps the advantage of accuracy and format, evaluation steps that of consistency, [N]."""
    consistency((0.0,), (0.0,), reward)  # refuses a wrong knob on any tree
    reward_N = unit_reward_N(tree, "post_completion")
    scored = [leaf for leaf in tree.leaves if not np.isnan(reward_N[leaf])]
    evaluates_N = np.array([step.kind == "evaluation" for step in tree.steps])
    task_G, said_G, evaluated_G = np.zeros(len(scored)), np.zeros(len(scored)), np.zeros(len(scored), dtype=np.bool_)
    for place, leaf in enumerate(scored):
        outcome = tree.outcomes[leaf]
        well_formed = float(outcome is not None and bool(outcome.well_formed))
        task_G[place] = reward_N[leaf] + format_weight * well_formed
        said = evaluation_of(tree.solution(leaf))
        evaluated_G[place] = bool(np.any(evaluates_N[list(tree.path(leaf))]))
        if said is not None:
            true = (reward_N[leaf], well_formed)[: len(said.rewards)]
            said_G[place] = consistency_weight * consistency(said.rewards, true, reward)
    reason_G = advantages(task_G if split else task_G + said_G, normalize)
    evaluation_G = reason_G
    if split:
        evaluation_G = np.full(len(scored), np.nan)
        evaluation_G[evaluated_G] = advantages(said_G[evaluated_G], normalize)
    through: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for place, leaf in enumerate(scored):
        for node in tree.path(leaf):
            through[node].append(float((evaluation_G if evaluates_N[node] else reason_G)[place]))
    mean_N: Floats = np.array([np.mean(np.sort(found)) if found else np.nan for found in through])
    return assign(tree, mean_N, "advantage", "post_completion")


def _brier(p: float, y: float) -> float:
    return 1 - (p - y) ** 2


def _log(p: float, y: float) -> float:
    nats = y * math.log(max(p, FLOOR)) + (1 - y) * math.log(max(1 - p, FLOOR))
    return 1 - nats / math.log(FLOOR)
