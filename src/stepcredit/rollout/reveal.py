"""How much of a demonstration must be given before the policy finishes it: rollouts where they tell most of that border.

    s_k = prompt and first k of the S steps,   V(s_k) = P(success | s_k),   k = 0..S-1
    P(b | counts) ~ prod_(k<b) low^r_k (1 - low)^w_k * prod_(k>=b) high^r_k (1 - high)^w_k      b = 0..S;  r right, w wrong
    next          the start s_k with the largest   I(outcome of a rollout from s_k; b) / (its tokens + overhead)
    stop          max_b P(b | counts) >= 1 - error_rate,   or after max_rollouts

AdaBack, arXiv:2506.18110, reveals so much of each demonstration that the policy begins to succeed, and moves that border by
a random bisection while the policy is trained. Departs: the policy stays as it is and the border is measured, by the tests
of `rollout/adaptive` (Wald's, 1945) with the band [low, high] for what is left open.
A border is right where V(s_(b-1)) < high and V(s_b) > low: given b steps the policy succeeds, given one less it does not,
and inside the band either word is right. What must hold: V never falls along the demonstration; a wrong step in one breaks it.
Then, over borders that fall evenly on 0..S, with values at the edges of the band, at most `error_rate` of those that stop are
wrong; values farther out make it surer, as the odds against the true border shrink faster.
Behind the prompt the policy's attempts that the tree has count as rollouts; others hang behind the steps, in groups of their
own, as `credit/reverse_curriculum` reads them. Resumes: counts are read from the tree; `max_rollouts` is of one call.
Raises ValueError for knobs outside their range, and for a given leaf that ends no right attempt.
Degenerate: a tree without a right attempt has nothing to reveal and stays as it is; unscored rollouts are paid and say
nothing; a demonstration of one step has two borders: nothing given, or all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.protocols import Policy, Rng, Verifier
from stepcredit.core.registry import register
from stepcredit.core.restarts import attempts, restart_rewards
from stepcredit.core.tree import merge
from stepcredit.core.types import Floats, Tree
from stepcredit.rollout._length import step_tokens
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._verified import verified
from stepcredit.rollout.chains import chains
from stepcredit.rollout.restart import restart


@register("rollout", paper="arXiv:2506.18110")
@resumable()
def reveal(trees: Sequence[Tree], *, policy: Policy, verify: Verifier, rng: Rng, error_rate: float = 0.05, low: float = 0.3,
           high: float = 0.7, overhead: float = 2.0, num: int = 1, max_rollouts: int = 64,
           demonstrations: Sequence[int] | None = None, delimiter: str = "\n", prompt_end: str = "\n",
           stop: Sequence[str] = (), max_new_tokens: int = 256, folder: str | None = None) -> list[Tree]:  # fmt: skip
    """Each tree with the rollouts that find the border of its demonstration, `num` a round; [trees].

    `demonstrations`: the leaf that ends each tree's (default: its first right attempt; a tree without one is left as it is);
    every other attempt is the policy's.
    With a `folder`, rollouts and outcomes are kept there as they come; the same call goes on from them after a kill.
    """
    if not 0 < error_rate < 1 or not 0 < low < high < 1 or num < 1 or max_rollouts < 0 or overhead < 0:
        raise ValueError(f"error_rate {error_rate}, low {low}, high {high}, num {num}, max_rollouts {max_rollouts}, overhead "
                         f"{overhead}; allowed: between 0 and 1, 0 < low < high < 1, 1 or more, 0 or more, 0 or more")  # fmt: skip
    leaf_of = _demonstrated(trees, demonstrations)
    ask = {"policy": policy, "rng": rng, "num": num, "delimiter": delimiter, "prompt_end": prompt_end, "stop": stop,
           "max_new_tokens": max_new_tokens}  # fmt: skip
    grown, undecided = list(trees), sorted(leaf_of)
    for _ in range(max_rollouts // num):
        wishes = {}
        for index in undecided:
            tree, nodes = grown[index], _sampled(grown[index], leaf_of[index])
            cut = next_cut(*start_counts(tree, leaf_of[index]), _price(tree, nodes, overhead), error_rate, low, high)
            if cut is not None:
                wishes[index] = nodes[cut - 1] if cut else 0
        if not wishes:
            break
        for index, tree in _asked(grown, wishes, ask).items():
            grown[index] = verified(tree, verify, first=grown[index].num_nodes)
        undecided = sorted(wishes)
    return grown


def border(right_S: ArrayLike, wrong_S: ArrayLike, low: float = 0.3, high: float = 0.7) -> Floats:
    """P(border = b | counts) of rollouts from the starts s_0..s_(S-1), [S + 1]; every border alike before them.

    >>> border([0, 3], [3, 0]).round(2)  # three wrong from the prompt, three right from behind the first of two steps
    array([0.07, 0.86, 0.07])
    """
    right, wrong = np.asarray(right_S, dtype=np.float64), np.asarray(wrong_S, dtype=np.float64)
    if right.shape != wrong.shape or right.ndim != 1 or right.size == 0 or (right < 0).any() or (wrong < 0).any():
        raise ValueError(f"expected counts of 0 or more, [S] twice, got {right.tolist()} and {wrong.tolist()}")
    below_S = right * np.log(low) + wrong * np.log1p(-low)
    above_S = right * np.log(high) + wrong * np.log1p(-high)
    log_B = np.concatenate([[0.0], np.cumsum(below_S - above_S)])  # against the border 0, where all starts are above
    weight_B = np.exp(log_B - log_B.max())
    return np.asarray(weight_B / weight_B.sum())


def next_cut(right_S: ArrayLike, wrong_S: ArrayLike, tokens_S: ArrayLike, error_rate: float = 0.05, low: float = 0.3,
             high: float = 0.7) -> int | None:  # fmt: skip
    """The steps given in the next rollout, 0..S-1; None where the border is sure enough. Ties go to the fewest.

    `tokens_S`: what a rollout from each start is expected to cost, above 0.
    """
    border_B = border(right_S, wrong_S, low, high)
    if border_B.max() >= 1 - error_rate:
        return None
    above_S = np.cumsum(border_B)[:-1]  # P(start s_k is above the border)
    mixed_S = above_S * high + (1 - above_S) * low
    gain_S = _entropy(mixed_S) - above_S * _entropy(high) - (1 - above_S) * _entropy(low)
    return int(np.argmax(np.round(gain_S / np.asarray(tokens_S, dtype=np.float64), 12)))


def start_counts(tree: Tree, leaf: int) -> tuple[Floats, Floats]:
    """Right and wrong rollouts from each start of the demonstration that ends at `leaf`, ([S], [S])."""
    reward_N, rewards = tree.reward_N, restart_rewards(tree)
    own = [float(reward_N[other]) for other in attempts(tree) if other != leaf and not np.isnan(reward_N[other])]
    found = [own, *(rewards[node] for node in _sampled(tree, leaf)[:-1])]
    right_S = np.array([sum(reward > 0.5 for reward in one) for one in found], dtype=np.float64)
    return right_S, np.array([len(one) for one in found], dtype=np.float64) - right_S


def _demonstrated(trees: Sequence[Tree], given: Sequence[int] | None) -> dict[int, int]:
    """The leaf that ends the demonstration of each tree that has one, by the tree's place."""
    if given is not None and len(given) != len(trees):
        raise ValueError(f"{len(trees)} trees need as many demonstrations, got {len(given)}")
    leaf_of = {}
    for place, tree in enumerate(trees):
        right = [one for one in attempts(tree) if tree.reward_N[one] > 0.5 and _sampled(tree, one)]
        if given is None and not right:
            continue
        leaf = right[0] if given is None else int(given[place])
        if leaf not in right:
            allowed = ", ".join(map(str, right)) or "none"
            raise ValueError(
                f"problem {tree.problem.id!r}: node {leaf} ends no right attempt; allowed: {allowed}; "
                "choose among these by `demonstrations`, or leave it out: each tree's first right attempt is taken then"
            )
        leaf_of[place] = leaf
    return leaf_of


