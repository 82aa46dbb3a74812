"""The arms of `recipes/critique_grpo`: how groups grow in each, and what is counted of them.

    grpo_8, grpo_16     attempts alone
    shaped, unshaped    7 attempts, and where all fail 1 refinement, with pi / (pi + .1) or the ordinary ratio
    misleading          shaped, but the critic points to a sound line and names a wrong result
    copies              what the released script does (n_prefix = -1): every attempt of a group is one refinement, eight times
    reference           shaped, but the one more attempt is the task's own solution: is it the critique, or a right sample?
    unshaped_misleading, unshaped_reference    the same two with the ordinary ratio
    shaped_gamma_01     shaped with pi / (pi + .01)

In size "critics" (`_critique_grpo_critics`), whose policy knows all their words, 7 + 1 with the ordinary ratio where not shaped:

    unshaped_verdict, _answer, _own, _inverted    critics that know the outcome, the answer, what the policy knows, the reverse
    unshaped_every, unshaped_inverted_every       one attempt at every problem is written again, right ones too
    unshaped_tried_7, unshaped_verdict_tried_7    all seven that failed are, and one is kept, as the paper does
    unshaped_k_3                                  three are, and all three kept
    shaped_3x, shaped_10x, unshaped_3x            at a larger rate; ten times 3e-4 leaves nothing of the policy (seed 1)

Elsewhere a refinement is one of one attempt, drawn at random, where the paper refines all and keeps one. Critiques count as generated.
`copies` ends after a tenth of the tokens: not one bit of the weights moves (a test), so the rest would show nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.tree import first_error, star
from stepcredit.core.types import Cost, Problem, Step, Tree
from stepcredit.judge._critics import LabelSteps
from stepcredit.recipes._critique_grpo_critics import Critic, CriticName, CriticScale, critic_of
from stepcredit.recipes._critique_grpo_world import TEMPLATE, World
from stepcredit.recipes._rl import RlArm, correct, verified_rollout
from stepcredit.rollout._paths import extended
from stepcredit.rollout._verified import verified
from stepcredit.rollout.chains import chains
from stepcredit.rollout.refine import Refine, refine, to_refine
from stepcredit.train.grpo import Rollout, Settings
from stepcredit.train.policy_samples import Rules

GAMMA = 0.1  # of shaped refinements, the paper's
CREDIT = registry.bind("credit", "group_mean", normalize="none")


@dataclass(frozen=True)
class Arm:
    """How a group grows and is trained.

    `critic`: whose word a refinement is written behind (`critic_of`), "solution" for the task's own solution in its place, None for
    attempts alone; `refine`, `num_tried`, `num_refinements` are `rollout/refine`'s; `shaping` is `Settings.shaping`; `copied`: the
    group is its refinement over and over; `rate` and `tokens` are times the study's.
    """

    kind: str
    critic: CriticName | Literal["solution"] | None = "oracle"
    num: int = 7
    num_tried: int | None = 1
    num_refinements: int = 1
    refine: Refine = "all_fail"
    shaping: float | None = None
    rate: float = 1.0
    tokens: float = 1.0
    copied: bool = False


ALONE = Arm("control", critic=None, num=8, shaping=GAMMA)
UNSHAPED = Arm("oracle")
SHAPED = Arm("oracle", shaping=GAMMA)
ARMS = {
    "grpo_8": ALONE,
    "grpo_16": replace(ALONE, num=16),
    "unshaped": UNSHAPED,
    "shaped": SHAPED,
    "misleading": Arm("null", "misleading", shaping=GAMMA),
    "copies": Arm("null", refine="all", shaping=GAMMA, copied=True, tokens=0.1),
    "reference": Arm("oracle", "solution", shaping=GAMMA),
    "unshaped_misleading": Arm("null", "misleading"),
    "unshaped_reference": Arm("oracle", "solution"),
    "shaped_gamma_01": Arm("oracle", shaping=0.01),
}
CRITIC_ARMS = {
    "grpo_8": ALONE,
    "unshaped": UNSHAPED,
    "unshaped_verdict": Arm("label-free", "verdict"),
    "unshaped_answer": Arm("label-free", "answer"),
    "unshaped_own": Arm("label-free", "own"),
    "unshaped_inverted": Arm("null", "inverted"),
    "unshaped_every": Arm("oracle", refine="all"),
    "unshaped_inverted_every": Arm("null", "inverted", refine="all"),
    "shaped_3x": replace(SHAPED, rate=3.0),
    "unshaped_3x": replace(UNSHAPED, rate=3.0),
    "shaped_10x": replace(SHAPED, rate=10.0),
    "unshaped_verdict_tried_7": Arm("label-free", "verdict", num_tried=None),
    "unshaped_tried_7": Arm("oracle", num_tried=None),
    "unshaped_k_3": Arm("oracle", num_tried=3, num_refinements=3),
}


@dataclass
class Counted:
    """A rollout that counts groups: all, those whose own attempts all fail, those still without a right one, refinements.

    With the task's oracle it counts besides, for the table alone, how many of the right refinements have no wrong line.
    """

    rollout: Rollout
    rows: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    label_steps: LabelSteps | None = None
    num_sound: int = 0

    def __call__(self, problems: Sequence[Problem], policy: Policy, draw: Rng) -> Sequence[Tree]:
        """As the rollout's."""
        trees = self.rollout(problems, policy, draw)
        counts = np.zeros(5, dtype=int)
        for tree in trees:
            own, again = by_origin(tree)
            right = [correct(tree, leaf) for leaf in own]
            right_again = [correct(tree, leaf) for leaf in again]
            counts += [1, not any(right), not any(right + right_again), len(again), sum(right_again)]
            if self.label_steps is not None:
                label = self.label_steps
                self.num_sound += sum(first_error(label(tree.problem, tree.solution(leaf))) < 0
                                      for leaf, is_right in zip(again, right_again, strict=True) if is_right)  # fmt: skip
        self.rows.append(tuple(counts.tolist()))
        return trees

    def shares(self) -> dict[str, float]:
        """Of all groups so far; of refinements that were kept, those that are right (NaN without any)."""
        groups, failed, silent, again, right = (float(n) for n in np.sum(self.rows, axis=0))
        found = {"attempts all wrong": failed / groups, "still all wrong": silent / groups, "refined": again / groups,
                 "refinements right": right / again if again else float("nan")}  # fmt: skip
        if self.label_steps is not None:
            found["right ones sound"] = self.num_sound / right if right else float("nan")
        return found


