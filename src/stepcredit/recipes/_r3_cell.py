"""What one world and seed of `recipes/r3` is measured on: everything is grown once, and every arm reads of it what it pays for."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from stepcredit.core.types import Floats, Tree
from stepcredit.recipes._r3_critical import first_errors
from stepcredit.recipes._r3_starts import Pool, first, pool, started, values
from stepcredit.recipes._r3_world import Ground, Plan, num_steps
from stepcredit.rollout._verified import verified
from stepcredit.rollout.chains import chains

READ = (2, 8, 32)  # continuations a start that have a row
DECLARED = 8


@dataclass(frozen=True, eq=False)
class Cell:
    """Demonstrations with continuations; true values of their starts, [S] each; where attempts first go wrong, [S] each.

    `num_reference`: rollouts behind each true value, 0 where it is exact. `errors_before` are those of other attempts.
    """

    ground: Ground
    grown: list[Tree]
    num_starts: int
    num_reference: int
    true: list[Floats]
    errors: list[Floats]
    errors_before: list[Floats]

    @property
    def declared(self) -> int:
        """Continuations a start of the arm that others are compared with."""
        return min(DECLARED, self.num_starts)

    @functools.cached_property
    def pools(self) -> list[Pool]:
        """Rewards and tokens of the continuations, a demonstration each."""
        return [pool(tree) for tree in self.grown]

    @functools.cached_property
    def read(self) -> dict[int, tuple[list[Floats], list[Floats]]]:
        """Values, [S + 1] each, and counts, [S] each, of the first so many continuations a start."""
        numbers = sorted({num for num in (*READ, self.declared, self.twice) if num <= self.num_starts})
        found = {num: [values(first(tree, num)) for tree in self.grown] for num in numbers}
        return {num: ([value_S for value_S, _ in one], [num_S for _, num_S in one]) for num, one in found.items()}

    @property
    def twice(self) -> int:
        """Twice as many as declared, or all there are."""
        return min(2 * self.declared, self.num_starts)

    def cost(self, num: int, share: float = 1.0) -> dict[str, float]:
        """What `num` continuations of that share of the starts cost, a demonstration; each start is read once."""
        tokens = np.mean([one.tokens_SK[:, :num].sum() for one in self.pools])
        calls = np.mean([one.tokens_SK[:, :num].size for one in self.pools])
        forwarded = np.mean([tree.cost.forwarded_tokens for tree in self.grown])
        return {"generated_tokens": share * float(tokens), "forwarded_tokens": share * float(forwarded),
                "verifier_calls": share * float(calls)}  # fmt: skip


def grown(own: Ground, plan: Plan) -> Cell:
    """Continuations, attempts, and reference values where none are exact: three independent draws."""
    trees = started(own, own.demonstrations, plan.num_starts, "continuations")
    num, half = [num_steps(tree) for tree in trees], plan.num_attempts // 2
    if own.exact:
        true = [own.exact(tree) for tree in own.demonstrations]
    else:
        true = [values(tree)[0][:-1] for tree in started(own, own.demonstrations, plan.num_reference, "reference")]
    made = chains([tree.problem for tree in own.demonstrations], policy=own.policy, rng=own.draw("attempts"),
                  num=plan.num_attempts, **own.limits)  # fmt: skip
    attempts = [verified(tree, own.task.verify) for tree in made]
    after, before = (
        [first_errors(tree, own.task, n, part) for tree, n in zip(attempts, num, strict=True)]
        for part in (slice(half, None), slice(half))
    )
    return Cell(own, trees, plan.num_starts, 0 if own.exact else plan.num_reference, true, after, before)
