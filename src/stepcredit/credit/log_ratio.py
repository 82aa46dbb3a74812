"""Implicit process reward: how much likelier a tuned policy finds each step than its reference does.

    r_j = beta sum over the tokens of step j of log pi(token | before) / pi_ref(token | before)
    sum_j r_j = beta log pi(attempt) / pi_ref(attempt)        sum_(i<=j) r_i = beta log E_ref[exp(r(attempt) / beta) | up to j]

PRIME, arXiv:2502.01456 (beta .05); ImplicitPRM, arXiv:2412.01981, section 3, whose second identity makes the
running sum a value: the policy is trained on outcomes so that sigmoid(sum_j r_j) is P(right). iStar (arXiv:2509.19199)
is the same with the sampling policy as reference. Only the sum over an attempt is trained: nothing but the model ties a
step's share to the step. Departs: summed over a step's tokens, where PRIME gives each token its own.
`recorded` names the policy whose log-probabilities the steps carry, which is then not asked; recorded ones include the end
token of an attempt's last step, which an asked policy's do not.
Shared nodes: a reward belongs to the node. Raises ValueError unless beta > 0.
Degenerate: two equal policies reward nothing, 0; a step that either policy cannot write, or that carries no recorded
log-probabilities where they are asked for, stays NaN, weight 0. Reads no outcome.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from stepcredit.core.log_ratios import asked, difference, logprobs
from stepcredit.core.protocols import Policy
from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Cost, Credit, Floats, Step, Tree
from stepcredit.credit._assign import assign

Recorded = Literal["none", "policy", "reference"]


@register("credit", paper="arXiv:2502.01456", kind="reward")
@each_tree
def log_ratio(
    tree: Tree, *, policy: Policy, reference: Policy, beta: float = 0.05, recorded: Recorded = "none",
    prompt_end: str = "\n", delimiter: str = "\n",
) -> Credit:  # fmt: skip
    """Reward every step with beta times its log-ratio, [N] in nats."""
    if recorded not in get_args(Recorded):
        raise ValueError(f"recorded is {recorded!r}; allowed: {', '.join(get_args(Recorded))}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    nodes = np.flatnonzero(tree.sampled_N).tolist()
    leaves = set(tree.leaves)
    questions = [
        asked(tree.problem, tree.solution(node)[:-1], tree.steps[node], is_last=node in leaves,
              prompt_end=prompt_end, delimiter=delimiter)
        for node in nodes
    ]  # fmt: skip
    found, cost = [], Cost()
    for name, one in (("policy", policy), ("reference", reference)):
        if recorded == name:
            found.append(np.array([_recorded(tree.steps[node]) for node in nodes]))
        else:
            given, spent = logprobs(one, questions)
            found.append(given)
            cost += spent
    reward_N: Floats = np.full(tree.num_nodes, np.nan)
    reward_N[nodes] = beta * difference(found[0], found[1])
    return assign(tree, reward_N, "reward", "log_ratio", cost=cost)


def _recorded(step: Step) -> float:
    return float("nan") if step.logprobs is None else float(np.sum(step.logprobs))
