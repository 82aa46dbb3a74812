"""Whether a step keeps the chance of success that stood before it, by a rule over successive values.

    Q_i   value after step i,   Q_0 before the first,   m(Q) = 1 - (1 - Q)^num   the best of `num` attempts
    absolute     Q_i > t                              Abs-Q, t = 0
    ratio        Q_i / Q_(i-1) > t                    Rel-Ratio, t = .8 (1.5B; .7 for 7B)
    effective    Q_i + alpha (m_i - m_(i-1)) > t      Rel-Effective, t = 0, alpha = .4 (1.5B; .8 for 7B), num = 4
    progress     Q_i / Q_(i-1) >= t                   RPE, t = .8
    difference   Q_i - Q_(i-1) >= t                   its other form, t = -.3 (of -.1, -.3, -.5 the best by vote)

The first three: StepWiser, arXiv:2508.19229; the last two: GenPRM, arXiv:2504.00891. `values` is any value
credit, such as `monte_carlo`. "Negative where Q + alpha A = 0" is read as not above 0: nothing would be negative else.
x / 0 is infinite for x > 0, so right. 0 / 0, which only GenPRM decides (0), is `both_zero`: wrong or unknown.
First step: Q_0 is the success rate of the tree's `attempts` from the prompt (GenPRM), the `given` start, or none (unlabelled).
After an error: each step by its `own` rule (StepWiser names none); 0 after the first value of 0, `dead` (GenPRM); 0, `wrong`,
or unlabelled, `none`, after the first label 0. `paper` takes the rule's own. Bounds are met within 1e-9: .24 / .3 is .8.
Absolute labels get worse with more rollouts once wrong prefixes recover: `recipes/label_rules`.
Raises ValueError for values that are not one value Credit of the tree's size, or knobs outside their range.
Degenerate: a step without a value, or behind a sampled step without one, stays NaN, weight 0 (absolute needs its own alone);
so do restarts, which are evidence, not samples.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.restarts import attempts
from stepcredit.core.types import Bools, Credit, Floats, Tree
from stepcredit.credit._assign import assign, unit_reward_N

Rule = Literal["absolute", "ratio", "effective", "progress", "difference"]
First = Literal["attempts", "given", "none"]
BothZero = Literal["wrong", "unknown"]
After = Literal["paper", "own", "dead", "wrong", "none"]

THRESHOLD = {"absolute": 0.0, "ratio": 0.8, "effective": 0.0, "progress": 0.8, "difference": -0.3}
LOWEST = {"absolute": 0.0, "ratio": 0.0, "effective": 0.0, "progress": 0.0, "difference": -1.0}
TIE = 1e-9


def sound(before_n: Floats, value_n: Floats, *, rule: Rule = "ratio", threshold: float | None = None, alpha: float = 0.4,
          num: int = 4, both_zero: BothZero = "wrong") -> Floats:  # fmt: skip
    """The rule itself on values before and after steps, [n] each: 1 sound, 0 wrong, NaN unknown.

    >>> sound(np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.25, 0.0]))
    array([1., 0., 0.])
    """
    for name, given, allowed in (("rule", rule, Rule), ("both_zero", both_zero, BothZero)):
        _one_of(name, given, allowed)
    at = THRESHOLD[rule] if threshold is None else threshold
    if not LOWEST[rule] <= at < np.inf or not alpha >= 0 or num < 1:
        raise ValueError(
            f"threshold {at}, alpha {alpha}, num {num}; allowed for {rule}: {LOWEST[rule]} or more, 0 or more, 1 or more"
        )
    if rule == "absolute":
        return np.where(np.isnan(value_n), np.nan, (value_n > at + TIE).astype(np.float64))
    if rule in ("ratio", "progress"):
        with np.errstate(divide="ignore", invalid="ignore"):
            quantity_n = value_n / before_n
        if both_zero == "wrong":
            quantity_n = np.where((value_n == 0) & (before_n == 0), -np.inf, quantity_n)
    elif rule == "effective":
        quantity_n = value_n + alpha * ((1 - before_n) ** num - (1 - value_n) ** num)
    else:
        quantity_n = value_n - before_n
    met_n = quantity_n >= at - TIE if rule in ("progress", "difference") else quantity_n > at + TIE
    return np.where(np.isnan(quantity_n), np.nan, met_n.astype(np.float64))


@register("credit", paper="arXiv:2508.19229", kind="label",
          exempt={"unscored_is_not_zero": "labels come from the values given; outcomes only give the prompt's own success "
                                          "rate, in which unscored attempts take no part"})  # fmt: skip
@each_tree
def relative_progress(
    tree: Tree, *, values: Credit, rule: Rule = "ratio", threshold: float | None = None, alpha: float = 0.4, num: int = 4,
    first: First = "attempts", start: float = 1.0, both_zero: BothZero = "wrong", after: After = "paper",
) -> Credit:  # fmt: skip
    """Label steps by what they do to `values`, [N] in {0, 1}."""
    if values.kind != "value" or len(values.values_N) != tree.num_nodes:
        raise ValueError(
            f"values of problem {tree.problem.id!r}: expected a value [{tree.num_nodes}], "
            f"got a {values.kind} [{len(values.values_N)}]"
        )
    _one_of("first", first, First)
    _one_of("after", after, After)
    if not 0 <= start <= 1:
        raise ValueError(f"start is a value in [0, 1]; got {start}")
    if after == "paper":
        after = "dead" if rule in ("progress", "difference") else "own"
    sampled_N = tree.sampled_N
    value_N = np.where(sampled_N, values.values_N, np.nan)
    state_N, before_N = value_N.copy(), np.full(tree.num_nodes, np.nan)  # tool results hand on what stood before
    state_N[0] = {"attempts": prompt_rate(tree) if first == "attempts" else 0.0, "given": start, "none": np.nan}[first]
    for node in range(1, tree.num_nodes):
        before_N[node] = state_N[tree.parent_N[node]]
        if not sampled_N[node]:
            state_N[node] = before_N[node]
    label_N = sound(before_N, value_N, rule=rule, threshold=threshold, alpha=alpha, num=num, both_zero=both_zero)
    if after != "own":
        ends_N = value_N == 0 if after == "dead" else label_N == 0
        behind_N = np.zeros(tree.num_nodes, dtype=np.bool_)
        for node in range(1, tree.num_nodes):
            parent = tree.parent_N[node]
            behind_N[node] = behind_N[parent] or ends_N[parent]
        label_N[behind_N] = np.nan if after == "none" else 0.0
    label_N[_restarted_N(tree)] = np.nan
    return assign(tree, label_N, "label", "relative_progress")


def _restarted_N(tree: Tree) -> Bools:
    """True on restarts, [N]: the nodes whose group is not that of their attempt's first step, and all behind them."""
    restarted_N = np.zeros(tree.num_nodes, dtype=np.bool_)
    for node in range(1, tree.num_nodes if tree.group_N is not None else 0):
        parent = int(tree.parent_N[node])
        assert tree.group_N is not None
        restarted_N[node] = bool(parent) and (restarted_N[parent] or tree.group_N[node] != tree.group_N[parent])
    return restarted_N


def prompt_rate(tree: Tree) -> float:
    """Mean reward of the scored attempts from the prompt; NaN without one. Those that share a first step count once.

    A leaf whose path opens another group ends a restart, and no attempt.
    """
    reward_N = unit_reward_N(tree, "relative_progress")
    ends: dict[int, list[float]] = {}
    for leaf in attempts(tree):
        if not np.isnan(reward_N[leaf]):
            ends.setdefault(tree.path(leaf)[0], []).append(float(reward_N[leaf]))
    return float(np.mean(np.sort([np.mean(np.sort(own)) for own in ends.values()]))) if ends else float("nan")


def _one_of(name: str, given: object, allowed: Any) -> None:
    if given not in get_args(allowed):
        raise ValueError(f"{name} is {given!r}; allowed: {', '.join(get_args(allowed))}")
