"""Step credit read off a judge of the hidden ok / broken chain.

    filtered:     a_j = P(ok after j | steps so far)                 a value: uses no outcome
    posterior:    P(ok after j | all steps, outcome)                 a label: forward-backward, uses the outcome
    first_error:  1 - P(the state first breaks at j | all steps, outcome)           a label, low where the blame is

Chain and filtered score: RSP, arXiv:2609.39220, section 3; fix = 0 is CRM, arXiv:2509.26578; `retry` is noisy-OR
multiple-instance learning. Posteriors as step credit and the verifier's noise (fp, fn) are ours; see `core/chain`.
The judge's channels are the rates: `keep` for derivation (a_0 = 1), `fix` for retry (a_0 = 0, keep = 1), both for free
(a_0 = 1). For derivation `recovery` is a constant fix; None takes the judge's own, and 0 where it has none.
A posterior is hindsight: credit and labels only, never a score at test time.
Shared nodes: the mean over the attempts through the node that gave it a value.
Raises ValueError for a channel the link needs and the judge lacks, and for first_error under retry (it starts broken).
Degenerate: an attempt the judge abstains on, or for the two labels one without scored outcome, stays NaN, weight 0.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from stepcredit.core import chain
from stepcredit.core.protocols import Judge
from stepcredit.core.readout import Link
from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Cost, Credit, Floats, Judgment, Tree
from stepcredit.credit._assign import assign, is_right, unit_reward_N

Read = Literal["filtered", "posterior", "first_error"]


@register("credit", paper="arXiv:2609.39220", kind="value", kinds=("value", "label"))
@each_tree
def latent_chain(
    tree: Tree,
    *,
    judge: Judge,
    link: Link = "derivation",
    read: Read = "filtered",
    recovery: float | None = None,
    fp: float = 0.0,
    fn: float = 0.0,
) -> Credit:
    """Read the chain's filtered state, posterior or blame on every sampled step, [N] in [0, 1]."""
    for name, given, allowed in (("link", link, Link), ("read", read, Read)):
        if given not in get_args(allowed):
            raise ValueError(f"{name} is {given!r}; allowed: {', '.join(get_args(allowed))}")
    if read == "first_error" and link == "retry":
        raise ValueError("read='first_error' has no meaning under link='retry': the chain starts broken")
    chain.check_rates(fp, fn)
    right_N = is_right(unit_reward_N(tree, "latent_chain"))
    judgments = judge([(tree.problem, tree.solution(leaf)) for leaf in tree.leaves])
    sum_N, num_N = np.zeros(tree.num_nodes), np.zeros(tree.num_nodes)
    for leaf, judgment in zip(tree.leaves, judgments, strict=True):
        steps = [node for node in tree.path(leaf) if tree.steps[node].sampled]
        if not steps or judgment.status != "scored" or (read != "filtered" and np.isnan(right_N[leaf])):
            continue
        keep_S, fix_S = rates(judgment, link, recovery)
        if len(keep_S) != len(steps):
            raise ValueError(f"problem {tree.problem.id!r}: {len(steps)} steps, the judge scored {len(keep_S)}")
        start = 0.0 if link == "retry" else 1.0
        if read == "filtered":
            value_S = chain.filtered(keep_S, fix_S, start)
        else:
            smoothed = chain.posterior(keep_S, fix_S, right_N[leaf] == 1, start=start, fp=fp, fn=fn)
            value_S = smoothed.ok_S if read == "posterior" else 1.0 - smoothed.first_error_S
        known = ~np.isnan(value_S)
        sum_N[np.array(steps)[known]] += np.clip(value_S[known], 0.0, 1.0)
        num_N[np.array(steps)[known]] += 1
    mean_N = np.where(num_N > 0, np.minimum(sum_N / np.maximum(num_N, 1), 1.0), np.nan)
    cost = sum((judgment.cost for judgment in judgments), Cost())
    return assign(tree, mean_N, "value" if read == "filtered" else "label", "latent_chain", cost=cost)


def rates(judgment: Judgment, link: Link, recovery: float | None = None) -> tuple[Floats, Floats]:
    """keep_S and fix_S of one attempt from the judge's channels; ValueError where a needed one is missing."""
    channels = judgment.channels
    needed = {"derivation": ("keep",), "retry": ("fix",), "free": ("keep", "fix")}[link]
    missing = [name for name in needed if name not in channels]
    if missing:
        raise ValueError(
            f"link {link!r} needs channel {', '.join(missing)}; the judge has {', '.join(channels) or 'none'}"
        )
    if link == "retry":
        return np.ones_like(channels["fix"]), channels["fix"]
    if link == "free" or (recovery is None and "fix" in channels):
        return channels["keep"], channels["fix"]
    return channels["keep"], np.full_like(channels["keep"], recovery or 0.0)
