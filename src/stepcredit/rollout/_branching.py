"""Trees continued from chosen nodes, and cut back to some of their leaves: what rollouts that branch grow with.

A continuation is a path behind its node in one of the M trees of a Tree (`group_N`); nodes that were there keep their
numbers until leaves are pruned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.types import Completion, Cost, Step, Tree
from stepcredit.rollout._folding import Standing
from stepcredit.rollout._paths import Start, cut, extended
from stepcredit.rollout._writing import Writing, ask

Asked = tuple[int, int]  # a tree, a node of it


def continued(
    trees: Sequence[Tree], starts: Sequence[Sequence[Start]], policy: Policy, rng: Rng, writing: Writing
) -> list[Tree]:
    """Each tree with a continuation from each of its starts, in their order.

    A node is asked for once, for as many continuations as it has starts, and all of one number in one call. Generated
    tokens are on the tree as measured; forwarded ones and the time evenly among the nodes of a call.
    """
    answers, costs = _answers(trees, starts, policy, rng, writing)
    grown = []
    for index, (tree, here) in enumerate(zip(trees, starts, strict=True)):
        found = [(start, answers[index, start[0]].pop(0)) for start in here]
        paths = [
            (start, _behind(tree, start[0], _pieces(one, writing, policy), policy, writing), cut(one))
            for start, one in found
        ]
        cost = sum((costs[index, node] for node in sorted({node for node, _ in here})), Cost())
        grown.append(extended(tree, paths, cost) if paths else tree)
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
    trees: Sequence[Tree], starts: Sequence[Sequence[Start]], policy: Policy, rng: Rng, writing: Writing
) -> tuple[dict[Asked, list[Completion]], dict[Asked, Cost]]:
    """The completions of each chosen node of each tree, and what they cost."""
    wanted = [Counter(node for node, _ in here) for here in starts]
    found: dict[Asked, list[Completion]] = {}
    costs: dict[Asked, Cost] = {}
    for num in sorted({num for here in wanted for num in here.values()}):
        asked = [(index, node) for index, here in enumerate(wanted) for node in sorted(here) if here[node] == num]
        prefixes = [writing.prefix(trees[index].problem, trees[index].solution(node)) for index, node in asked]
        groups, spent = ask(policy, prefixes, num, rng, writing)
        found.update(zip(asked, groups, strict=True))
        costs.update(zip(asked, spent, strict=True))
    return found, costs


def _behind(tree: Tree, node: int, steps: list[Step], policy: Policy, writing: Writing) -> list[Step]:
    """The steps; the first says what it was sampled from where the tokens of its path are not those of that text.

    So it is where a token reaches over a step's end, as byte-pair tokens do: the policy was given the text up to the border.
    """
    tokenizer = getattr(policy, "tokenizer", None)
    given = tree.solution(node)
    if tokenizer is None or not steps or all(step.token_ids is None for step in given):
        return steps
    text = writing.prefix(tree.problem, given)
    first = next(place for place, step in enumerate(given) if step.token_ids is not None)
    here = Standing.at(writing.prefix(tree.problem, given[:first]), tokenizer).behind(given[first:], writing, tokenizer)
    if here == Standing.at(text, tokenizer):
        return steps
    return [replace(steps[0], context=text), *steps[1:]]


def _pieces(one: Completion, writing: Writing, policy: Policy) -> list[Step]:
    """The completion's steps; log-probabilities without token ids are taken as one a step where there are as many."""
    steps = writing.steps(one, policy)
    if one.token_ids is None and one.logprobs is not None and len(one.logprobs) == len(steps):
        return [replace(step, logprobs=(logprob,)) for step, logprob in zip(steps, one.logprobs, strict=True)]
    return steps
