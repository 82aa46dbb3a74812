"""Rollouts where a binary search for the first error asks for them, from a pool of rollouts worth searching.

    MC(s) = share of successes among the rollouts of state s;       sound: MC > 0,   broken: MC = 0
    select   the wrong rollout (s, r) of the pool with the largest Q + U, and take it out of the pool
             Q(s, r) = alpha^(1 - MC(s)) * beta^(len(r) / L),   U(s) = c * sqrt(sum_s' N(s')) / (1 + N(s)),   N(s) += 1
    search   k rollouts from the middle step of r: sound, look behind it; broken, before it; until the first error is found
    maintain the wrong rollouts of every state met with 0 < MC < 1 enter the pool, each of them once

OmegaPRM, arXiv:2406.06592, section 3.3. The prompt is a state whose rollouts are the attempts the tree comes with. Rollouts
are restarts in groups of their own, as `credit/monte_carlo` reads them; `visits_N` is N(s). len(r) counts tokens, steps where
a policy gives none.
Departs: `leaves` names the attempts that begin in the pool; a released implementation puts the selected rollout back and
leaves N(s) as it was, and so selects one for ever: here a rollout is searched at most once, and an empty pool ends it.
A rollout whose first error its tree already shows has nothing to search and is not selected.
A tree that was grown before is searched on: its visits count among `num_searches`.
Raises ValueError for knobs outside their range, and for a leaf that ends no wrong attempt.
Degenerate: a problem whose attempts are all wrong, all right or unscored has nothing to select and comes back as it was; a
state whose rollouts are all unscored ends its search undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Policy, Rng, Verifier
from stepcredit.core.registry import register
from stepcredit.core.restarts import attempts, restart_rewards
from stepcredit.core.types import Tree
from stepcredit.rollout._grow import Growth, each_leaves, grow, wrong_attempts
from stepcredit.rollout._length import step_tokens
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._writing import Writing

Rollout = tuple[int, int]  # the state it starts from, the leaf it ends in


@register("rollout", paper="arXiv:2406.06592")
@resumable()
def bisect(trees: Sequence[Tree], *, policy: Policy, verify: Verifier, rng: Rng, num: int = 8, num_searches: int = 100,
           alpha: float = 0.5, beta: float = 0.9, length_scale: float = 500.0, exploration: float = 0.125,
           leaves: Sequence[Sequence[int]] | None = None, delimiter: str = "\n", prompt_end: str = "\n",
           stop: Sequence[str] = (), max_new_tokens: int = 256, folder: str | None = None) -> list[Tree]:  # fmt: skip
    """Each tree with the restarts of at most `num_searches` binary searches, `num` (k) a state; [trees].

    With a `folder`, restarts and outcomes are kept there as they come; the same call goes on from them after a kill.
    """
    if num < 1 or num_searches < 0 or not (0 < alpha <= 1 and 0 < beta <= 1 and length_scale > 0 and exploration >= 0):
        raise ValueError(f"num {num}, num_searches {num_searches}, alpha {alpha}, beta {beta}, length_scale {length_scale}, "
                         f"exploration {exploration}; allowed: 1 or more, 0 or more, (0, 1] twice, above 0, 0 or more")  # fmt: skip
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens)
    knobs = (alpha, beta, length_scale, exploration)
    growths = [
        _searches(tree, wrong_attempts(tree, attempts(tree), own), num_searches, knobs)
        for tree, own in zip(trees, each_leaves(trees, leaves), strict=True)
    ]
    return grow(growths, policy=policy, verify=verify, rng=rng, num=num, writing=writing)


def _searches(tree: Tree, wrong: list[int], num_searches: int, knobs: tuple[float, ...]) -> Growth:
    """Select and search until the pool is empty or the searches are used up."""
    if tree.visits_N is None:
        tree = replace(tree, visits_N=np.zeros(tree.num_nodes, dtype=np.int64))
    closed: set[Rollout] = set()
    assert tree.visits_N is not None
    for _ in range(num_searches - int(tree.visits_N.sum())):
        values, asked = _values(tree), _asked(tree)
        pool = [one for one in _pool(tree, values, wrong) if one not in closed]
        closed |= {one for one in pool if _next(tree, values, one) in asked | {None}}
        pool = [one for one in pool if one not in closed]
        if not pool:
            break
        chosen = pool[int(np.argmax(_scores(tree, values, pool, knobs)))]
        closed.add(chosen)
        assert tree.visits_N is not None
        visits_N = tree.visits_N.copy()
        visits_N[chosen[0]] += 1
        tree = yield from _search(replace(tree, visits_N=visits_N), chosen)
    return tree


def _search(tree: Tree, rollout: Rollout) -> Growth:
    """Ask until the first error is found; a state whose restarts are all unscored ends it undecided."""
    while True:
        node = _next(tree, _values(tree), rollout)
        if node is None or node in _asked(tree):
            return tree
        tree = yield tree, [node]


def _asked(tree: Tree) -> set[int]:
    """States with restarts, scored or not."""
    if tree.group_N is None:
        return set()
    return set(tree.parent_N[1:][tree.group_N[1:] != tree.group_N[tree.parent_N[1:]]].tolist()) - {0}


def _values(tree: Tree) -> list[float]:
    """MC of every state, NaN where none is known; the prompt's rollouts are the attempts."""
    rewards = restart_rewards(tree)
    reward_N = tree.reward_N
    rewards[0] = [float(reward_N[leaf]) for leaf in attempts(tree) if not np.isnan(reward_N[leaf])]
    return [float(np.mean([reward > 0.5 for reward in found])) if found else np.nan for found in rewards]


