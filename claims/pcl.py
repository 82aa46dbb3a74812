"""Post-completion learning: untouched seeds, settings and expectation frozen before, equal generated tokens.

PCL (arXiv:2507.20252; 1.5B to 8B, three data sets) is said to gain 5 to 10 points of accuracy at unchanged inference cost; its
released consistency reward pays the false claim of success and not the truth of failure. Here the same mechanisms on chains
with a network from scratch: what can transfer is which reward keeps a self-evaluation honest and that inference is not longer,
not the gain. Departures: `recipes/pcl`, whose EXPECTATION was written before these seeds.
"""

from __future__ import annotations

import math

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (761, 762, 763, 764, 765)
PAPER = "arXiv:2507.20252"
BUDGET = "recipes/pcl --size small: the same generated tokens for every arm of reinforcement learning, as measured"
GRPO, PCL, ONE, RELEASED, SFT = "SFT + GRPO", "PCL", "PCL, one advantage", "PCL, released reward", "PCL-SFT"
CLAIMS = (
    Claim("pcl_inference_not_longer", PAPER, "A policy trained past its end writes at most half a token more before it than one that is not.",
          GRPO, "inference tokens, control minus arm", "above -.5: the format fixes the length", SEEDS, BUDGET, -0.5),
    Claim("pcl_accuracy_above_grpo", PAPER, "Post-completion learning answers better than GRPO at equal generated tokens.",
          GRPO, "accuracy", "two-sided: it pays for tokens behind the end, and gets fewer updates", SEEDS, BUDGET),
    Claim("pcl_proper_reward_tells_apart", PAPER, "A proper consistency reward tells right from wrong attempts better than the released one.",
          RELEASED, "auroc of the predicted reward", "above", SEEDS, BUDGET),
    Claim("pcl_proper_reward_calibrates", PAPER, "A proper consistency reward leaves a smaller calibration error than the released one.",
          RELEASED, "ece on the demonstrator's attempts, control minus arm", "above: the released one teaches to claim success", SEEDS, BUDGET),
    Claim("pcl_reinforced_evaluation", PAPER, "Consistency rewards tell right from wrong attempts better than the evaluation track alone.",
          SFT, "auroc of the predicted reward", "two-sided: few attempts stay wrong", SEEDS, BUDGET),
    Claim("pcl_split_accuracy", "ours", "Advantages by span answer better than one advantage for all tokens.",
          ONE, "accuracy", "two-sided: nothing was expected", SEEDS, BUDGET),
    Claim("pcl_split_auroc", "ours", "Advantages by span tell right from wrong attempts better than one advantage for all tokens.",
          ONE, "auroc of the predicted reward", "above: an evaluation of a wrong answer is not punished for it", SEEDS, BUDGET),
)  # fmt: skip
# Each claim's column, and its sign.
SIDES = {
    "pcl_inference_not_longer": ("inference tokens", -1),
    "pcl_accuracy_above_grpo": ("accuracy", 1),
    "pcl_proper_reward_tells_apart": ("auroc", 1),
    "pcl_proper_reward_calibrates": ("ece, same attempts", -1),
    "pcl_reinforced_evaluation": ("auroc", 1),
    "pcl_split_accuracy": ("accuracy", 1),
    "pcl_split_auroc": ("auroc", 1),
}


def measure(claim: Claim, size: str = "small", out: str = "runs/pcl") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, t-interval over seeds; and the mean cost of the arm.

    A seed in which a policy says nothing that can be read makes the difference NaN, and the verdict inconclusive.
    """
    from stepcredit.recipes._rl import mean_cost
    from stepcredit.recipes.pcl import results

    column, sign = SIDES[claim.slug]
    found = results(size, claim.seeds, [PCL, claim.control], out=out)
    nan = Estimate(math.nan, math.nan, math.nan, 0, "")
    first, second = ([one.estimates.get(column, nan).value for one in found[name]] for name in (PCL, claim.control))
    differences = [sign * (a - b) for a, b in zip(first, second, strict=True)]
    return over_seeds(differences, claim.metric), mean_cost(found[PCL])
