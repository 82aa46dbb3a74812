"""Trees that branch: whole attempts first, then continuations from nodes on them, so that attempts share their prefixes.

    M chains from the prompt, each the first of a tree;   L times: in every tree choose N nodes, continue each to its end
    leaves of a tree: 1 + L N, of which K, drawn at random, are kept

Tree-GRPO, arXiv:2509.21240, section 3. One Tree a problem: the prompt is stored once, `group_N` says which of the M trees
a node belongs to, as `credit/tree_advantage` reads it; a prefix is stored once and asked for once a round, however often
it was chosen. Which nodes, all among those that end no attempt:
    random    uniformly, with replacement (the released code), the prompt among them (`root`)
    entropy   the N whose next steps surprised the policy most: mean of -log p a token, averaged over the children
    judge     the N whose judgment so far is nearest 1/2, averaged over the attempts through a node; never the prompt
Ties go to the earlier node; where fewer than N can be chosen, they are chosen again in turn.
Budget, with B tokens an attempt of D equal steps: a random continuation costs B / 2 without the root and B (D + 1) / 2D with
it, so M B + L N M B / 2 is the paper's count only with `root=False`. The tree's cost is what was measured.
Choosing uniformly among nodes continues a short attempt more often at each of its nodes: where length tells the outcome, means
below a node are biased. Nothing is verified here; leaves are drawn without regard to outcomes.
Raises ValueError for counts below 1, more leaves than 1 + L N, an empty delimiter, entropy without log-probabilities,
judge without a judge.
Degenerate: a tree with nothing to choose (one-step attempts without the root, an abstaining judge) is not continued and has
fewer leaves; an attempt cut at `max_new_tokens` has the outcome "truncated".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from stepcredit.core.protocols import Judge, Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.tree import prompt_step
from stepcredit.core.types import Problem, Tree
from stepcredit.rollout._branching import continued, pruned
from stepcredit.rollout._paths import Start
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._spent import judging
from stepcredit.rollout._writing import Writing

Choose = Literal["random", "entropy", "judge"]


@register("rollout", paper="arXiv:2509.21240")
@resumable()
def branch(problems: Sequence[Problem], *, policy: Policy, rng: Rng, num_trees: int = 2, num_nodes: int = 2,
           num_rounds: int = 1, num_leaves: int | None = None, root: bool = True, choose: Choose = "random",
           judge: Judge | None = None, delimiter: str = "\n", prompt_end: str = "\n", stop: Sequence[str] = (),
           max_new_tokens: int = 256, folder: str | None = None) -> list[Tree]:  # fmt: skip
    """One Tree a problem, of `num_trees` trees that branch at `num_nodes` nodes in each of `num_rounds` rounds.

    `num_leaves` leaves of each tree are kept, all of them if None; what was pruned stays on the cost. M, N and L are the
    paper's for a budget of four attempts. With a `folder`, what is written and judged is kept there as it comes; the same
    call goes on from it after a kill.
    """
    if choose not in get_args(Choose) or (choose == "judge") != (judge is not None):
        raise ValueError(f"choose is {choose!r}, judge {'given' if judge else 'not given'}; allowed: "
                         f"{', '.join(get_args(Choose))}, a judge with judge alone")  # fmt: skip
    most = 1 + num_rounds * num_nodes
    kept = most if num_leaves is None else num_leaves
    if num_trees < 1 or num_nodes < 1 or num_rounds < 0 or not 1 <= kept <= most:
        raise ValueError(f"{num_trees} trees, {num_nodes} nodes, {num_rounds} rounds, {kept} leaves; allowed: 1 or more, "
                         f"1 or more, 0 or more, 1 to {most}")  # fmt: skip
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens)
    trees = [
        Tree(problem, (prompt_step(problem),), np.array([-1]), (None,), group_N=np.array([0])) for problem in problems
    ]
    trees = continued(trees, [[(0, group) for group in range(num_trees)] for _ in trees], policy, rng, writing)
    for _ in range(num_rounds):
        scores: Sequence[dict[Start, float] | None]
        if judge is not None:
            trees, scores = _judged(trees, judge)
        else:
            scores = [_surprise(tree) if choose == "entropy" else None for tree in trees]
        starts = [
            [(node, group) for group in range(num_trees) for node in _chosen(tree, group, score, num_nodes, root, rng)]
            for tree, score in zip(trees, scores, strict=True)
        ]
        trees = continued(trees, starts, policy, rng, writing)
    return [pruned(tree, kept, rng) for tree in trees]


def _candidates(tree: Tree, group: int) -> list[int]:
    """The prompt and the nodes of one of the trees that end no attempt."""
    assert tree.group_N is not None
    leaves = set(tree.leaves)
    return [0, *(node for node in range(1, tree.num_nodes) if tree.group_N[node] == group and node not in leaves)]


def _chosen(tree: Tree, group: int, score: dict[Start, float] | None, num: int, root: bool, rng: Rng) -> list[int]:
    """The nodes to continue in one of the trees; `score`: the highest first, unscored ones never."""
    nodes = [node for node in _candidates(tree, group) if node or root]
    if score is None:
        return [nodes[index] for index in rng.integers(len(nodes), size=num)] if nodes else []
    known = [node for node in nodes if (node, group) in score]
    best = sorted(known, key=lambda node: (-score[node, group], node))
    return [best[place % len(best)] for place in range(num)] if best else []


def _surprise(tree: Tree) -> dict[Start, float]:
    """Mean over the children of a node in each tree of their mean -log p a token."""
    assert tree.group_N is not None
    found: dict[Start, list[float]] = {}
    for node in range(1, tree.num_nodes):
        logprobs = tree.steps[node].logprobs
        if logprobs is None:
            raise ValueError(f"problem {tree.problem.id!r}: choosing by entropy needs log-probabilities, "
                             "and this policy gives none with its steps")  # fmt: skip
        if logprobs:
            found.setdefault((int(tree.parent_N[node]), int(tree.group_N[node])), []).append(-float(np.mean(logprobs)))
    return {start: float(np.mean(own)) for start, own in found.items()}


def _judged(trees: Sequence[Tree], judge: Judge) -> tuple[list[Tree], list[dict[Start, float]]]:
    """The trees with what judging their attempts cost, and minus the distance of each node's judgment from 1/2."""
    judgments = iter(judge([(tree.problem, tree.solution(leaf)) for tree in trees for leaf in tree.leaves]))
    grown, scores = [], []
    for tree in trees:
        assert tree.group_N is not None
        found: dict[Start, list[float]] = {}
        cost = tree.cost
        for leaf in tree.leaves:
            judgment = next(judgments)
            cost += judging(judgment)
            nodes = [node for node in tree.path(leaf) if tree.steps[node].sampled]
            if judgment.status == "scored":
                for node, said in zip(nodes, judgment.step_scores_S, strict=True):
                    if not np.isnan(said):
                        found.setdefault((node, int(tree.group_N[leaf])), []).append(float(said))
        grown.append(replace(tree, cost=cost))
        scores.append({start: -abs(float(np.mean(said)) - 0.5) for start, said in found.items()})
    return grown, scores
