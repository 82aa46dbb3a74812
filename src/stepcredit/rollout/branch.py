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

from stepcredit.core.protocols import Judge, Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Problem, Tree
from stepcredit.rollout._branching import continued
from stepcredit.rollout._choosing import Branching, Choose, branched
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._writing import Writing


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
    how = Branching(num_trees, num_nodes, num_rounds, num_leaves, root, choose, judge)
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens)
    return branched(problems, lambda trees, starts: continued(trees, starts, policy, rng, writing), rng, how)
