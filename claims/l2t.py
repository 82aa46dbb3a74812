"""Rewards of information gain for thinking to the point: untouched seeds, equal generated tokens in training, paired by seed.

L2T (arXiv:2505.10425; 1.5 B, average of five benchmarks) reports accuracy 57.8 against GRPO's 55.0 and a length penalty's 50.8, at
about half of GRPO's tokens an attempt. The paper credits its compression penalty with about 12 % of the tokens. The gains of
an attempt add up to J(end) - J(start) whatever its steps, so that what is left to shorten is the mean over tokens. Here a policy
of 10^5 parameters that rechecks needlessly. Departures: `recipes/l2t`, whose EXPECTATION was written before these seeds. The
first eight have one start policy for all seeds; those of the fresh seeds have one each.
"""

from __future__ import annotations

from _claim import Claim, minus

from stepcredit.core.types import Estimate

SEEDS = (960, 961, 962, 963, 964)
FRESH = (965, 966, 967, 968, 969)
BUDGET = "recipes/l2t --size small: every arm stops training at the same generated tokens"
PAPER = "arXiv:2505.10425"
TOKENS = "tokens an attempt"
CLAIMS = (
    Claim("l2t_shorter_than_grpo", PAPER, "L2T (repaired) writes fewer tokens an attempt than GRPO (one start policy for all seeds).", "grpo", TOKENS,
          "two-sided; level on seed 1", SEEDS, BUDGET),
    Claim("l2t_accuracy_above_grpo", PAPER, "L2T (repaired) is more accurate than GRPO (one start policy for all seeds).", "grpo", "accuracy", "even or above",
          SEEDS, BUDGET),
    Claim("l2t_accuracy_above_penalty", PAPER, "L2T (repaired) is more accurate than GRPO with a length penalty (one start policy for all seeds).", "penalty",
          "accuracy", "two-sided", SEEDS, BUDGET),
    Claim("l2t_mean_shorter_than_sum", "ours", "With gains alone, the mean over tokens writes fewer tokens than the sum (one start policy for all seeds).", "sum",
          TOKENS, "above: 1 / tokens is where the saving comes from", SEEDS, BUDGET),
    Claim("l2t_shorter_than_mean", PAPER, "L2T (repaired) writes fewer tokens than the mean over tokens without penalty (one start policy for all seeds).", "mean",
          TOKENS, "two-sided: the mean is the stronger pressure", SEEDS, BUDGET),
    Claim("l2t_sum_shorter_than_grpo", "ours", "Gains added up, without penalty, write fewer tokens than GRPO (one start policy for all seeds).", "grpo", TOKENS,
          "even: they telescope", SEEDS, BUDGET),
    Claim("l2t_released_longer_than_grpo", "ours", "The released code's sum over tokens writes more tokens than GRPO (one start policy for all seeds).", "grpo",
          TOKENS, "above: a delta on every token pays for length", SEEDS, BUDGET),
    Claim("l2t_paper_accuracy_above_grpo", PAPER, "The paper's form A r / rbar is more accurate than GRPO (one start policy for all seeds).", "grpo", "accuracy",
          "below: signs turn round", SEEDS, BUDGET),
    Claim("l2t_shorter_than_grpo_own_starts", PAPER, "L2T (repaired) writes fewer tokens an attempt than GRPO, each seed from its own "
          "start policy.", "grpo", TOKENS, "not above: cheap rechecks are paid for", FRESH, BUDGET),
    Claim("l2t_mean_shorter_than_sum_own_starts", "ours", "With gains alone, the mean over tokens writes fewer tokens than the sum, "
          "each seed from its own start policy.", "sum", TOKENS, "above", FRESH, BUDGET),
    Claim("l2t_charged_shorter_than_grpo", "ours", "L2T with costs that are never a bonus writes fewer tokens an attempt than GRPO.",
          "grpo", TOKENS, "above, by a few tokens; seed 1: 32 against 37", FRESH, BUDGET),
    Claim("l2t_charged_shorter_than_full", "ours", "L2T with costs that are never a bonus writes fewer tokens than with costs that can "
          "be one.", "full", TOKENS, "above, by a few tokens", FRESH, BUDGET),
    Claim("l2t_mean_shorter_than_charged", "ours", "The mean over tokens without penalty writes fewer tokens than L2T with costs that "
          "are never a bonus.", "charged", TOKENS, "above: what is cheap to learn is charged little", FRESH, BUDGET),
    Claim("l2t_charged_accuracy_above_grpo", "ours", "L2T with costs that are never a bonus is more accurate than GRPO.", "grpo",
          "accuracy", "even", FRESH, BUDGET),
)  # fmt: skip
# What each claim subtracts: (arm, arm). Of tokens the longer arm stands first, so that "holds" is what is said.
ROWS = {
    "l2t_shorter_than_grpo": ("grpo", "full"),
    "l2t_accuracy_above_grpo": ("full", "grpo"),
    "l2t_accuracy_above_penalty": ("full", "penalty"),
    "l2t_mean_shorter_than_sum": ("sum", "mean"),
    "l2t_shorter_than_mean": ("mean", "full"),
    "l2t_sum_shorter_than_grpo": ("grpo", "sum"),
    "l2t_released_longer_than_grpo": ("released", "grpo"),
    "l2t_paper_accuracy_above_grpo": ("paper", "grpo"),
    "l2t_shorter_than_grpo_own_starts": ("grpo", "full"),
    "l2t_mean_shorter_than_sum_own_starts": ("sum", "mean"),
    "l2t_charged_shorter_than_grpo": ("grpo", "charged"),
    "l2t_charged_shorter_than_full": ("full", "charged"),
    "l2t_mean_shorter_than_charged": ("charged", "mean"),
    "l2t_charged_accuracy_above_grpo": ("charged", "grpo"),
}
EACH = {claim.slug for claim in CLAIMS if claim.seeds == FRESH}


def measure(claim: Claim, size: str = "small", out: str = "runs/l2t") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of the first arm."""
    from stepcredit.recipes.l2t import results

    first, second = ROWS[claim.slug]
    found = results(size, claim.seeds, [first, second], out=out, starts="each" if claim.slug in EACH else "one")
    return minus(found, first, second, claim.metric)