def by_origin(tree: Tree) -> tuple[list[int], list[int]]:
    """The leaves written behind the question, and those written behind something else."""
    again = {leaf for leaf in tree.leaves if any(tree.steps[node].context is not None for node in tree.path(leaf))}
    return [leaf for leaf in tree.leaves if leaf not in again], sorted(again)


def arm_of(name: str, world: World, settings: Settings) -> tuple[RlArm, Counted]:
    """An arm and its counts."""
    arm, verify, most = (ARMS | CRITIC_ARMS)[name], world.task.verify, settings.max_new_tokens
    tokenizer = world.policy().tokenizer

    def count(critique: str) -> int:
        return len(tokenizer(critique, add_special_tokens=False)["input_ids"])

    alone = verified_rollout(chains, verify, num=arm.num, max_new_tokens=most)
    if arm.critic is None:
        rollout = alone
    elif arm.critic == "solution":
        rollout = _with_reference(alone, world, tokenizer)
    else:
        rollout = _refining(arm, world, critic_of(arm.critic, world, count), most)
    counted = Counted(rollout, label_steps=world.task.label_steps if isinstance(world.scale, CriticScale) else None)
    budget = settings.max_generated_tokens
    settings = replace(settings, shaping=arm.shaping, learning_rate=arm.rate * settings.learning_rate,
                       max_generated_tokens=None if budget is None else int(arm.tokens * budget))  # fmt: skip
    return RlArm(counted, CREDIT, settings, Rules(contexts="path")), counted


def _refining(arm: Arm, world: World, critic: Critic, max_new_tokens: int) -> Rollout:
    def grow(problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        trees = refine(problems, policy=policy, verify=world.task.verify, rng=draw, judge=critic(policy, draw), num=arm.num,
                       num_tried=arm.num_tried, num_refinements=arm.num_refinements, refine=arm.refine, template=TEMPLATE,
                       max_new_tokens=max_new_tokens)  # fmt: skip
        return [copied(tree, arm.num + 1) for tree in trees] if arm.copied else trees

    return grow


def copied(tree: Tree, num: int) -> Tree:
    """The group that the released script makes of a problem: its refinement, `num` times; the tree where there is none."""
    _, again = by_origin(tree)
    if not again:
        return tree
    leaf = again[0]
    return star(tree.problem, [tree.solution(leaf)] * num, [tree.outcomes[leaf]] * num, cost=tree.cost)


def _with_reference(rollout: Rollout, world: World, tokenizer: Any) -> Rollout:
    """Where all attempts fail, the task's own solution is one more, its tokens counted as if they had been sampled."""

    def grow(problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        found = []
        for tree in rollout(problems, policy, draw):
            if to_refine(tree):
                steps = reference_steps(tree.problem, tokenizer)
                cost = Cost(generated_tokens=sum(len(step.token_ids or ()) for step in steps))
                group = 0 if tree.group_N is None else int(tree.group_N.max()) + 1
                tree = verified(extended(tree, [((0, group), steps, None)], cost), world.task.verify)
            found.append(tree)
        return found

    return grow


def reference_steps(problem: Problem, tokenizer: Any) -> list[Step]:
    """The reference as if it had been written: a delimiter behind each line but the last, which has the end token."""
    lines = problem.reference or ()
    texts = [line + "\n" * (place + 1 < len(lines)) for place, line in enumerate(lines)]
    ids = [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    ids[-1] = (*ids[-1], tokenizer.eos_token_id)
    context = "".join(texts)
    return [Step(line, token_ids=own, context=None if place else context)
            for place, (line, own) in enumerate(zip(lines, ids, strict=True))]  # fmt: skip
