"""ToolPO: credit for calls on the calls alone, against success alone and against the same rewards on all tokens.

ToolPO (DeepAgent, arXiv:2510.21618; 32 B) reports, over four benchmarks, 48.1 with everything, 46.1 without attribution, 44.8 without the
simulator, 44.3 untrained. Departures: `recipes/toolpo`, whose EXPECTATION was written before these seeds.
"""

from __future__ import annotations

from _claim import Claim, minus

from stepcredit.core.types import Estimate

SEEDS = (740, 741, 742, 743, 744)
BUDGET = "recipes/toolpo --size small: equal generated tokens an arm, tested on the unreliable store"
AGAIN = (745, 746, 747, 748, 749)
DATABASE = "recipes/toolpo --size sqlite: equal generated tokens an arm, tested on the unreliable database"
LIMITED = (
    "recipes/toolpo --size folds: equal generated tokens an arm, 64 tokens of context, tested under the same limit"
)
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
    Claim("toolpo_sqlite_above_success", PAPER, "On a database, attribution to calls learns more than success alone.",
          "success, on the tool", "success", "above", AGAIN, DATABASE),
    Claim("toolpo_sqlite_above_all_tokens", PAPER, "On a database, the same rewards are better on the calls alone than on all tokens.",
          "all tokens, on the tool", "success", "above (paper: +2.0 over no attribution)", AGAIN, DATABASE),
    Claim("toolpo_sqlite_sounder_calls", PAPER, "On a database, attribution makes more of the calls sound than success alone does.",
          "success, on the tool", "sound calls", "above", AGAIN, DATABASE),
    Claim("toolpo_sqlite_per_call", "ours", "On a database, an advantage for each call makes more of them sound than the attempt's on all.",
          "toolpo, on the tool", "sound calls", "above", AGAIN, DATABASE),
    Claim("toolpo_simulated_above_success", PAPER, "Trained in the simulator, attribution to calls is better on the tool than success alone.",
          "success, in the simulator", "success", "level", AGAIN, BUDGET),
    Claim("toolpo_simulated_above_all_tokens", PAPER, "Trained in the simulator, the same rewards are better on the calls alone than on all tokens.",
          "all tokens, in the simulator", "success", "level", AGAIN, BUDGET),
    Claim("simulator_success_above_tool", PAPER, "Success alone in the clean simulator does better on the unreliable tool than success alone there.",
          "success, on the tool", "success", "below: nothing is busy in the simulator", AGAIN, BUDGET),
    Claim("toolpo_folds_above_cut", PAPER, "Under a context limit, ToolPO with memory folds does better than with episodes cut there.",
          "toolpo, cut", "success", "above (paper: +3.9 by folding)", AGAIN, LIMITED),
    Claim("toolpo_folds_learn", PAPER, "ToolPO raises the success of folded episodes, each fold trained under its own prompt.",
          "start", "success", "above", AGAIN, LIMITED),
)  # fmt: skip
ARM_OF = {"simulator_above_tool": "toolpo, in the simulator", "toolpo_sqlite_per_call": "per call, on the tool",
          "toolpo_simulated_above_success": "toolpo, in the simulator", "toolpo_simulated_above_all_tokens": "toolpo, in the simulator",
          "simulator_success_above_tool": "success, in the simulator",
          "toolpo_folds_above_cut": "toolpo, folds", "toolpo_folds_learn": "toolpo, folds"}  # fmt: skip


def measure(claim: Claim, size: str = "", out: str = "runs/toolpo") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of its arm."""
    from stepcredit.core.stats import over_seeds
    from stepcredit.recipes._rl import mean_cost
    from stepcredit.recipes.toolpo import results

    arm = ARM_OF.get(claim.slug, "toolpo, on the tool")
    size = size or {DATABASE: "sqlite", LIMITED: "folds"}.get(claim.budget, "small")
    found = results(size, claim.seeds, [arm, *([] if claim.control == "start" else [claim.control])], out=out)
    if claim.control == "start":
        gains = [one.estimates[claim.metric].value - one.curve[0][claim.metric] for one in found[arm]]
        return over_seeds(gains, f"{claim.metric}, {arm} minus start"), mean_cost(found[arm])
    return minus(found, arm, claim.control, claim.metric)
