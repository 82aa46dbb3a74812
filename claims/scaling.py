"""Label-free against labelled step judges as attempts grow: untouched seeds, lookup judge, settings frozen before.

The statements are those of `recipes/scaling.EXPECTATION`, written before seeds 400 to 404 were run; this file only turns
them into paired differences. No paper reports such curves against shares of labels on one backbone, so the claims are ours.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (400, 401, 402, 403, 404)
BUDGET = "recipes/scaling --size small, lookup judge: equal updates; what each rival sees stands there"
F1 = "processbench_f1"
FEW, SOME = 800, 3200
CHAIN = "latent_chain"
CLAIMS = (
    Claim("chain_above_1pct_few", "ours", f"With {FEW} attempts and their outcomes a latent chain beats step labels on 1 % of them.",
          "oracle 1%", F1, "above, at every size", SEEDS, BUDGET),
    Claim("chain_above_1pct", "ours", f"With {SOME:,} attempts and their outcomes a latent chain beats step labels on 1 % of them.",
          "oracle 1%", F1, "above, at every size", SEEDS, BUDGET),
    Claim("chain_against_10pct", "ours", f"With {SOME:,} attempts a latent chain beats step labels on 10 % of them.",
          "oracle 10%", F1, "two-sided: nothing was expected", SEEDS, BUDGET),
    Claim("all_labels_above_chain", "ours", f"With {SOME:,} attempts step labels on all of them beat outcomes on all of them.",
          CHAIN, F1, "above: the chain needs two to four times the attempts", SEEDS, BUDGET),
    Claim("geometric_mean_above_chain_few", "OpenReview:df3p10k2kq", f"With {FEW} attempts the geometric mean beats the chain.",
          CHAIN, F1, "above, with few attempts", SEEDS, BUDGET),
    Claim("chain_above_broadcast_some", "arXiv:2609.39220", f"With {SOME:,} attempts a latent chain beats outcome broadcast.",
          "outcome_broadcast", F1, "above", SEEDS, BUDGET),
    Claim("a_few_labels_pay", "ours", f"With {FEW} attempts, labels on 10 % of them beside the outcomes beat outcomes alone.",
          CHAIN, F1, "above, with few attempts only", SEEDS, BUDGET),
    Claim("told_of_misses", "ours", f"A verifier that misses 30 % of right answers: a chain told so beats one that is not, {SOME:,} attempts.",
          CHAIN, F1, "above", SEEDS, BUDGET),
)  # fmt: skip
# Each claim's two sides as (rival, attempts), or in a swept setting (rival, setting).
PAIRS: dict[str, tuple[tuple[str, int | str], tuple[str, int | str]]] = {
    "chain_above_1pct_few": ((CHAIN, FEW), ("oracle 1%", FEW)),
    "chain_above_1pct": ((CHAIN, SOME), ("oracle 1%", SOME)),
    "chain_against_10pct": ((CHAIN, SOME), ("oracle 10%", SOME)),
    "all_labels_above_chain": (("oracle 100%", SOME), (CHAIN, SOME)),
    "geometric_mean_above_chain_few": (("geometric_mean", FEW), (CHAIN, FEW)),
    "chain_above_broadcast_some": ((CHAIN, SOME), ("outcome_broadcast", SOME)),
    "a_few_labels_pay": (("hybrid 10%", FEW), (CHAIN, FEW)),
    "told_of_misses": (("latent_chain told", "noise: fn 0.3"), (CHAIN, "noise: fn 0.3")),
}


def measure(claim: Claim, size: str = "small", out: str = "runs/scaling") -> tuple[Estimate, dict[str, float]]:
    """The first side minus the second, paired by seed, t-interval; and the mean cost of the first side."""
    from stepcredit.recipes.scaling import grid, sweep

    sides = []
    for name, where in PAIRS[claim.slug]:
        if isinstance(where, str):
            sides.append(sweep(size, where, claim.seeds, out=out)[name])
        else:
            sides.append(grid(size, "lookup", claim.seeds, [name], [where], out=out)[name][where])
    first, second = sides
    differences = [
        a.estimates[claim.metric].value - b.estimates[claim.metric].value for a, b in zip(first, second, strict=True)
    ]
    cost = {name: sum(r.cost[name] for r in first) / len(first) for name in first[0].cost}
    (arm, _), (control, _) = PAIRS[claim.slug]
    return over_seeds(differences, f"{claim.metric}, {arm} minus {control}"), cost
