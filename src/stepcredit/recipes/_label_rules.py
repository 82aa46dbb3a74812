"""A world of two states in which label rules can be scored exactly: attempts that slip, and wrong prefixes that recover.

    P(sound -> broken) = slip,   P(broken -> sound) = recovery,   at every step; right iff sound at the end of T steps
    v_T(s) = [s is sound],   v_j(s) = sum_s' P(s -> s') v_(j+1)(s')          value of a state after j steps

Steps are judged up to and including the first slip: those before it are sound, the slip is not. Balanced accuracy is the
mean of a rule's accuracy on the two. Values are measured as success rates of M continuations a step and of M attempts at
the prompt; the last step's is its outcome. With M known and continuations independent the expectation has a closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.types import Credit, Floats, Outcome, Problem, Step, Tree
from stepcredit.credit.monte_carlo import monte_carlo
from stepcredit.credit.relative_progress import relative_progress

PROBLEM, PROMPT = Problem("chain", "chain"), Step("chain", kind="prompt", sampled=False)
STEP, CONTINUATION = Step("step"), Step("continuation")
RIGHT, WRONG = Outcome(reward=1.0, correct=True), Outcome(reward=0.0, correct=False)
Labels = Callable[[Tree, Credit, float], Floats]  # a tree, its values and the prompt's, to labels [N]


@dataclass(frozen=True)
class World:
    """Steps T, chance of a slip, chance that a broken state recovers in a step."""

    num_steps: int = 8
    slip: float = 0.08
    recovery: float = 0.1

    def __post_init__(self) -> None:
        if self.num_steps < 1 or not 0 <= self.slip <= 1 or not 0 <= self.recovery <= 1:
            raise ValueError(f"{self}; allowed: 1 step or more, chances in [0, 1]")

    def values(self) -> tuple[Floats, Floats]:
        """Value after 0..T steps of a sound and of a broken state, [T + 1] each."""
        sound_J, broken_J = np.zeros(self.num_steps + 1), np.zeros(self.num_steps + 1)
        sound_J[-1] = 1.0
        for j in range(self.num_steps - 1, -1, -1):
            sound_J[j] = (1 - self.slip) * sound_J[j + 1] + self.slip * broken_J[j + 1]
            broken_J[j] = self.recovery * sound_J[j + 1] + (1 - self.recovery) * broken_J[j + 1]
        return sound_J, broken_J


@dataclass(frozen=True)
class Tally:
    """Judged steps of one draw: how many were sound and slips, and how many of each were labelled so."""

    num_sound: int
    num_slip: int
    right_sound: int
    right_slip: int

    @property
    def measures(self) -> dict[str, float]:
        """Accuracy on sound steps and on slips, their mean, and the share of judged steps labelled sound; NaN without any."""
        on_sound = self.right_sound / self.num_sound if self.num_sound else float("nan")
        on_slip = self.right_slip / self.num_slip if self.num_slip else float("nan")
        positive = (self.right_sound + self.num_slip - self.right_slip) / (self.num_sound + self.num_slip)
        return {"balanced": (on_sound + on_slip) / 2, "sound": on_sound, "slip": on_slip, "positive": positive}


def attempt(world: World, num_rollouts: int, rng: Rng) -> tuple[Tree, Tree, int, float]:
    """One attempt alone and with `num_rollouts` continuations behind each step but its last, its first slip (T: none), and
    the success rate of as many other attempts at the prompt.
    """
    sound_J, broken_J = world.values()
    state_S, state = [], True
    for uniform in rng.random(world.num_steps).tolist():
        state = uniform >= world.slip if state else uniform < world.recovery
        state_S.append(state)
    value_S = np.where(state_S, sound_J[1:], broken_J[1:])
    right_SM = rng.random((world.num_steps - 1, num_rollouts)) < value_S[:-1, None]
    parents = [*range(-1, world.num_steps), *np.repeat(np.arange(1, world.num_steps), num_rollouts).tolist()]
    outcomes = (*[None] * world.num_steps, RIGHT if state_S[-1] else WRONG)
    alone = Tree(PROBLEM, (PROMPT, *[STEP] * world.num_steps), np.array(parents[: world.num_steps + 1]), outcomes)
    grown = Tree(
        PROBLEM, (*alone.steps, *[CONTINUATION] * right_SM.size), np.array(parents),
        (*outcomes, *(RIGHT if right else WRONG for right in right_SM.ravel().tolist())),
        group_N=np.array([*[0] * alone.num_nodes, *range(1, right_SM.size + 1)]),
    )  # fmt: skip
    first_slip = world.num_steps if all(state_S) else state_S.index(False)
    return alone, grown, first_slip, float(np.mean(rng.random(num_rollouts) < sound_J[0]))


def tallies(
    world: World, num_rollouts: int, num_attempts: int, rules: Mapping[str, Labels], rng: Rng
) -> dict[str, Tally]:
    """What each rule makes of the same attempts, with the same continuations.

    Continuations stand behind the attempt's own nodes, so their values cut to its length are the attempt's.
    """
    count = {name: np.zeros(4, dtype=np.int64) for name in rules}
    for _ in range(num_attempts):
        tree, grown, slip, start = attempt(world, num_rollouts, rng)
        values = monte_carlo(grown)
        values = replace(values, values_N=values.values_N[: tree.num_nodes], weight_N=values.weight_N[: tree.num_nodes])
        for name, labels in rules.items():
            label_S = labels(tree, values, start)[1:]
            before, at = label_S[:slip], label_S[slip : slip + 1]
            count[name] += [len(before), len(at), int(np.sum(before == 1)), int(np.sum(at == 0))]
    return {name: Tally(*found.tolist()) for name, found in count.items()}


def by_rule(**knobs: Any) -> Labels:
    """The labels of `credit/relative_progress`, the prompt's value given."""

    def labels(tree: Tree, values: Credit, start: float) -> Floats:
        found: Credit = relative_progress(tree, values=values, first="given", start=start, **knobs)
        return found.values_N

    return labels


