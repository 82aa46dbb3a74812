"""How much of an expert's next step stands in the one the policy wrote, compared as text.

    r_i = 2 M / T      M: units in matching blocks of action_i and the expert's step, T: units of both;   -1 for a broken format
    A_i = (r_i - mean_G) / std_G            G: attempts behind the same given steps

SRL, arXiv:2510.25992, section 3.2. An instance is a problem with k given steps that the policy did not write (tool results are
no steps); what it writes behind them is one completion, whose target is `problem.reference[k]` (paper: k < N - 1, here any).
target="rest" compares with all of reference[k:], each of the policy's steps with a monologue of its own: the paper's arm without
decomposition. The action is what stands behind `</think>`: the monologue is never compared, and every token has the advantage.
Format: a completion without `</think>`, with text before `<think>` or with further tags is -1 (monologue="optional": one without
any tag is all action); an empty action is 0. Matching is that of `difflib.SequenceMatcher(None, action, expert)`, which is not symmetric, without its
autojunk, which makes one changed character of 260 a ratio of .5. By characters "= 14" is .93 of a line that ends in "= 15":
unit="token" takes whole numbers, and `same_number` makes an action 0 whose last number is not the expert's. `max_units` cuts what
is matched, which takes time by its square, not T. give="reward" hands on r.
A step that attempts share has their mean. No outcome is read. Dynamic sampling (section 3.3): `varies`, `keep_varying`; their
epsilon is not in the paper, and -1 beside anything varies.
Raises ValueError for unknown knobs.
Degenerate: equal rewards, and a group of one, are exactly 0; attempts without an expert's step to compare with stay NaN.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.registry import each_tree, register
from stepcredit.core.types import Credit, Floats, Step, Tree
from stepcredit.credit._assign import assign
from stepcredit.credit.group_mean import Normalize, advantages

Unit = Literal["character", "token"]
Target = Literal["next", "rest"]
Monologue = Literal["required", "optional"]
Give = Literal["advantage", "reward"]
OPEN, CLOSE = "<think>", "</think>"
BROKEN = -1.0  # the reward of a broken format
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]|_")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def action_of(text: str, monologue: Monologue = "required") -> str | None:
    """What stands behind the monologue, None where the format is broken.

    >>> action_of("<think>carry 1</think> 17"), action_of("<think>carry 1"), action_of("17", "optional")
    ('17', None, '17')
    """
    head, closed, behind = text.partition(CLOSE)
    thought, action = (head.strip().removeprefix(OPEN), behind) if closed else ("", head)
    if (not closed and monologue == "required") or OPEN in thought + action or CLOSE in action:
        return None
    return action.strip()


def similarity(action: str, expert: str, *, unit: Unit = "character", max_units: int | None = None) -> float:
    """2 M / T of an action and the expert's step, in this order, in [0, 1]; 0 for an empty action.

    >>> similarity("tide", "diet"), similarity("diet", "tide")
    (0.25, 0.5)
    """
    first, second = (_TOKEN.findall(text) if unit == "token" else list(text) for text in (action, expert))
    if not first:
        return 0.0
    matcher = difflib.SequenceMatcher(None, first[:max_units], second[:max_units], autojunk=False)
    return 2 * sum(block.size for block in matcher.get_matching_blocks()) / (len(first) + len(second))


def varies(reward_G: Floats, epsilon: float = 1e-3) -> bool:
    """Whether a group's rewards deviate by more than epsilon (std over those known); one reward does not."""
    known = reward_G[~np.isnan(reward_G)]
    return bool(known.size > 1 and np.ptp(known) > 0 and np.std(known) > epsilon)


def keep_varying(trees: Sequence[Tree], rewards_of: Callable[[Tree], Floats], epsilon: float = 1e-3) -> list[Tree]:
    """The trees that are worth an update: those whose rewards, by attempt, vary."""
    return [tree for tree in trees if varies(rewards_of(tree), epsilon)]


def rewards(
    tree: Tree, *, unit: Unit = "character", target: Target = "next", monologue: Monologue = "required",
    same_number: bool = False, max_units: int | None = None, delimiter: str = "\n",
) -> Floats:  # fmt: skip
    """Rewards, one an attempt, in the order of `tree.leaves`, NaN where there is nothing to compare."""
    for name, chosen, allowed in (
        ("unit", unit, Unit),
        ("target", target, Target),
        ("monologue", monologue, Monologue),
    ):
        if chosen not in get_args(allowed):
            raise ValueError(f"{name} is {chosen!r}; allowed: {', '.join(get_args(allowed))}")
    if max_units is not None and max_units < 1:
        raise ValueError(f"max_units is {max_units}; allowed: 1 or more, or None")
    found = []
    for leaf in tree.leaves:
        path = tree.solution(leaf)
        expert, written = (
            (tree.problem.reference or ())[num_given(path) :],
            [step.text for step in path if step.sampled],
        )
        if not expert or not written:
            found.append(np.nan)
            continue
        pieces = written if target == "rest" else [delimiter.join(written)]
        actions = [action_of(piece, monologue) for piece in pieces]
        said = [action for action in actions if action is not None]
        if len(said) < len(actions):
            found.append(BROKEN)
            continue
        action, wanted = (
            delimiter.join(said).strip(),
            delimiter.join(expert if target == "rest" else expert[:1]).strip(),
        )
        right = not same_number or _NUMBER.findall(action)[-1:] == _NUMBER.findall(wanted)[-1:]
        found.append(similarity(action, wanted, unit=unit, max_units=max_units) if right else 0.0)
    return np.array(found, dtype=np.float64)


def num_given(path: Sequence[Step]) -> int:
    """k: the expert's steps that an attempt starts with."""
    num = next((at for at, step in enumerate(path) if step.sampled), len(path))
    return sum(step.kind != "tool_result" for step in path[:num])


@register(
    "credit", paper="arXiv:2510.25992", kind="advantage", kinds=("advantage", "reward"),
    exempt={name: "it compares with an expert's text and reads no outcome" for name in
            ("equal_outcomes_carry_nothing", "group_of_one_carries_nothing", "longer_is_not_more")}
    | {"splitting_a_step_changes_nothing": "a delimiter in the middle of an action is another action"},
)  # fmt: skip
@each_tree
def expert_similarity(
    tree: Tree, *, unit: Unit = "character", target: Target = "next", monologue: Monologue = "required",
    same_number: bool = False, max_units: int | None = None, normalize: Normalize = "std", give: Give = "advantage",
    delimiter: str = "\n",
) -> Credit:  # fmt: skip
    """Give every step of a completion its advantage, or its reward, by the expert's next step, [N]."""
    if give not in get_args(Give):
        raise ValueError(f"give is {give!r}; allowed: {', '.join(get_args(Give))}")
    reward_G = rewards(tree, unit=unit, target=target, monologue=monologue, same_number=same_number, max_units=max_units,
                       delimiter=delimiter)  # fmt: skip
    value_G, given_G = reward_G.copy(), np.array([num_given(tree.solution(leaf)) for leaf in tree.leaves])
    for given in np.unique(given_G) if give == "advantage" else ():
        own = (given_G == given) & ~np.isnan(reward_G)
        value_G[own] = advantages(reward_G[own], normalize)
    through: list[list[float]] = [[] for _ in range(tree.num_nodes)]
    for leaf, value in zip(tree.leaves, value_G, strict=True):
        for node in tree.path(leaf) if not np.isnan(value) else ():
            through[node].append(float(value))
    mean_N = np.array([np.mean(np.sort(own)) if own else np.nan for own in through])
    return assign(tree, mean_N, give, "expert_similarity")
