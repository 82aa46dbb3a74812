"""Rollouts where they change what is believed of the first error, until that is sure enough to say.

    after each rollout   P(e | counts), e = first wrong step of a wrong attempt          core/change_point
    next                 the step j with the largest   I(outcome of a rollout behind j; e) / (its tokens + overhead)
    stop                 max_e P(e | counts) >= 1 - error_rate,   or after max_rollouts

Ours. The tests inside are Wald's (1945), the mixture over places Baum and Veeravalli's (1994): over attempts whose first
errors fall as the prior says, at most `error_rate` of those that stop are placed wrongly; for a single place e with prior
p_e, at most error_rate / (1 - error_rate) * (1 - p_e) / p_e.
What must hold: a sound prefix succeeds at least as often as the prompt (profile "flat"; "chain" asks for equal steps and is
cheaper where chances recover), a broken one at most as often as `recovery` a step and `luck` allow. With both 0, one
success proves its prefix sound and no further rollout is spent there: only "can it still succeed" matters.
The prompt's chance r is learned from the problem's attempts and from the rollouts, and is uniform in [0, 1] before them: the
stated rate is over problems whose r falls so. Where most problems are far harder than that (r near 0, few attempts), more
than the stated share is wrong: give more attempts. A `judge`, asked once about all trees, on their costs, gives the prior,
so that the search begins at the step it suspects; `doubt` is the share of the prior it does not get.
Departs from nothing published. Counts are read from the tree, so one that was grown before is gone on with. Rollouts are
restarts in groups of their own, as `credit/monte_carlo` reads them.
A rollout from behind a tool call has read the call's result (`rollout/restart`).
Raises ValueError for knobs outside their range, and for a leaf that ends no wrong attempt.
Degenerate: an attempt of one step needs no rollout, one without a step that the policy wrote is left alone; an unscored
rollout is paid, is one of `max_rollouts` and says nothing; where `num` more would be over `max_rollouts` (of an attempt,
those of an earlier run among them) it stays undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.change_point import Beliefs, Profile, first_error_prior, posterior, posterior_and_gains
from stepcredit.core.protocols import Judge, Policy, Rng, Verifier
from stepcredit.core.registry import register
from stepcredit.core.restarts import attempts, restart_rewards
from stepcredit.core.types import Cost, Floats, Judgment, Tree
from stepcredit.rollout._grow import Growth, each_leaves, grow, wrong_attempts
from stepcredit.rollout._length import step_tokens
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._spent import judging
from stepcredit.rollout._writing import Writing


@register("rollout", paper="ours")
@resumable()
def adaptive(trees: Sequence[Tree], *, policy: Policy, verify: Verifier, rng: Rng, error_rate: float = 0.05,
             recovery: float = 0.0, luck: float = 0.0, profile: Profile = "flat", judge: Judge | None = None,
             doubt: float = 0.1, overhead: float = 2.0, num: int = 1, max_rollouts: int = 128,
             leaves: Sequence[Sequence[int]] | None = None, delimiter: str = "\n", prompt_end: str = "\n",
             stop: Sequence[str] = (), max_new_tokens: int = 256, folder: str | None = None) -> list[Tree]:  # fmt: skip
    """Each tree with the restarts that place the first errors of its wrong attempts (`leaves`), `num` a round; [trees].

    With a `folder`, restarts, outcomes and judgments are kept there as they come; the same call goes on from them after a
    kill.
    """
    if not 0 < error_rate < 1 or num < 1 or max_rollouts < 0 or overhead < 0:
        raise ValueError(f"error_rate {error_rate}, num {num}, max_rollouts {max_rollouts}, overhead {overhead}; "
                         "allowed: between 0 and 1, 1 or more, 0 or more, 0 or more")  # fmt: skip
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens)
    wrong = [
        [leaf for leaf in wrong_attempts(tree, attempts(tree), own) if sampled_path(tree, leaf)]
        for tree, own in zip(trees, each_leaves(trees, leaves), strict=True)
    ]
    growths = []
    for (tree, told), own in zip(_judged(trees, wrong, judge), wrong, strict=True):
        believed = {
            leaf: beliefs_of(tree, leaf, None if said is None else said.step_scores_S,
                             recovery=recovery, luck=luck, profile=profile, doubt=doubt)
            for leaf, said in zip(own, told, strict=True)
        }  # fmt: skip
        growths.append(_place(tree, believed, error_rate, num, max_rollouts, overhead))
    return grow(growths, policy=policy, verify=verify, rng=rng, num=num, writing=writing)


def _judged(
    trees: Sequence[Tree], wrong: Sequence[Sequence[int]], judge: Judge | None
) -> list[tuple[Tree, Sequence[Judgment | None]]]:
    """Each tree with what judging its wrong attempts cost, and what the judge says of them; asked in one call."""
    pairs = [(tree.problem, tree.solution(leaf)) for tree, own in zip(trees, wrong, strict=True) for leaf in own]
    if judge is None or not pairs:
        return [(tree, [None] * len(own)) for tree, own in zip(trees, wrong, strict=True)]
    said = judge(pairs)
    if len(said) != len(pairs):
        raise ValueError(f"{len(pairs)} attempts need as many judgments, got {len(said)}")
    found: list[tuple[Tree, Sequence[Judgment | None]]] = []
    for tree, own in zip(trees, wrong, strict=True):
        told, said = said[: len(own)], said[len(own) :]
        cost = sum(map(judging, told), Cost())
        found.append((replace(tree, cost=tree.cost + cost) if told else tree, told))
    return found


def beliefs_of(tree: Tree, leaf: int, score_S: Floats | None = None, *, recovery: float = 0.0, luck: float = 0.0,
               profile: Profile = "flat", doubt: float = 0.1) -> Beliefs:  # fmt: skip
    """What is believed of an attempt before its first rollout; a judge's step scores that are not one a step are unknown."""
    reward_N = tree.reward_N
    scored = [reward_N[other] > 0.5 for other in attempts(tree) if not np.isnan(reward_N[other])]
    num_steps = len(sampled_path(tree, leaf))
    known = score_S if score_S is not None and len(score_S) == num_steps else None
    prior = first_error_prior(num_steps, known, doubt)
    return Beliefs(prior, sum(scored), len(scored) - sum(scored), recovery, luck, profile)


