"""P(sound so far) at every step of a wrong attempt, from whatever restarts its tree holds: many, few, at some steps only.

    value_j = P(e > j | successes and restarts behind the steps),   e = first wrong step            core/change_point

Ours: it reads what `rollout/adaptive` grew, and any other restarts. One success behind a later step speaks for all steps
before it, so steps that nobody asked have a value too. `recovery`, `luck`, `profile`, `judge` and `doubt` are those the tree was grown
with: then the step at which the values fall most is the one `adaptive` decided for. The judge gives the prior over e, is
asked once a tree about its wrong attempts, and what that costs is the credit's; where it says nothing e is uniform.
A right attempt is 1 at every step, as one success is for `monte_carlo` with `soft=False`.
Shared nodes: the mean over the attempts through the node.
Raises ValueError for a reward outside [0, 1], or knobs outside their range.
Degenerate: an unscored attempt, and a wrong one of several steps that neither a scored restart nor a judge decides, stays
NaN, weight 0; restarts are evidence, not samples, and stay unassigned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stepcredit.core.change_point import Beliefs, Profile, first_error_prior, posterior
from stepcredit.core.protocols import Judge
from stepcredit.core.registry import each_tree, register
from stepcredit.core.restarts import attempts, restart_rewards
from stepcredit.core.types import Cost, Credit, Floats, Tree
from stepcredit.credit._assign import assign, is_right, unit_reward_N


@register("credit", paper="ours", kind="value")
@each_tree
def change_point(tree: Tree, *, recovery: float = 0.0, luck: float = 0.0, profile: Profile = "flat",
                 judge: Judge | None = None, doubt: float = 0.1) -> Credit:  # fmt: skip
    """P(no error up to the step), [N] in [0, 1], on the steps of scored attempts."""
    reward_N = unit_reward_N(tree, "change_point")
    right_N = is_right(reward_N)
    scored = [leaf for leaf in attempts(tree) if not np.isnan(right_N[leaf])]
    num_right = int(right_N[scored].sum())
    nodes_of = {leaf: [node for node in tree.path(leaf) if tree.steps[node].sampled] for leaf in scored}
    told, cost = _told(tree, [leaf for leaf in scored if right_N[leaf] == 0 and nodes_of[leaf]], judge)
    rewards = restart_rewards(tree, reward_N)
    found: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for leaf, nodes in nodes_of.items():
        if not nodes:
            continue
        value_S: Floats = np.ones(len(nodes))
        if right_N[leaf] == 0:
            behind = [[reward > 0.5 for reward in rewards[node]] for node in nodes[:-1]]
            score_S = told.get(leaf)
            known = score_S if score_S is not None and len(score_S) == len(nodes) else None
            prior = first_error_prior(len(nodes), known, doubt)
            if behind and not any(behind) and len(set(prior)) == 1:
                continue
            beliefs = Beliefs(prior, num_right, len(scored) - num_right, recovery, luck, profile)
            place_S = posterior([*map(sum, behind), 0], [*map(len, behind), 0], beliefs)
            value_S = np.clip(1 - np.cumsum(place_S), 0, 1)
            value_S[-1] = 0.0
        for node, value in zip(nodes, value_S.tolist(), strict=True):
            found[node].append(value)
    value_N = np.array([np.mean(np.sort(each)) if each else np.nan for each in found])
    return assign(tree, value_N, "value", "change_point", cost=cost)


def _told(tree: Tree, wrong: list[int], judge: Judge | None) -> tuple[dict[int, Floats], Cost]:
    """The judge's step scores of each wrong attempt, and what it cost; a judge that keeps no count was called once each."""
    if judge is None or not wrong:
        return {}, Cost()
    judgments = judge([(tree.problem, tree.solution(leaf)) for leaf in wrong])
    costs = [one.cost if one.cost.judge_calls else replace(one.cost, judge_calls=1) for one in judgments]
    return {leaf: one.step_scores_S for leaf, one in zip(wrong, judgments, strict=True)}, sum(costs, Cost())
