"""What restarts say of the first error of an attempt, by each method, and the labels that teach it to a judge.

    hard       e = first step none of whose restarts succeeds                                Math-Shepherd, hard
    soft       e = largest drop of the success rate, from that of the problem's attempts     Math-Shepherd, soft
    states     e = the step behind the last state from which a restart succeeded             OmegaPRM's search
    posterior  e = most likely first error given all restarts (`credit/change_point`)        adaptive

Labels end at the first error: 1 before it, 0 at it, none behind, as an annotator who stops there would leave them. The
labels of a posterior are the chain's: P(sound after | sound before), weighted by P(sound before). A right attempt is
right throughout, but for Math-Shepherd, whose restarts may all fail from a sound step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.restarts import attempts, restart_rewards
from stepcredit.core.tree import children
from stepcredit.core.types import Credit, Floats, Tree
from stepcredit.credit.monte_carlo import monte_carlo

LABELS = "labels"
Places = Mapping[int, int | None]  # by attempt: first wrong step, -1 for none, None where that is undecided


def cut(credit: Credit, num_nodes: int) -> Credit:
    """The credit of the first nodes: restarts stand behind the attempts they start from."""
    return replace(credit, values_N=credit.values_N[:num_nodes], weight_N=credit.weight_N[:num_nodes])


def sampled(tree: Tree, leaf: int) -> list[int]:
    """The steps of an attempt that the policy wrote."""
    return [node for node in tree.path(leaf) if tree.steps[node].sampled]


def hard(tree: Tree) -> Places:
    """The first step with a hard value of 0, by attempt."""
    value_N = monte_carlo(tree, soft=False).values_N
    return _by_attempt(tree, lambda nodes, right: _first_zero(value_N[nodes]))


def hard_where_wrong(tree: Tree) -> Places:
    """The same where the restarts of right attempts were saved: those are right throughout."""
    value_N = monte_carlo(tree, soft=False).values_N
    return _by_attempt(tree, lambda nodes, right: -1 if right else _first_zero(value_N[nodes]))


def soft(tree: Tree) -> Places:
    """The largest drop of the success rate in a wrong attempt; the earliest of equals."""
    value_N, start = monte_carlo(tree).values_N, success_rate(tree)

    def place(nodes: list[int], right: bool) -> int | None:
        drop_S = -np.diff(value_N[nodes], prepend=start)
        return -1 if right else None if np.isnan(drop_S).any() else int(np.argmax(drop_S))

    return _by_attempt(tree, place)


def states(tree: Tree) -> Places:
    """The step behind the last state known to be sound, where it is known to be broken."""
    label_N = state_labels(tree)

    def place(nodes: list[int], right: bool) -> int | None:
        zeros = np.flatnonzero(label_N[nodes] == 0)
        return -1 if right else int(zeros[0]) if zeros.size else None

    return _by_attempt(tree, place)


def posterior(tree: Tree, value_N: Floats) -> Places:
    """The step at which P(sound so far) falls most, by attempt; `value_N` as `credit/change_point` gives it."""

    def place(nodes: list[int], right: bool) -> int | None:
        value_S = value_N[nodes]
        return -1 if right else None if np.isnan(value_S).any() else int(np.argmax(-np.diff(value_S, prepend=1.0)))

    return _by_attempt(tree, place)


def success_rate(tree: Tree) -> float:
    """Share of right ones among the scored attempts a tree comes with; NaN where none is scored."""
    reward_L = tree.reward_N[attempts(tree)]
    known_L = reward_L[~np.isnan(reward_L)]
    return float(np.mean(known_L > 0.5)) if known_L.size else float("nan")


def state_labels(tree: Tree) -> Floats:
    """1 for states from which a restart succeeded, what lies before them, and right attempts; 0 for the first state
    behind such a one that no restart left alive, or that ended wrong; NaN elsewhere, [N].

    A rollout that nobody searched is no evidence of its own steps.
    """
    rewards, reward_N = restart_rewards(tree), tree.reward_N
    inner = [node for node, below in enumerate(children(tree)) if below and node]
    alive = [node for node in inner if any(reward > 0.5 for reward in rewards[node])]
    alive += [leaf for leaf in attempts(tree) if reward_N[leaf] > 0.5]
    dead = {node for node in inner if rewards[node] and not any(reward > 0.5 for reward in rewards[node])}
    dead |= {leaf for leaf in tree.leaves if reward_N[leaf] <= 0.5}
    label_N = np.full(tree.num_nodes, np.nan)
    for node in alive:
        label_N[list(tree.path(node))] = 1.0
    for node in dead:
        before = next((one for one in reversed(tree.path(node)[:-1]) if tree.steps[one].sampled), None)
        if np.isnan(label_N[node]) and (before is None or label_N[before] == 1):
            label_N[node] = 0.0
    label_N[~tree.sampled_N] = np.nan
    return label_N


def hard_labels(tree: Tree, places: Places) -> Credit:
    """1 before the first error of each attempt, 0 at it, none behind it, nor where it is undecided."""
    label_N = np.full(tree.num_nodes, np.nan)
    for leaf, place in places.items():
        nodes = sampled(tree, leaf)
        if place is not None:
            label_N[nodes[: len(nodes) if place < 0 else place]] = 1.0
        if place is not None and place >= 0:
            label_N[nodes[place]] = 0.0
    return _label(label_N, np.ones(tree.num_nodes))


def soft_labels(tree: Tree) -> Credit:
    """Success rates up to and including the first step from which none succeeds."""
    value_N = monte_carlo(tree).values_N
    label_N = np.full(tree.num_nodes, np.nan)
    for leaf in attempts(tree):
        nodes = sampled(tree, leaf)
        end = _first_zero(value_N[nodes])
        kept = nodes if end is None or end < 0 else nodes[: end + 1]
        label_N[kept] = value_N[kept]
    return _label(label_N, np.ones(tree.num_nodes))


def tree_labels(tree: Tree) -> Credit:
    """`state_labels` of attempts and searched rollouts alike; a state that many paths pass counts once."""
    num_below = np.zeros(tree.num_nodes)
    for leaf in tree.leaves:
        num_below[list(tree.path(leaf))] += 1
    return _label(state_labels(tree), 1 / np.maximum(num_below, 1))


def chain_labels(tree: Tree, value_N: Floats) -> Credit:
    """P(sound after | sound before) of each step of the attempts, weighted by P(sound before)."""
    label_N, weight_N = np.full(tree.num_nodes, np.nan), np.zeros(tree.num_nodes)
    for leaf in attempts(tree):
        nodes = sampled(tree, leaf)
        value_S = value_N[nodes]
        before_S = np.concatenate([[1.0], value_S[:-1]])
        known = np.isfinite(value_S) & (before_S > 1e-6)
        here = np.array(nodes)[known]
        label_N[here] = np.clip(value_S[known] / before_S[known], 0.0, 1.0)
        weight_N[here] = before_S[known]
    return _label(label_N, weight_N)


def _by_attempt(tree: Tree, place: Callable[[list[int], bool], int | None]) -> Places:
    reward_N = tree.reward_N
    return {leaf: None if np.isnan(reward_N[leaf]) else place(sampled(tree, leaf), bool(reward_N[leaf] > 0.5))
            for leaf in attempts(tree)}  # fmt: skip


def _first_zero(value_S: Floats) -> int | None:
    """-1 for none, None where an unknown value stands before it."""
    zeros = np.flatnonzero(value_S == 0)
    known = value_S[: zeros[0]] if zeros.size else value_S
    return None if np.isnan(known).any() else int(zeros[0]) if zeros.size else -1


def _label(label_N: Floats, weight_N: Floats) -> Credit:
    known_N = np.isfinite(label_N) & (weight_N > 0)
    return Credit(np.where(known_N, label_N, np.nan), "label", np.where(known_N, weight_N, 0.0), LABELS)


def scores(found: Sequence[int | None], truth: Sequence[int]) -> dict[str, float]:
    """How well first errors are placed: accuracy on wrong attempts, on sound ones, F1; undecided ones are misses."""
    from stepcredit.evaluate import processbench_f1

    hit = np.array([one is not None and one == due for one, due in zip(found, truth, strict=True)])
    wrong = np.array(truth) >= 0
    nan = float("nan")
    return {
        "label_error_accuracy": float(hit[wrong].mean()) if wrong.any() else nan,
        "label_sound_accuracy": float(hit[~wrong].mean()) if (~wrong).any() else nan,
        "label_f1": processbench_f1(found, truth),
    }
