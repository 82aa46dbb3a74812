"""R3's values on exact worlds: untouched seeds, settings and expectation frozen before.

R3 (arXiv:2402.05808) reports what training from such starts gives (+4.1 over reinforcement learning on eight tasks) and
keeps no values; AdaBack (arXiv:2506.18110) reports the training its moving border gives. So the statements are ours, those
of `recipes/r3.EXPECTATION`. The worlds are those whose values are known in closed form. What can transfer is which way each
comparison falls where a policy's errors are concentrated on a few steps, not a number.
"""

from __future__ import annotations

import math

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (660, 661, 662, 663, 664)
PAPER = "arXiv:2402.05808"
BUDGET = "recipes/r3 --size small: 100 demonstrations a seed (40 lucky ones), the same continuations for every arm"
OWN, LENGTH, ANY = "r3, 8 a start", "null: length of the rest", "null: any step"
LUCKY = "lucky demonstrations"
CLAIMS = (
    Claim("start_values_beat_length", PAPER, "Eight continuations a start value it better than the length of the rest does (world habits).",
          LENGTH, "root mean squared error against exact values", "above: the control's error is larger", SEEDS, BUDGET),
    Claim("rises_find_hard_steps", PAPER,
          "The step where the success rate rises most holds over twice the first errors of the policy's wrong attempts that any step does (habits).",
          ANY, "share of first errors at the step found", "above twice the control's", SEEDS, BUDGET),
    Claim("reveal_halves_tokens", "arXiv:2506.18110",
          "Adaptive reveal finds .95 of the borders for less than half of the tokens of restarting everywhere, each at its cheapest setting by the truth, seed by seed (world lucky).",
          "border: everywhere", "tokens at .95, log2 of the ratio", "above 1; at its stated .05 reveal is right 1.00 of the time, for more", SEEDS, BUDGET, 1.0),
    Claim("luck_is_paid", "ours",
          "On a demonstration that is right by luck the largest rise is at a wrong step more often than a step is wrong (world lucky).",
          "wrong steps", "share of demonstrations, share of steps", "above, and hardly otherwise: a step back to the right number by luck takes the value from near chance to that of a sound start", SEEDS, BUDGET),
)  # fmt: skip
# Each claim's world, its arm and the control, each with the number that is read.
SIDES = {
    "start_values_beat_length": ("habits", (OWN, "value error"), (LENGTH, "value error")),
    "rises_find_hard_steps": ("habits", (OWN, "errors found"), (ANY, "errors found")),
    "reveal_halves_tokens": ("lucky", ("border: reveal", "tokens at 0.95"), ("border: everywhere", "tokens at 0.95")),
    "luck_is_paid": ("lucky", (LUCKY, "rise at a wrong step"), (LUCKY, "wrong steps")),
}
TIMES = {"rises_find_hard_steps": 2.0}
# The dial is read off continuations that were grown for all; these rollouts reveal grew itself.
COST = {"border: reveal": "border: rollout/reveal at 0.05"}


def measure(claim: Claim, size: str = "small", out: str = "runs/r3") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, t-interval; and the mean cost of its arm.

    A seed that lacks a number (a method that is never right often enough) makes it NaN, and the verdict inconclusive.
    """
    from stepcredit.recipes.r3 import cells

    world, (arm, column), (control, other) = SIDES[claim.slug]
    arms = cells(size, claim.seeds, [world], out=out)[world]
    nan = Estimate(math.nan, math.nan, math.nan, 0, "")
    pairs = [(one.estimates.get(column, nan).value, two.estimates.get(other, nan).value)
             for one, two in zip(arms[arm], arms[control], strict=True)]  # fmt: skip
    if claim.slug == "reveal_halves_tokens":
        found = over_seeds([math.log2(b / a) for a, b in pairs], "log2 of tokens, restarting everywhere over reveal")
    else:
        sign, times = (-1.0, 1.0) if claim.slug == "start_values_beat_length" else (1.0, TIMES.get(claim.slug, 1.0))
        found = over_seeds([sign * (a - times * b) for a, b in pairs], claim.metric)
    costs = (
        [one.cost for one in arms[COST.get(arm, arm)]] if arm != LUCKY else [{}]
    )  # read off continuations not counted there
    return found, {name: sum(one[name] for one in costs) / len(costs) for name in costs[0]} if costs[0] else {}