def _sampled(tree: Tree, leaf: int) -> list[int]:
    return [node for node in tree.path(leaf) if tree.steps[node].sampled]


def _price(tree: Tree, nodes: Sequence[int], overhead: float) -> Floats:
    """Tokens the demonstration takes from each start on, and `overhead` mean steps for the asking, [S]."""
    sizes = np.array([step_tokens([tree.steps[node]]) for node in nodes], dtype=np.float64)
    return np.asarray(sizes.sum() - np.cumsum(sizes) + sizes + overhead * sizes.mean())


def _asked(trees: Sequence[Tree], wishes: Mapping[int, int], ask: Mapping[str, Any]) -> dict[int, Tree]:
    """The trees with rollouts behind the nodes wished for; from the prompt, node 0, as further attempts."""
    behind, anew = ([index for index, node in wishes.items() if bool(node) == inner] for inner in (True, False))
    grown = restart([trees[index] for index in behind], nodes=[[wishes[index]] for index in behind], **ask)
    more = chains([trees[index].problem for index in anew], **ask)
    whole = [merge([trees[index], own]) for index, own in zip(anew, more, strict=True)]
    return dict(zip([*behind, *anew], [*grown, *whole], strict=True))


def _entropy(p: ArrayLike) -> Floats:
    """Of a coin, in nats."""
    share = np.clip(np.asarray(p, dtype=np.float64), 1e-300, 1 - 1e-16)
    return np.asarray(-share * np.log(share) - (1 - share) * np.log1p(-share))
