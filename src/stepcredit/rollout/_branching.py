"""Trees continued from chosen nodes, and cut back to some of their leaves: what `rollout/branch` grows with.

A continuation is a path behind its node in one of the M trees of a Tree (`group_N`); nodes that were there keep their
numbers until leaves are pruned.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.types import Completion, Cost, Step, Tree
from stepcredit.rollout._paths import TRUNCATED, Start, extended, written
from stepcredit.rollout._spent import generated, spent
from stepcredit.rollout.chains import _steps


@dataclass(frozen=True)
class Writing:
    """Who writes, and how an attempt is laid out."""

    policy: Policy
    rng: Rng
    delimiter: str
    prompt_end: str
    stop: tuple[str, ...]
    max_new_tokens: int


def continued(trees: Sequence[Tree], starts: Sequence[Sequence[Start]], own: Writing) -> list[Tree]:
    """Each tree with a continuation from each of its starts, in their order.

    A node is asked for once, for as many continuations as it has starts, and all of one number in one call. Generated
    tokens are on the tree as measured; forwarded ones and the time by how many starts it had.
    """
    total = sum(map(len, starts))
    if not total:
        return list(trees)
    began, before = time.perf_counter(), spent(own.policy).forwarded_tokens
    answers = _answers(trees, starts, own)
    seconds, forwarded = time.perf_counter() - began, spent(own.policy).forwarded_tokens - before
    ends, done, grown = getattr(own.policy, "token_ends", None), 0, []
    for index, (tree, here) in enumerate(zip(trees, starts, strict=True)):
        share = forwarded * (done + len(here)) // total - forwarded * done // total  # the shares add up
        done += len(here)
        found = [(start, answers[index, start[0]].pop(0)) for start in here]
        cost = Cost(sum(generated(one) for _, one in found), share, seconds=seconds * len(here) / total)
        paths = [
            (start, _pieces(one, own.delimiter, ends), TRUNCATED if one.finish == "length" else None)
            for start, one in found
        ]
        grown.append(extended(tree, paths, cost))
    return grown


def pruned(tree: Tree, num_leaves: int, rng: Rng) -> Tree:
    """At most `num_leaves` leaves of each of the M trees, drawn at random, and the paths to them; the cost stays."""
    assert tree.group_N is not None
    keep_N = np.zeros(tree.num_nodes, dtype=np.bool_)
    keep_N[0] = True
    leaves = np.array(tree.leaves, dtype=np.int64)
    for group in np.unique(tree.group_N[leaves]):
        here = leaves[tree.group_N[leaves] == group]
        chosen = here if len(here) <= num_leaves else rng.choice(here, size=num_leaves, replace=False)
        for leaf in chosen.tolist():
            keep_N[list(tree.path(leaf))] = True
    if keep_N.all():
        return tree
    kept = np.flatnonzero(keep_N)
    new_N = np.cumsum(keep_N) - 1
    return replace(tree, steps=tuple(tree.steps[n] for n in kept), outcomes=tuple(tree.outcomes[n] for n in kept),
                   parent_N=np.array([-1, *new_N[tree.parent_N[kept[1:]]]]), group_N=tree.group_N[kept])  # fmt: skip


def _answers(
    trees: Sequence[Tree], starts: Sequence[Sequence[Start]], own: Writing
) -> dict[tuple[int, int], list[Completion]]:
    """The completions of each chosen node of each tree."""
    wanted = [Counter(node for node, _ in here) for here in starts]
    found: dict[tuple[int, int], list[Completion]] = {}
    for num in sorted({num for here in wanted for num in here.values()}):
        asked = [(index, node) for index, here in enumerate(wanted) for node in sorted(here) if here[node] == num]
        prefixes = [
            written(trees[index].problem, trees[index].solution(node), own.prompt_end, own.delimiter)
            for index, node in asked
        ]
        groups = own.policy.sample(prefixes, num, own.rng, stop=own.stop, max_new_tokens=own.max_new_tokens)
        found.update((key, list(group)) for key, group in zip(asked, groups, strict=True))
    return found


def _pieces(one: Completion, delimiter: str, ends: Any) -> list[Step]:
    """The completion's steps; log-probabilities without token ids are taken as one a step where there are as many."""
    steps = _steps(one, delimiter, ends)
    if one.token_ids is None and one.logprobs is not None and len(one.logprobs) == len(steps):
        return [replace(step, logprobs=(logprob,)) for step, logprob in zip(steps, one.logprobs, strict=True)]
    return steps
