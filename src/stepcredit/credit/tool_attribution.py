"""An attempt's success on all it wrote, what its calls earned on its calls alone.

    A_n = A_success + M_n A_action          M_n: 1 on steps of `kinds`;   A = R - mean_G, no deviation
    R_action = call_weight sum_t C(call_t) + fold_weight S
    S = (L_direct - L_folded) / (L_direct + L_folded)         L: tokens the policy wrote

ToolPO (DeepAgent), arXiv:2510.21618, section 3.5 (both weights 1). C is not defined there: `correct` chooses (`_call_checks`);
the default needs no more than recorded results, and any call that works is right by it.
count="distinct" calls a right call right once (as often as gold has it), so that a repetition earns nothing; "sum" is the paper's
formula with a C that does not look back, and pays for every repetition; "share" pays for the share of the gold calls, so that
R_action stays in [0, 1]. Where any call that works is right, different calls are paid for all the same: give gold, or "share".
A_action is the attempt's: a bad call among good ones is reinforced with them. `per_call` gives each call its own advantage
instead, C_n - mean (every attempt with calls counts once), and the attempt's of S; a call that is still due, because it has
failed, is paid again. `kinds` are tool calls; with all kinds it is the rewards' sum on all tokens.
Departs: S compares a folded attempt (a step's `context` is not its path's text) with the mean length of the problem's direct
ones, where the paper pairs rollouts; it is 0 unless it and one of these succeeded (reward above 1/2), else failing early paid.
Shared nodes: the mean over the scored attempts through them. Without std, the reward's scale is the learning rate's.
Raises ValueError for unknown knobs, and calls whose problem lacks what `correct` or `count` reads.
Degenerate: without calls and folds it is `group_mean` with normalize="none"; a group of one is exactly 0; an unscored attempt
takes no part, NaN; results of tools are never assigned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Bools, Credit, Floats, StepKind, Tree
from stepcredit.credit._answer_likelihood import texts_of
from stepcredit.credit._assign import assign
from stepcredit.credit._call_checks import Correct, calls_of, failed, gold_of, is_correct, plain
from stepcredit.credit.group_mean import Normalize, advantages

Count = Literal["sum", "distinct", "share"]


@register("credit", paper="arXiv:2510.21618", kind="advantage")
@each_tree
def tool_attribution(
    tree: Tree, *, correct: Correct = "no_error", count: Count = "distinct", per_call: bool = False,
    call_weight: float = 1.0, fold_weight: float = 1.0, kinds: tuple[str, ...] = ("tool_call",),
    normalize: Normalize = "none", prompt_end: str = "\n", delimiter: str = "\n",
) -> Credit:  # fmt: skip
    """Give every step its attempt's advantage in success, and steps of `kinds` that of its calls besides, [N]."""
    for name, given, allowed in (("correct", correct, Correct), ("count", count, Count)):
        if given not in get_args(allowed):
            raise ValueError(f"{name} is {given!r}; allowed: {', '.join(get_args(allowed))}")
    if isinstance(kinds, str) or not set(kinds) <= set(get_args(StepKind)):
        raise ValueError(f"kinds is {kinds!r}; allowed: a tuple of {', '.join(get_args(StepKind))}")
    reward_N = tree.reward_N
    paths = [tree.path(leaf) for leaf in tree.leaves if not np.isnan(reward_N[leaf])]
    success_G = np.array([reward_N[path[-1]] for path in paths])
    earned = [_earned(tree, path, correct, count) for path in paths]
    folding_G = fold_weight * preferences(tree, paths, success_G > 0.5, prompt_end, delimiter)
    total_G = np.array([call_weight * sum(own.values()) for own, _ in earned]) if count == "sum" else np.array(
        [call_weight * paid for _, paid in earned])  # fmt: skip
    action_G = advantages(folding_G if per_call else total_G + folding_G, normalize)
    call_G = _centred([own for own, _ in earned]) if per_call else [{} for _ in paths]
    through: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for path, success, action, own in zip(paths, advantages(success_G, normalize), action_G, call_G, strict=True):
        for node in path:
            more = float(action) + call_weight * own.get(node, 0.0) if tree.steps[node].kind in kinds else 0.0
            through[node].append(float(success) + more)
    mean_N: Floats = np.array([np.mean(np.sort(found)) if found else np.nan for found in through])
    return assign(tree, mean_N, "advantage", "tool_attribution")


def preferences(
    tree: Tree,
    paths: Sequence[Sequence[int]],
    right_G: Bools,
    prompt_end: str = "\n",
    delimiter: str = "\n",
) -> Floats:
    """S of each attempt, [G] in (-1, 1): above 0 where a folded attempt that succeeded is shorter than direct ones that did."""
    before, behind = texts_of(tree, prompt_end, delimiter)
    length_G = np.array([sum(_num_tokens(tree, node) for node in path) for path in paths], dtype=np.float64)
    folded_G = np.array(
        [any(before[node] != behind[tree.parent_N[node]] for node in path) for path in paths], dtype=np.bool_
    )
    direct = length_G[right_G & ~folded_G]
    if not direct.size:
        return np.zeros(len(paths))
    mean = float(np.mean(np.sort(direct)))
    return np.where(right_G & folded_G, (mean - length_G) / np.maximum(mean + length_G, 1), 0.0)


def _earned(tree: Tree, path: Sequence[int], correct: Correct, count: Count) -> tuple[dict[int, float], float]:
    """What each call of an attempt is worth, and what they are worth together where a repetition is not paid."""
    calls = calls_of(tree, path)
    right = {node: is_correct(tree, path, node, correct) for node in calls}
    if count == "sum" or not calls:
        return {node: float(found) for node, found in right.items()}, 0.0
    due = gold_of(tree.problem) if correct == "matches_gold" or count == "share" else Counter[str]()
    scale = 1 / due.total() if count == "share" else 1.0
    own, made, done = {}, Counter[str](), Counter[str]()
    for node in calls:
        text = plain(tree.steps[node].text)
        often = due[text] if correct == "matches_gold" else 1
        own[node] = scale * float(right[node] and done[text] < often)
        made[text] = min(made[text] + right[node], often)
        done[text] += not failed(tree, path, node)
    return own, scale * min(made.total(), due.total() if count == "share" else made.total())


def _centred(own_G: Sequence[dict[int, float]]) -> list[dict[int, float]]:
    """Each call less the mean over attempts of their calls' mean; 0 where all are equal or one attempt alone has any."""
    every = [list(own.values()) for own in own_G if own]
    if len(every) < 2 or len({value for values in every for value in values}) == 1:
        return [dict.fromkeys(own, 0.0) for own in own_G]
    mean = float(np.mean(np.sort([np.mean(np.sort(values)) for values in every])))
    return [{node: value - mean for node, value in own.items()} for own in own_G]


def _num_tokens(tree: Tree, node: int) -> int:
    """Of a step that the policy wrote: its token ids, else its log-probabilities, else its characters."""
    step = tree.steps[node]
    tokens = step.token_ids if step.token_ids is not None else step.logprobs
    return 0 if not step.sampled else len(step.text) if tokens is None else len(tokens)
