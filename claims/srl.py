"""Supervised reinforcement learning where outcomes are silent: untouched seeds, equal generated tokens, paired by seed.

SRL (arXiv:2510.25992; 7 B) reports, as means over four benchmarks: base 24.6, SFT 16.6, RLVR 24.5, SRL 27.6, SRL then RLVR 28.3;
without dynamic sampling 24.7; similarity of the whole solution 25.9. Here a policy of 10^5 parameters on chains it loses its way
in. Departures: `recipes/srl`, whose EXPECTATION was written before these seeds. The first seven have one start policy for all
seeds; "_own_starts" are the main ones once more, on fresh seeds with a start policy each.
"""

from __future__ import annotations

from _claim import Claim, minus

from stepcredit.core.types import Estimate

SEEDS = (950, 951, 952, 953, 954)
FRESH = (955, 956, 957, 958, 959)
BUDGET = "recipes/srl --size small: every arm stops at the same generated tokens, dropped groups counted; SFT at equal updates"
PAPER = "arXiv:2510.25992"
CLAIMS = (
    Claim("srl_above_rlvr", PAPER, "SRL is right on more hard problems than RLVR (one start policy for all seeds).", "rlvr", "hard", "above", SEEDS, BUDGET),
    Claim("srl_rlvr_above_base", PAPER, "RLVR is right on more hard problems than the start policy (one start policy for all seeds).", "base", "hard",
          "two-sided: level, as no attempt is right", SEEDS, BUDGET),
    Claim("srl_then_rlvr_above_srl", PAPER, "SRL then RLVR, half of the tokens each, is right on more hard problems than SRL (one start policy for all seeds).",
          "srl", "hard", "above", SEEDS, BUDGET),
    Claim("srl_above_srl_all", PAPER, "SRL is right on more hard problems with dynamic sampling than without (one start policy for all seeds).", "srl all", "hard",
          "two-sided: dropped groups are paid for", SEEDS, BUDGET),
    Claim("srl_above_srl_whole", PAPER, "SRL a step at a time is right on more hard problems than similarity of whole solutions (one start policy for all seeds).",
          "srl whole", "hard", "above", SEEDS, BUDGET),
    Claim("srl_above_sft", PAPER, "SRL is right on more hard problems than SFT on the same traces (one start policy for all seeds).", "sft", "hard",
          "two-sided: a policy from scratch learns traces readily", SEEDS, BUDGET),
    Claim("srl_sft_below_base_on_easy", PAPER, "SFT on the expert's traces loses accuracy on easy problems (one start policy for all seeds).", "sft", "easy",
          "two-sided: nothing was expected", SEEDS, BUDGET),
    Claim("srl_above_rlvr_own_starts", PAPER, "SRL is right on more hard problems than RLVR, each seed from its own start policy.",
          "rlvr", "hard", "above", FRESH, BUDGET),
    Claim("srl_above_srl_whole_own_starts", PAPER, "SRL a step at a time is right on more hard problems than similarity of whole "
          "solutions, each seed from its own start policy.", "srl whole", "hard", "above", FRESH, BUDGET),
    Claim("srl_above_sft_own_starts", PAPER, "SRL is right on more hard problems than SFT on the same traces, each seed from its own "
          "start policy.", "sft", "hard", "above: SFT has only begun at as many updates", FRESH, BUDGET),
)  # fmt: skip
# What each claim subtracts: (arm, arm it is compared with). "On easy" is base minus SFT, so that "holds" is a loss.
ROWS = {
    "srl_above_rlvr": ("srl", "rlvr"),
    "srl_rlvr_above_base": ("rlvr", "base"),
    "srl_then_rlvr_above_srl": ("srl -> rlvr", "srl"),
    "srl_above_srl_all": ("srl", "srl all"),
    "srl_above_srl_whole": ("srl", "srl whole"),
    "srl_above_sft": ("srl", "sft"),
    "srl_sft_below_base_on_easy": ("base", "sft"),
    "srl_above_rlvr_own_starts": ("srl", "rlvr"),
    "srl_above_srl_whole_own_starts": ("srl", "srl whole"),
    "srl_above_sft_own_starts": ("srl", "sft"),
}
EACH = {claim.slug for claim in CLAIMS if claim.seeds == FRESH}


def measure(claim: Claim, size: str = "small", out: str = "runs/srl") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of the first arm."""
    from stepcredit.recipes.srl import results

    first, second = ROWS[claim.slug]
    found = results(size, claim.seeds, [first, second], out=out, starts="each" if claim.slug in EACH else "one")
    return minus(found, first, second, claim.metric)
