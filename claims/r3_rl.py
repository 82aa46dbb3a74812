"""Starts on demonstrations against starts at the prompt: untouched seeds, settings and expectation frozen before, equal generated tokens.

R3 (arXiv:2402.05808; Llama2-7B, eight tasks) reports +4.1 over outcome reinforcement learning and +5.4 over fine-tuning; on a chain
of 16 parities AdaBack (arXiv:2506.18110; Llama-3.2-1B) reports fine-tuning, outcome learning and both stuck, R3 at .8 after 16,000
updates and itself near 1 after 700. Here a language model of 4 x 10^4 parameters on chains of 4, 6 and 8 bits, none of which depends
on another. Departures: `recipes/r3_rl`, whose EXPECTATION was written before these seeds. What can transfer is how cost grows with
length where success from the prompt is a product of chances; nothing is said of where imitation fails, as here it does not.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (700, 701, 702, 703, 704)
R3, ADABACK = "arXiv:2402.05808", "arXiv:2506.18110"
BUDGET = "recipes/r3_rl --size small: the same generated tokens for all arms of a length"
SEEDS_LONG = (705, 706, 707, 708, 709)
LONG = "recipes/r3_rl --size long: 32, 48, 128 batches at 4, 6, 8 lines, the same tokens for both arms of a length"
SUCCESS = "success from the prompt, new problems"
# Slug: the arms compared, first minus second, and the length (None: the longest).
PAIRS: dict[str, tuple[str, str, bool]] = {
    "starts_above_scratch": ("mix", "scratch", True),
    "starts_even_on_short_chains": ("mix", "scratch", False),
    "scratch_even_on_short_chains": ("scratch", "mix", False),
    "starts_above_imitation": ("mix", "imitation", True),
    "mix_above_stages": ("mix", "staged", True),
    "adaptive_above_mix": ("adaptive", "mix", True),
    "prompt_among_the_starts": ("mix", "mix, no scratch", True),
}
CLAIMS = (
    Claim("starts_above_scratch", R3, "On the longest chains the mix of all starts ends above reinforcement learning from the prompt (SFT+RL).",
          "scratch", SUCCESS, "above", SEEDS, BUDGET),
    Claim("starts_even_on_short_chains", R3, "On the shortest chains the mix ends no more than .15 below reinforcement learning from the prompt.",
          "scratch", SUCCESS, "above -.15: all tie where success from the prompt is not rare", SEEDS, BUDGET, -0.15),
    Claim("scratch_even_on_short_chains", R3, "On the shortest chains reinforcement learning from the prompt ends no more than .15 below the mix.",
          "mix", SUCCESS, "above -.15: all tie where success from the prompt is not rare", SEEDS, BUDGET, -0.15),
    Claim("scratch_cost_grows_faster", R3, "With every line more, the tokens to a success of .5 double more often from the prompt than with mixed starts.",
          "mix", "doublings of tokens a line, scratch minus mix; never is the budget", "above", SEEDS, BUDGET),
    Claim("starts_cost_is_quadratic_in_tokens", R3,
          "Mixed starts reach .5 in attempts about linear in length, so at most four times the tokens at twice the length: half a doubling a line.",
          "half a doubling a line", "half minus the mix's doublings a line", "below: on seed 1 it was .7", SEEDS, BUDGET),
    Claim("starts_above_imitation", R3, "On the longest chains the mix ends above imitating the very demonstrations it starts on.",
          "imitation", SUCCESS, "below: words are all there is to learn here, and a demonstration tells them", SEEDS, BUDGET),
    Claim("mix_above_stages", R3, "On the longest chains the mix ends above one stage after another.",
          "staged", SUCCESS, "two-sided: even on seed 1", SEEDS, BUDGET),
    Claim("stages_forget", R3, "Success from a start falls, one stage after its own, by more under stages than under the mix at the same tokens.",
          "mix", "fall in success from a start", "below: later stages still write the last lines", SEEDS, BUDGET),
    Claim("adaptive_above_mix", ADABACK, "On the longest chains adaptive starts end above the mix.",
          "mix", SUCCESS, "two-sided", SEEDS, BUDGET),
    Claim("prompt_among_the_starts", R3, "On the longest chains the mix with the prompt among its starts ends above the mix without it.",
          "mix, no scratch", SUCCESS, "above: the first line is trained from the prompt alone", SEEDS, BUDGET),
    Claim("scratch_cost_grows_faster_long", R3, "At a budget that 8 lines need, the tokens to a success of .5 double more often with every line from the prompt than with mixed starts.",
          "mix", "doublings of tokens a line, scratch minus mix; never is the budget", "above", SEEDS_LONG, LONG),
    Claim("starts_cost_is_quadratic_in_tokens_long", R3,
          "At a budget that 8 lines need, mixed starts reach .5 in at most four times the tokens at twice the length: half a doubling a line.",
          "half a doubling a line", "half minus the mix's doublings a line", "two-sided: .4 to .6", SEEDS_LONG, LONG),
)  # fmt: skip


def measure(claim: Claim, size: str = "", out: str = "runs/r3_rl") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of its first arm."""
    from stepcredit.recipes._r3_rl_run import growth, slopes
    from stepcredit.recipes._rl import mean_cost, paired
    from stepcredit.recipes.r3_rl import SIZES, results

    size = size or ("long" if claim.budget == LONG else "small")
    lengths = SIZES[size].lengths
    if claim.slug in PAIRS:
        one, other, longest = PAIRS[claim.slug]
        at = max(lengths) if longest else min(lengths)
        found = results(size, claim.seeds, [(one, at), (other, at)], out=out)
        first, second = found[f"{one} ({at})"], found[f"{other} ({at})"]
        return paired(first, second, "success", f"success at {at} lines, {one} minus {other}"), mean_cost(first)
    if claim.slug == "stages_forget":
        found = results(size, claim.seeds, [("staged", max(lengths)), ("mix", max(lengths))], out=out)
        first, second = found.values()
        return paired(first, second, "forgotten", "fall in success, staged minus mix"), mean_cost(first)
    found = results(size, claim.seeds, [(arm, length) for arm in ("scratch", "mix") for length in lengths], out=out)
    cost = mean_cost(found[f"mix ({max(lengths)})"])
    if claim.slug.startswith("scratch_cost_grows_faster"):
        return growth(found, lengths, 0.5), cost
    return over_seeds([0.5 - slope for slope in slopes(found, "mix", lengths, 0.5)], "doublings of tokens a line"), cost
