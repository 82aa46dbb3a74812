"""Searching with a judge against choosing with it: sums and products written either way round, untouched seeds, equal generated tokens.

StepWiser (arXiv:2508.19229; 1.5 B and 7 B) reports chunk reset above its base policy (31.2 to 36.9, 57.4 to 63.3), not
against best of N at equal tokens; beam search is above best of N at small budgets and below at large ones in arXiv:2408.03314.
Here each search stands beside choosing with the same judge at the tokens it was measured to take. Departures:
`recipes/judge_search`, whose EXPECTATION was written before these seeds.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (640, 641, 642, 643, 644)
BUDGET = "recipes/judge_search --size small: a search and its rival take the same generated tokens, as measured"
TEST_TIME, STEPWISER, ALPHALLM = "arXiv:2408.03314", "arXiv:2508.19229", "arXiv:2404.12253"
CHAIN = "latent_chain"
CLAIMS = (
    Claim("beam_above_best_of_n", TEST_TIME, "A beam with a latent chain answers better than best of N with it.",
          "best_of_n", "accuracy", "above", SEEDS, BUDGET),
    Claim("beam_above_weighted_majority", TEST_TIME, "A beam with a latent chain answers better than majority weighted by it.",
          "weighted_majority", "accuracy", "above", SEEDS, BUDGET),
    Claim("lookahead_above_best_of_n", TEST_TIME, "Lookahead with a latent chain answers better than best of N with it.",
          "best_of_n", "accuracy", "even: what is simulated is paid for", SEEDS, BUDGET),
    Claim("chunk_reset_above_best_of_n", STEPWISER, "Chunk reset with a latent chain answers better than best of N with it.",
          "best_of_n", "accuracy", "above: a mistake is paid for with a line, not with an attempt", SEEDS, BUDGET),
    Claim("mcts_above_best_of_n", ALPHALLM, "MCTS guided by a latent chain answers better than best of N with it.",
          "best_of_n", "accuracy", "two-sided: nothing was expected", SEEDS, BUDGET),
    Claim("broadcast_reset_above_best_of_n", STEPWISER, "Chunk reset with outcome broadcast answers better than best of N.",
          "best_of_n", "accuracy", "below or even: a value is no verdict on a step", SEEDS, BUDGET),
    Claim("chain_beam_near_oracle", "ours", "A beam with a latent chain answers no worse than .05 below one with oracle labels.",
          "oracle", "accuracy", "above -.05", SEEDS, BUDGET, -0.05),
)  # fmt: skip
# Each claim's row; its difference from choosing is an estimate of that row.
ROWS = {
    "beam_above_best_of_n": ("beam 8/4", CHAIN),
    "beam_above_weighted_majority": ("beam 8/4", CHAIN),
    "lookahead_above_best_of_n": ("lookahead 4/2", CHAIN),
    "chunk_reset_above_best_of_n": ("chunk_reset", CHAIN),
    "mcts_above_best_of_n": ("guided_mcts", CHAIN),
    "broadcast_reset_above_best_of_n": ("chunk_reset", "outcome_broadcast"),
    "chain_beam_near_oracle": ("beam 8/4", CHAIN),
}


def measure(claim: Claim, size: str = "small", out: str = "runs/judge_search") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of the search."""
    from stepcredit.recipes.judge_search import results

    search, judge = ROWS[claim.slug]
    against_oracle = claim.control == "oracle"
    found = results(size, claim.seeds, [judge, *(["oracle"] if against_oracle else [])], out=out)
    rows = found[f"{search} ({judge})"]
    if against_oracle:
        others = found[f"{search} (oracle)"]
        differences = [
            a.estimates["accuracy"].value - b.estimates["accuracy"].value for a, b in zip(rows, others, strict=True)
        ]
    else:
        differences = [one.estimates[f"minus {claim.control}"].value for one in rows]
    cost = {key: sum(one.cost[key] for one in rows) / len(rows) for key in rows[0].cost}
    return over_seeds(differences, f"{claim.metric}, {search} ({judge}) minus {claim.control}"), cost