def placed(tree: Tree, leaf: int, beliefs: Beliefs) -> Floats:
    """P(first error = step) of a wrong attempt given the restarts the tree holds, [S]."""
    return posterior(*_counts(tree, sampled_path(tree, leaf)), beliefs)


def sampled_path(tree: Tree, leaf: int) -> list[int]:
    """The steps of an attempt that the policy wrote."""
    return [node for node in tree.path(leaf) if tree.steps[node].sampled]


def _place(
    tree: Tree, beliefs_of_leaf: dict[int, Beliefs], error_rate: float, num: int, max_rollouts: int, overhead: float
) -> Growth:
    """Ask, for every attempt that is not decided, where its next rollout tells most a token."""
    while True:
        wishes: set[int] = set()
        for leaf, beliefs in beliefs_of_leaf.items():
            nodes = sampled_path(tree, leaf)
            counts = _counts(tree, nodes)
            if max(int(counts[1].sum()), _paid(tree, nodes)) + num > max_rollouts:
                continue
            place = next_step(*counts, beliefs, _price(tree, nodes, overhead), error_rate)
            if place is not None:
                wishes.add(nodes[place])
        if not wishes:
            return tree
        tree = yield tree, sorted(wishes)


def next_step(
    success_S: Floats, rollouts_S: Floats, beliefs: Beliefs, tokens_S: Floats, error_rate: float
) -> int | None:
    """Where the next rollout goes: 0-based step, None where the first error is sure enough. Ties go to the earliest.

    `tokens_S`: what a rollout behind each step is expected to cost, [S], above 0.
    """
    place_S, gain_S = posterior_and_gains(success_S, rollouts_S, beliefs)
    if place_S.max() >= 1 - error_rate or gain_S.max() <= 0:
        return None
    return int(np.argmax(gain_S / tokens_S))


def _counts(tree: Tree, nodes: Sequence[int]) -> tuple[Floats, Floats]:
    """Successes and scored restarts behind each step of an attempt, ([S], [S]); none behind the last."""
    rewards = restart_rewards(tree)
    found = [[reward > 0.5 for reward in rewards[node]] for node in nodes[:-1]] + [[]]
    return np.array([sum(one) for one in found], dtype=np.float64), np.array(
        [len(one) for one in found], dtype=np.float64
    )


def _paid(tree: Tree, nodes: Sequence[int]) -> int:
    """Restarts behind the steps of an attempt, scored or not."""
    if tree.group_N is None:
        return 0
    group_N = tree.group_N
    inner = set(nodes[:-1])
    return sum(
        int(parent) in inner and group_N[child] != group_N[parent]
        for child, parent in enumerate(tree.parent_N)
        if child
    )


def _price(tree: Tree, nodes: Sequence[int], overhead: float) -> Floats:
    """Tokens the attempt itself wrote behind each of its steps, and `overhead` mean steps for the asking, [S]."""
    sizes = np.array([step_tokens([tree.steps[node]]) for node in nodes], dtype=np.float64)
    return np.asarray(sizes.sum() - np.cumsum(sizes) + max(overhead, 1e-3) * sizes.mean())
