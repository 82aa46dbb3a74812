"""What a step adds to the policy's own likelihood of the gold answer, less what learning it would cost in parameters.

    r_k   = dI_k - beta C_k            dI: `_answer_likelihood`, probed from the policy itself;   C: `_compression`
    R_k   = outcome / K + alpha r_k    K: the attempt's steps
    r_t   = w_t R_k,   w_t = (-log p_t + epsilon) / sum over the step of (-log p_t + epsilon)
    rbar  = mean of r_t over the attempt's tokens, 2.5 % cut off at either end;   Ahat = (rbar - mean_G) / std_G
    paper       A_k = Ahat R_k / rbar, shared by the step's tokens as w_t (`Rules(spread="surprise")`)
    repaired    A_k = (outcome - mean_G) / std_G + alpha clipped((r_k - mean_G) / std_G), on each token
    charged     A_k = (outcome - mean_G) / std_G + alpha (clipped((dI_k - mean_G) / std_G) - beta sum_(j>=k) C_j), on each token
    released    A_k = z-score in G of outcome + sum_(k>1) tokens_k dI_k, on each token
    reward      R_k itself, a reward

L2T, arXiv:2505.10425, section 4 and algorithm 1 (alpha .8, beta .6). Only the gold answer is read: no judge, no step label.
The paper's ratio turns signs round (Ahat = -1, r = -.1, rbar = .2 makes +.5: what lost is reinforced), has no bound where
rbar is near 0, and rbar falls as 1 / tokens. `repaired` is ours: outcome and steps are compared with their own kind, and added
as advantages (as iStar, arXiv:2509.19199, found better than merged rewards); attempts count once in mean and deviation of
r_k, however many their steps; more r_k is more A_k, and `clip` deviations are the most. The shares of a sum that
Ahat |r| / sum |r| gives would blame the best step of a bad attempt most. `released` is the released code's estimator on our
gain: a delta on every token, summed, pays by length; it forgets the first step, beta and alpha.
The penalty is the paper's, a squared change of the parameters, and no price of length: a step that hardly changes them costs less
than the mean, and once steps are compared (z, or in a group) that is a bonus. With beta above 0 filler can be paid above the step
that brought the answer; beta=0 orders them by their gain. `charged`, ours too, keeps costs out of the comparison. A gain is a
difference of values, which a step has for itself; a cost is not: what a step makes necessary is its cost as well, so each is
charged to its step and to those before it. C is never below 0 there, so that no step has more than at beta=0, and filler at the
end of an attempt never lowers what any step of it is charged, whatever the filler costs (`_compression`, "attempt"). In the
middle it can still make what follows cheaper: C prices what is rare, and no form makes a price of length of it (the lab notes have
beta=0 shorter than any charge). Costs have no baseline: attempts that are equal in outcome, gain and cost are all below 0.
Departs: C is standardised over all trees of a call, so that beta has a meaning; `suffix` stands between prefix and answer.
Tokens are a step's recorded log-probabilities, else its token ids, else its characters, with even shares.
Shared nodes: the mean over the scored attempts through them. Batch statistics: takes the sequence of trees.
Raises ValueError for unknown knobs, a group in which some steps have recorded tokens and some have not, and as its parts do.
Degenerate: a group of one is exactly 0, but for rewards; an attempt without scored outcome or with an unknown gain (no answer)
takes no part, NaN; where rbar is exactly 0 its ratio is unassigned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.protocols import Policy
from stepcredit.core.registry import register
from stepcredit.core.tree import scored_below
from stepcredit.core.types import Cost, Credit, Floats, Tree
from stepcredit.credit._answer_likelihood import Measure, gains, split, texts_of
from stepcredit.credit._assign import assign
from stepcredit.credit._compression import Standardise, penalties
from stepcredit.credit._gain_forms import (
    EPSILON,
    Weights,
    clipped_z,
    ratio,
    surprise_weights,
    to_go,
    token_shares,
    truncated_mean,
)
from stepcredit.credit.group_mean import advantages

Form = Literal["paper", "repaired", "charged", "released", "reward"]
__all__ = ["information_gain", "surprise_weights"]

_GAINS = "attempts with equal outcomes may have gained differently: that is the method"
_LENGTH = "the paper's ratio and the released sum depend on length, which is what the repaired form is for"


@register(
    "credit", paper="arXiv:2505.10425", kind="advantage", kinds=("advantage", "reward"),
    exempt={"equal_outcomes_carry_nothing": f"{_GAINS}, and form='charged' has costs without a baseline",
            "group_of_one_carries_nothing": "form='reward' compares with nobody",
            "splitting_a_step_changes_nothing": "K counts steps, and what learning two halves costs is not what the whole does",
            "longer_is_not_more": _LENGTH},
)  # fmt: skip
def information_gain(
    trees: Sequence[Tree], *, policy: Policy, alpha: float = 0.8, beta: float = 0.6, form: Form = "paper",
    measure: Measure = "probability", suffix: str = "Answer: ", weights: Weights = "surprise", epsilon: float = EPSILON,
    standardise: Standardise | None = None, eta: float = 1.0, dim: int = 64, seed: int = 0, clip: float = 3.0,
    prompt_end: str = "\n", delimiter: str = "\n",
) -> list[Credit]:  # fmt: skip
    """Credit every step with its gain, [N] for each tree; `beta=0` needs no score vectors.

    `standardise=None` is "z", but "attempt" where `form="charged"`, which takes none that can be below 0.
    """
    standardise = standardise or ("attempt" if form == "charged" else "z")
    knobs = {"form": (form, Form), "measure": (measure, Measure), "weights": (weights, Weights),
             "standardise": (standardise, Standardise)}  # fmt: skip
    for name, (given, allowed) in knobs.items():
        if given not in get_args(allowed):
            raise ValueError(f"{name} is {given!r}; allowed: {', '.join(get_args(allowed))}")
    if form == "charged" and standardise == "z":
        raise ValueError(
            "standardise is 'z' with form 'charged'; allowed: mean, attempt, none, which never pay a step for its cost"
        )
    if isinstance(trees, Tree) or not alpha >= 0 or not beta >= 0 or not epsilon >= 0 or not clip > 0:
        raise ValueError(f"alpha {alpha}, beta {beta}, epsilon {epsilon}, clip {clip} for a {type(trees).__name__}; allowed: 0 or "
                         "more, the last above 0, for a sequence of trees, whose statistics the method takes")  # fmt: skip
    gain, costs = gains(trees, policy, measure=measure, suffix=suffix, prompt_end=prompt_end, delimiter=delimiter)
    nodes = [np.flatnonzero(tree.sampled_N & ~np.isnan(own) & (scored_below(tree)[1] > 0)).tolist()
             for tree, own in zip(trees, gain, strict=True)]  # fmt: skip
    charge = [np.zeros(tree.num_nodes) for tree in trees]
    if beta and form != "released" and trees:
        questions = [
            one for tree, own in zip(trees, nodes, strict=True) for one in _asked(tree, own, prompt_end, delimiter)
        ]
        penalty_n, spent = penalties(
            policy, questions, _shares(trees, nodes), standardise=standardise, eta=eta, dim=dim, seed=seed
        )
        ends = np.cumsum([len(own) for own in nodes])[:-1]
        for charge_N, own, penalty in zip(charge, nodes, np.split(penalty_n, ends), strict=True):
            charge_N[own] = beta * penalty
        costs = [one + more for one, more in zip(costs, split(spent, [len(own) for own in nodes]), strict=True)]
    return [
        _credit(tree, gain_N, charge_N, alpha, form, weights, epsilon, clip, cost)
        for tree, gain_N, charge_N, cost in zip(trees, gain, charge, costs, strict=True)
    ]


def _credit(tree: Tree, gain_N: Floats, charge_N: Floats, alpha: float, form: Form, weights: Weights, epsilon: float,
            clip: float, cost: Cost) -> Credit:  # fmt: skip
    """One tree's, from dI_k and beta C_k of its nodes, the latter 0 where released."""
    reward_N, taken = tree.reward_N, []
    for leaf in tree.leaves:
        path = [node for node in tree.path(leaf) if tree.steps[node].sampled]
        if path and not np.isnan(reward_N[leaf]) and not np.isnan(gain_N[path]).any():
            taken.append((float(reward_N[leaf]), path))
    net_N = gain_N if form == "charged" else gain_N - charge_N
    outcome_G = np.array([outcome for outcome, _ in taken])
    reward_GK = [outcome / len(path) + alpha * net_N[path] for outcome, path in taken]
    if form == "reward":
        found = reward_GK
    elif form in ("repaired", "charged"):
        steps = clipped_z([net_N[path] for _, path in taken], clip)
        if form == "charged" and len(taken) > 1:
            steps = [own - to_go(charge_N[path]) for own, (_, path) in zip(steps, taken, strict=True)]
        found = [outcome + alpha * own for outcome, own in zip(advantages(outcome_G), steps, strict=True)]
    else:
        shares = token_shares(tree, sorted({node for _, path in taken for node in path}), weights, epsilon)
        if form == "paper":
            rbar_G = np.array([truncated_mean(np.concatenate([reward * shares[node] for reward, node in zip(own, path, strict=True)]))
                               for own, (_, path) in zip(reward_GK, taken, strict=True)])  # fmt: skip
            found = [
                ratio(ahat, own, rbar) for ahat, own, rbar in zip(advantages(rbar_G), reward_GK, rbar_G, strict=True)
            ]
        else:
            sum_G = np.array(
                [outcome + sum(gain_N[node] * len(shares[node]) for node in path[1:]) for outcome, path in taken]
            )
            found = [np.full(len(path), value) for value, (_, path) in zip(advantages(sum_G), taken, strict=True)]
    through: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for own, (_, path) in zip(found, taken, strict=True):
        for node, value in zip(path, own, strict=True):
            through[node].append(float(value))
    mean_N = np.array([np.mean(np.sort(values)) if values else np.nan for values in through])
    return assign(tree, mean_N, "reward" if form == "reward" else "advantage", "information_gain", cost=cost)


def _shares(trees: Sequence[Tree], nodes: Sequence[Sequence[int]]) -> Floats:
    """The share of the batch's scored attempts that each of these nodes stands in; trees without any have no attempts."""
    num = [scored_below(tree)[1] for tree in trees]
    total = sum(float(num_N[0]) for num_N, own in zip(num, nodes, strict=True) if len(own))
    return np.concatenate([num_N[list(own)] for num_N, own in zip(num, nodes, strict=True)]) / max(total, 1.0)


def _asked(tree: Tree, nodes: Sequence[int], prompt_end: str, delimiter: str) -> list[tuple[str, str]]:
    """The steps as they were written: prefix and continuation."""
    before, _ = texts_of(tree, prompt_end, delimiter)
    last = set(tree.leaves)
    return [(before[node], tree.steps[node].text + ("" if node in last else delimiter)) for node in nodes]
