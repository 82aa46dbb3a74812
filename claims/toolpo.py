"""ToolPO: credit for calls on the calls alone, against success alone and against the same rewards on all tokens.

ToolPO (DeepAgent, arXiv:2510.21618; 32 B) reports, over four benchmarks, 48.1 with everything, 46.1 without attribution, 44.8 without the
simulator, 44.3 untrained. Departures: `recipes/toolpo`, whose EXPECTATION was written before these seeds.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.types import Estimate

SEEDS = (740, 741, 742, 743, 744)
BUDGET = "recipes/toolpo --size small: equal generated tokens an arm, tested on the unreliable store"
PAPER = "arXiv:2510.21618"
CLAIMS = (
    Claim("toolpo_above_success", PAPER, "Trained on the tool, attribution to calls learns more than success alone.",
          "success, on the tool", "success", "above (paper: +2.0 over no attribution)", SEEDS, BUDGET),
    Claim("toolpo_above_all_tokens", PAPER, "The same rewards are better on the calls alone than on all tokens.",
          "all tokens, on the tool", "success", "above", SEEDS, BUDGET),
    Claim("toolpo_sounder_calls", PAPER, "Attribution makes more of the calls sound than success alone does.",
          "success, on the tool", "sound calls", "above", SEEDS, BUDGET),
    Claim("simulator_above_tool", PAPER, "On the unreliable tool, what was trained in the clean simulator does better than what was trained there.",
          "toolpo, on the tool", "success", "two-sided (paper: simulator +3.3)", SEEDS, BUDGET),
)  # fmt: skip


def measure(claim: Claim, size: str = "small", out: str = "runs/toolpo") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of its arm."""
    from stepcredit.recipes._rl import mean_cost, paired
    from stepcredit.recipes.toolpo import results

    arm = "toolpo, in the simulator" if claim.slug == "simulator_above_tool" else "toolpo, on the tool"
    found = results(size, claim.seeds, [arm, claim.control], out=out)
    gap = paired(found[arm], found[claim.control], claim.metric, f"{claim.metric}, {arm} minus {claim.control}")
    return gap, mean_cost(found[arm])
