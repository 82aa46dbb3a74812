"""Outcome-only step judges on the chain world: two claims, untouched seeds, equal updates.

Papers report these orders with billions of parameters on competition mathematics; here a half-million-parameter judge
reads arithmetic chains. What can transfer is the order of mechanisms, not a number. Departures are those of
`recipes/outcome_prm`. Settings were tuned on seed 1 (a first freeze, seeds 100 and 101, is in the lab notes) and frozen.
The decoding of first errors was changed after seeds 200 and 201 had been seen under the old rule, so
verdicts rest on 202 to 204 alone: three seeds, fewer than the five a claim should have. All five are in the lab notes.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (202, 203, 204)
BUDGET = "recipes/outcome_prm --size small: the same attempts and updates for every arm"
CLAIMS = (
    Claim(
        "chain_beats_broadcast", "arXiv:2609.39220", "A latent chain finds first errors better than outcome broadcast.",
        "outcome_broadcast", "processbench_f1", "latent_chain above outcome_broadcast (RSP: 56.2 against 37.6 on ProcessBench)",
        SEEDS, BUDGET,
    ),
    Claim(
        "labels_still_win", "arXiv:2305.20050", "Oracle step labels beat the best label-free arm at equal updates and attempts.",
        "latent_chain", "processbench_f1", "oracle above latent_chain", SEEDS, BUDGET,
    ),
)  # fmt: skip
PAIRS = {
    "chain_beats_broadcast": ("latent_chain", "outcome_broadcast"),
    "labels_still_win": ("oracle", "latent_chain"),
}


def measure(claim: Claim) -> tuple[Estimate, dict[str, float]]:
    """The claim's metric, arm minus control, paired by seed, with a t-interval over seeds; and the mean cost of an arm."""
    from stepcredit.recipes.outcome_prm import arm_results

    arm, control = PAIRS[claim.slug]
    found = arm_results("small", claim.seeds, arms=[arm, control])
    differences = [
        one.estimates[claim.metric].value - other.estimates[claim.metric].value
        for one, other in zip(found[arm], found[control], strict=True)
    ]
    cost = {name: sum(r.cost[name] for r in found[arm]) / len(found[arm]) for name in found[arm][0].cost}
    return over_seeds(differences, f"{claim.metric}, {arm} minus {control}"), cost