def only_at_zero(alpha: float, num: int = 4) -> Labels:
    """Rel-Effective as it is printed: wrong where Q + alpha A is exactly 0, right even where it is below."""

    def labels(tree: Tree, values: Credit, start: float) -> Floats:
        after_N = values.values_N
        before_N = np.where(tree.parent_N == 0, start, after_N[tree.parent_N])
        effective_N = after_N + alpha * ((1 - before_N) ** num - (1 - after_N) ** num)
        return np.where(np.abs(effective_N) <= 1e-9, 0.0, 1.0)

    return labels


def exact(world: World, num_rollouts: int, rule: Callable[[Floats, Floats], Floats], *, dead: bool) -> dict[str, float]:
    """Expected accuracies of a rule on values before and after, [n] each; `dead`: all is wrong after a value of 0.

    Values of successive steps are independent binomials, given which steps are sound.
    """
    sound_J, broken_J = world.values()
    rate_M = np.arange(num_rollouts + 1) / num_rollouts
    label_MM = rule(np.repeat(rate_M, num_rollouts + 1), np.tile(rate_M, num_rollouts + 1)).reshape(len(rate_M), -1)
    right, mass, alive = np.zeros(2), np.zeros(2), 1.0  # of sound steps and of slips; alive: no value of 0 before
    for j in range(1, world.num_steps + 1):
        before_M = _binomial(num_rollouts, sound_J[j - 1])
        if dead and j > 1:
            before_M[0] = 0.0
        for index, value in enumerate((sound_J[j], broken_J[j])):
            weight = (1 - world.slip) ** (j - 1) * (world.slip if index else 1 - world.slip)
            labelled = alive * float(before_M @ label_MM @ _binomial(num_rollouts, value))
            mass[index] += weight
            right[index] += weight * (1 - labelled if index else labelled)
        if j > 1:
            alive *= float(before_M.sum()) if dead else 1.0
    on_sound, on_slip = right / mass
    return {"balanced": float(on_sound + on_slip) / 2, "sound": float(on_sound), "slip": float(on_slip),
            "positive": float((right[0] + mass[1] - right[1]) / mass.sum())}  # fmt: skip


def _binomial(num: int, chance: float) -> Floats:
    """P(0..num successes), [num + 1]."""
    law_M = np.ones(1)
    for _ in range(num):
        law_M = np.append(law_M * (1 - chance), 0.0) + np.append(0.0, law_M * chance)
    return law_M
