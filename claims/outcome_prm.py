"""Outcome-only step judges on the chain world: untouched seeds, equal updates, settings and expectation frozen before.

Papers report these orders with billions of parameters on competition mathematics; here a half-million-parameter judge
reads arithmetic chains. What can transfer is the order of mechanisms, not a number. Departures are those of
`recipes/outcome_prm`. Settings were tuned on seeds 1 and 2; earlier freezes (seeds 100, 101 and 200 to 204) are in the
lab notes. The 0.95 and 0.85 are those of the recipe's expectation, written before the run.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (205, 206, 207, 208, 209)
BUDGET = "recipes/outcome_prm --size small: the same attempts and updates for every arm"
F1, GAIN = "processbench_f1", "best_of_16_minus_majority"
CLAIMS = (
    Claim(
        "chain_beats_broadcast", "arXiv:2609.39220", "A latent chain finds first errors better than outcome broadcast.",
        "outcome_broadcast", F1, "latent_chain above outcome_broadcast (RSP: 56.2 against 37.6 on ProcessBench)", SEEDS, BUDGET,
    ),
    Claim(
        "chain_is_near_the_oracle", "ours", "At equal updates a latent chain reaches 0.95 of the oracle's first-error F1.",
        "oracle", F1, "latent_chain above 0.95 times oracle", SEEDS, BUDGET,
    ),
    Claim(
        "chain_picks_near_the_oracle", "ours", "At equal updates it reaches 0.85 of the oracle's best-of-16 gain over majority.",
        "oracle", GAIN, "latent_chain above 0.85 times oracle", SEEDS, BUDGET,
    ),
    Claim(
        "labels_still_win", "arXiv:2305.20050", "Oracle step labels beat the declared label-free arm at equal updates and attempts.",
        "latent_chain", F1, "oracle above latent_chain", SEEDS, BUDGET,
    ),
)  # fmt: skip
PAIRS = {
    "chain_beats_broadcast": ("latent_chain", "outcome_broadcast", 1.0),
    "chain_is_near_the_oracle": ("latent_chain", "oracle", 0.95),
    "chain_picks_near_the_oracle": ("latent_chain", "oracle", 0.85),
    "labels_still_win": ("oracle", "latent_chain", 1.0),
}


def measure(claim: Claim) -> tuple[Estimate, dict[str, float]]:
    """The metric of the arm minus a share of the control's, paired by seed, t-interval; and the mean cost of the arm."""
    from stepcredit.recipes.outcome_prm import arm_results

    arm, control, share = PAIRS[claim.slug]
    found = arm_results("small", claim.seeds, arms=[arm, control])
    differences = [
        one.estimates[claim.metric].value - share * other.estimates[claim.metric].value
        for one, other in zip(found[arm], found[control], strict=True)
    ]
    cost = {name: sum(r.cost[name] for r in found[arm]) / len(found[arm]) for name in found[arm][0].cost}
    times = "" if share == 1.0 else f"{share} times "
    return over_seeds(differences, f"{claim.metric}, {arm} minus {times}{control}"), cost
