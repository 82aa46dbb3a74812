"""SPRM on the chain world: what MetaStone-S1 says of aggregation, attempts, the filter and joint training.

The paper (arXiv:2507.01951; 1.5 B to 32 B, competition mathematics) reports at best of 8 on AIME24 / AIME25 / HMMT25:
geometric 53.1 / 35.7 / 21.5, arithmetic 52.9 / 35.2 / 21.1, product 44.2 / 31.1 / 17.9; all steps 53.1 against 48.5 for
the last step alone; 53.1, then 57.9 from best of 8 to best of 32; the filter "consistently" above plain BCE, without
numbers; and joint training that costs the policy nothing. Here a network of 200,000 parameters writes and judges
arithmetic chains (departures: `recipes/sprm`). What can transfer is the order of mechanisms, not a number. The first
five claims are measured on one pool per seed, of the policy before any reinforcement, so that no two judges choose
among different attempts; heads are alike in size, start, attempts and updates.
Written before the first run at size small; nothing has been tuned on the five seeds.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (300, 301, 302, 303, 304)
PAPER = "arXiv:2507.01951"
BUDGET = (
    "recipes/sprm --size small: the same attempts and updates for every head, the same rollouts for every joint arm"
)
HEAD = "frozen_released"
POINT = 0.01  # what "no worse" leaves to chance, in accuracy
CLAIMS = (
    Claim("geometric_no_worse_than_arithmetic", PAPER, "The geometric mean of step scores picks no worse than the arithmetic.",
          "arithmetic mean", "best of 8", "within a point of each other (paper: +0.2 to +0.5 points)", SEEDS, BUDGET, -POINT),
    Claim("arithmetic_above_product", PAPER, "The arithmetic mean of step scores picks better than their product.",
          "product", "best of 8", "above: the product favours short attempts (paper: +3.2 to +8.7 points)", SEEDS, BUDGET),
    Claim("all_steps_above_last", PAPER, "A head taught and read on all steps picks better than one on the last step alone.",
          "frozen_last", "best of 8", "not above: an outcome is read off the last step most easily (paper: +4.6 points)", SEEDS,
          BUDGET),
    Claim("eight_above_two", PAPER, "Medium, best of 8, is better than low, best of 2.",
          "best of 2", "accuracy", "above, if the head ranks better than chance", SEEDS, BUDGET),
    Claim("thirty_two_above_eight", PAPER, "High, best of 32, is better than medium, best of 8.",
          "best of 8", "accuracy", "above, by less than from 2 to 8; a slip that the head does not see may turn it round", SEEDS,
          BUDGET),
    Claim("filter_above_bce", PAPER, "The self-supervised filter teaches a better head than plain BCE on every step.",
          "frozen_bce", "best of 8", "two-sided, expected even or behind: it drops the steps the head was wrong on", SEEDS,
          BUDGET),
    Claim("joint_keeps_policy", PAPER, "At gradient scale 1e-4 the head does not hurt the policy it shares.",
          "grpo_alone", "accuracy of one attempt", "no difference beyond two points, the spread of two runs of GRPO", SEEDS,
          BUDGET, -2 * POINT),
)  # fmt: skip
# Each claim's two numbers, as (arm, estimate): the first minus the second, paired by seed.
PAIRS = {
    "geometric_no_worse_than_arithmetic": ((HEAD, "best_of_8 by geometric_mean"), (HEAD, "best_of_8 by mean")),
    "arithmetic_above_product": ((HEAD, "best_of_8 by mean"), (HEAD, "best_of_8 by product")),
    "all_steps_above_last": ((HEAD, "best_of_8 by geometric_mean"), ("frozen_last", "best_of_8 by last")),
    "eight_above_two": ((HEAD, "best_of_8 by geometric_mean"), (HEAD, "best_of_2 by geometric_mean")),
    "thirty_two_above_eight": ((HEAD, "best_of_32 by geometric_mean"), (HEAD, "best_of_8 by geometric_mean")),
    "filter_above_bce": ((HEAD, "best_of_8 by geometric_mean"), ("frozen_bce", "best_of_8 by geometric_mean")),
    "joint_keeps_policy": (("joint", "random_of_1"), ("grpo_alone", "random_of_1")),
}


def measure(claim: Claim, size: str = "small", out: str = "runs/sprm") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of its arm.

    A seed whose filter collapsed has no number: the difference is NaN, and the verdict inconclusive.
    """
    from stepcredit.recipes.sprm import arm_results

    (arm, name), (control, other) = PAIRS[claim.slug]
    found = arm_results(size, claim.seeds, arms=list(dict.fromkeys([arm, control])), out=out)
    nan = Estimate(float("nan"), float("nan"), float("nan"), 0, "")
    differences = [
        one.estimates.get(name, nan).value - two.estimates.get(other, nan).value
        for one, two in zip(found[arm], found[control], strict=True)
    ]
    costs = [one.cost for one in found[arm] if one.cost]
    cost = {key: sum(each[key] for each in costs) / len(costs) for key in costs[0]} if costs else {}
    return over_seeds(differences, f"{claim.metric}, difference in accuracy"), cost
