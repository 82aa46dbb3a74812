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
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.tree import first_error, star
from stepcredit.core.types import Cost, Problem, Step, Tree
from stepcredit.judge._critics import LabelSteps
from stepcredit.recipes._critique_grpo_critics import Critic, CriticScale, critic_of
from stepcredit.recipes._critique_grpo_world import TEMPLATE, World
from stepcredit.recipes._rl import RlArm, correct, verified_rollout
from stepcredit.rollout._paths import extended
from stepcredit.rollout._verified import verified
from stepcredit.rollout.chains import chains
from stepcredit.rollout.refine import Refine, refine, to_refine
from stepcredit.train.grpo import Rollout, Settings
from stepcredit.train.policy_samples import Rules

# The critic is an oracle.
KINDS = {"grpo_8": "control", "grpo_16": "control", "unshaped": "oracle", "shaped": "oracle", "misleading": "null",
         "copies": "null", "reference": "oracle", "unshaped_misleading": "null", "unshaped_reference": "oracle",
         "shaped_gamma_01": "oracle"}  # fmt: skip
CRITIC_KINDS = {"grpo_8": "control", "unshaped": "oracle", "unshaped_verdict": "label-free", "unshaped_answer": "label-free",
                "unshaped_own": "label-free", "unshaped_inverted": "null", "unshaped_every": "oracle", "unshaped_inverted_every": "null",
                "shaped_3x": "oracle", "unshaped_3x": "oracle", "shaped_10x": "oracle", "unshaped_verdict_tried_7": "label-free", "unshaped_tried_7": "oracle",
                "unshaped_k_3": "oracle"}  # fmt: skip
RATES = {"shaped_3x": 3.0, "unshaped_3x": 3.0, "shaped_10x": 10.0}
CREDIT = registry.bind("credit", "group_mean", normalize="none")


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
    num = {"grpo_8": 8, "grpo_16": 16}.get(name, 7)
    verify, most = world.task.verify, settings.max_new_tokens
    tokenizer = world.policy().tokenizer

    def count(critique: str) -> int:
        return len(tokenizer(critique, add_special_tokens=False)["input_ids"])

    if name in ("grpo_8", "grpo_16"):
        rollout = verified_rollout(chains, verify, num=num, max_new_tokens=most)
    elif name.endswith("reference"):
        rollout = _with_reference(verified_rollout(chains, verify, num=num, max_new_tokens=most), world, tokenizer)
    else:
        rollout = _refining(world, critic_of(name, world, count), num, most, name)
    counted = Counted(rollout, label_steps=world.task.label_steps if isinstance(world.scale, CriticScale) else None)
    settings = replace(settings, shaping=None) if name.startswith("unshaped") else settings
    settings = replace(settings, shaping=0.01) if name == "shaped_gamma_01" else settings
    if name in RATES:
        settings = replace(settings, learning_rate=RATES[name] * settings.learning_rate)
    if name == "copies" and settings.max_generated_tokens is not None:
        settings = replace(settings, max_generated_tokens=settings.max_generated_tokens // 10)
    return RlArm(counted, CREDIT, settings, Rules(contexts="path")), counted


def _refining(world: World, critic: Critic, num: int, max_new_tokens: int, name: str) -> Rollout:
    kept = 3 if name.endswith("k_3") else 1
    tried = None if name.endswith("tried_7") else kept
    of: Refine = "all" if name == "copies" or name.endswith("every") else "all_fail"

    def grow(problems: Sequence[Problem], policy: Policy, draw: Rng) -> list[Tree]:
        trees = refine(problems, policy=policy, verify=world.task.verify, rng=draw, judge=critic(policy, draw), num=num, num_tried=tried,
                       num_refinements=kept, refine=of, template=TEMPLATE, max_new_tokens=max_new_tokens)  # fmt: skip
        return [copied(tree, num + 1) for tree in trees] if name == "copies" else trees

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