def _pool(tree: Tree, value: Sequence[float], wrong: list[int]) -> list[Rollout]:
    """Wrong rollouts of states with 0 < MC < 1, in the order of their leaves; of the attempts, those asked for."""
    reward_N, group_N, found = tree.reward_N, tree.group_N, []
    asked = set(wrong)
    own = set(attempts(tree))
    for leaf in tree.leaves:
        if not reward_N[leaf] <= 0.5 or (leaf in own and leaf not in asked):
            continue
        state = 0
        if leaf not in own:
            assert group_N is not None
            state = next(node for node in reversed(tree.path(leaf)) if group_N[node] != group_N[leaf])
        if 0 < value[state] < 1:
            found.append((state, leaf))
    return found


def _scores(tree: Tree, value: Sequence[float], pool: list[Rollout], knobs: tuple[float, ...]) -> list[float]:
    """Q + U of every rollout; ties go to the earliest leaf."""
    alpha, beta, length_scale, exploration = knobs
    visits_N = tree.visits_N
    assert visits_N is not None
    found = []
    for state, leaf in pool:
        length = step_tokens(tree.solution(leaf)[len(tree.path(state)) :])
        worth = alpha ** (1 - value[state]) * beta ** (length / length_scale)
        found.append(worth + exploration * float(np.sqrt(visits_N.sum())) / (1 + int(visits_N[state])))
    return found


def _states(tree: Tree, rollout: Rollout) -> list[int]:
    """The states of a rollout in question: its leaf is wrong, its beginning sound.

    A step that the policy did not write is no state: its tool call stands for it.
    """
    state, leaf = rollout
    path = tree.path(leaf)
    return [node for node in path[path.index(state) + 1 if state else 0 :] if tree.steps[node].sampled and node != leaf]


def _next(tree: Tree, value: Sequence[float], rollout: Rollout) -> int | None:
    """The state the search of a rollout asks for next; None where it has found the first error."""
    states = _states(tree, rollout)
    low, high = 0, len(states)
    while low < high:
        middle = (low + high) // 2
        if np.isnan(value[states[middle]]):
            return states[middle]
        low, high = (middle + 1, high) if value[states[middle]] > 0 else (low, middle)
    return None
