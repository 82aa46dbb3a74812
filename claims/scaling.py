"""Label-free against labelled step judges as attempts grow: untouched seeds, settings frozen before.

The statements about the lookup judge are those of `recipes/scaling.EXPECTATION`, written before seeds 400 to 404 were run; this
file only turns them into paired differences. Those about the network judge were written while it ran, before any of its numbers
was looked at. No paper reports such curves against shares of labels on one backbone, so most claims are ours.
"""

from __future__ import annotations

from typing import Literal

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (400, 401, 402, 403, 404)
BUDGET = "recipes/scaling --size small, lookup judge: equal updates; what each rival sees stands there"
F1 = "processbench_f1"
FEW, SOME = 800, 3200
CHAIN = "latent_chain"
NETWORK = "recipes/scaling --size small, network judge: 1,000 updates of batch 64 from one language model"
AUROC, BEST = "step_auroc", "best_of_32"
MIDDLE, MOST = 6400, 51200  # attempts of the network judge
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
    Claim("network_chain_above_broadcast", "arXiv:2609.39220", f"With a network and {MOST:,} attempts a latent chain beats outcome broadcast.",
          "outcome_broadcast", F1, "above", SEEDS, NETWORK),
    Claim("network_chain_above_softmin", "ours", f"With a network and {MOST:,} attempts a latent chain beats softmin.",
          "softmin", F1, "above: 1,000 updates were too few for softmin before", SEEDS, NETWORK),
    Claim("network_all_labels_above_chain", "ours", f"With a network and {MOST:,} attempts step labels on all of them beat outcomes on all of them.",
          CHAIN, F1, "above: labels learn faster, and updates are few", SEEDS, NETWORK),
    Claim("network_all_labels_above_chain_few", "ours", f"With a network and {FEW} attempts step labels on all of them beat outcomes on all of them.",
          CHAIN, F1, "above", SEEDS, NETWORK),
    Claim("network_chain_above_1pct", "ours", f"With a network and {MIDDLE:,} attempts their outcomes beat step labels on 1 % of them.",
          "oracle 1%", F1, "above, as with the table", SEEDS, NETWORK),
    Claim("network_chain_against_10pct", "ours", f"With a network and {MIDDLE:,} attempts their outcomes beat step labels on 10 % of them.",
          "oracle 10%", F1, "two-sided: a network generalises from few labels, a table does not", SEEDS, NETWORK),
    Claim("network_chain_against_10pct_most", "ours", f"With a network and {MOST:,} attempts their outcomes beat step labels on 10 % of them.",
          "oracle 10%", F1, "two-sided", SEEDS, NETWORK),
    Claim("network_chain_above_implicit", "arXiv:2412.01981", f"With {MOST:,} attempts a latent chain finds first errors better than an implicit reward.",
          "implicit", F1, "above by far", SEEDS, NETWORK),
    Claim("network_chain_above_implicit_auroc", "arXiv:2412.01981", f"With {MOST:,} attempts a latent chain ranks steps better than an implicit reward.",
          "implicit", AUROC, "above", SEEDS, NETWORK),
    Claim("network_implicit_picks_as_outcome_model", "arXiv:2412.01981", f"With {MOST:,} attempts an implicit reward picks better than an outcome model.",
          "outcome_model", BEST, "two-sided: near each other", SEEDS, NETWORK),
    Claim("network_geometric_mean_above_chain_few", "OpenReview:df3p10k2kq", f"With a network and {FEW} attempts the geometric mean beats the chain.",
          CHAIN, F1, "above: it has no rate to learn, as softmin has not", SEEDS, NETWORK),
    Claim("network_no_repair_above_chain_few", "arXiv:2509.26578", f"With a network and {FEW} attempts a chain without repair beats the free one.",
          CHAIN, F1, "above, as with the table", SEEDS, NETWORK),
    Claim("network_value_drop_above_broadcast", "arXiv:2405.16802", f"With a network and {MOST:,} attempts value drops beat the broadcast they are made of.",
          "outcome_broadcast", F1, "above, as with the table", SEEDS, NETWORK),
    Claim("network_filter_against_broadcast", "arXiv:2507.01951", f"With a network and {MOST:,} attempts the self-supervised filter beats outcome broadcast (released weights: with the paper's it collapses on four of five seeds).",
          "outcome_broadcast", F1, "two-sided: nothing with the table", SEEDS, NETWORK),
    Claim("network_broadcast_above_monte_carlo", "arXiv:2312.08935", f"With a network, outcome broadcast beats soft Monte Carlo labels for the generated steps of {MOST:,} attempts.",
          "monte_carlo", F1, "above: at equal generated steps restarts see a twelfth of the attempts", SEEDS, NETWORK),
    Claim("network_hybrid_above_chain", "ours", f"With a network and {MOST:,} attempts, labels on 10 % of them beside the outcomes beat outcomes alone.",
          CHAIN, F1, "above: labels on 10 % alone do", SEEDS, NETWORK),
    Claim("network_outcomes_beside_labels", "ours", f"With a network and {MOST:,} attempts, outcomes of all beside labels on 10 % beat those labels alone.",
          "oracle 10%", F1, "below: the first judge's labels are worse than those of a tenth", SEEDS, NETWORK),
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
    "network_chain_above_broadcast": ((CHAIN, MOST), ("outcome_broadcast", MOST)),
    "network_chain_above_softmin": ((CHAIN, MOST), ("softmin", MOST)),
    "network_all_labels_above_chain": (("oracle 100%", MOST), (CHAIN, MOST)),
    "network_all_labels_above_chain_few": (("oracle 100%", FEW), (CHAIN, FEW)),
    "network_chain_above_1pct": ((CHAIN, MIDDLE), ("oracle 1%", MIDDLE)),
    "network_chain_against_10pct": ((CHAIN, MIDDLE), ("oracle 10%", MIDDLE)),
    "network_chain_against_10pct_most": ((CHAIN, MOST), ("oracle 10%", MOST)),
    "network_chain_above_implicit": ((CHAIN, MOST), ("implicit", MOST)),
    "network_chain_above_implicit_auroc": ((CHAIN, MOST), ("implicit", MOST)),
    "network_implicit_picks_as_outcome_model": (("implicit", MOST), ("outcome_model", MOST)),
    "network_geometric_mean_above_chain_few": (("geometric_mean", FEW), (CHAIN, FEW)),
    "network_no_repair_above_chain_few": (("latent_chain_crm", FEW), (CHAIN, FEW)),
    "network_value_drop_above_broadcast": (("value_drop", MOST), ("outcome_broadcast", MOST)),
    "network_filter_against_broadcast": (("self_supervised_released", MOST), ("outcome_broadcast", MOST)),
    "network_broadcast_above_monte_carlo": (("outcome_broadcast", MOST), ("monte_carlo", MOST)),
    "network_hybrid_above_chain": (("hybrid 10%", MOST), (CHAIN, MOST)),
    "network_outcomes_beside_labels": (("hybrid 10%", MOST), ("oracle 10%", MOST)),
}
OUT = {"lookup": "runs/scaling", "network": "runs/scaling_network"}


def measure(claim: Claim, size: str = "small", out: str | None = None) -> tuple[Estimate, dict[str, float]]:
    """The first side minus the second, paired by seed, t-interval; and the mean cost of the first side."""
    from stepcredit.recipes.scaling import grid, sweep

    judge: Literal["lookup", "network"] = "network" if claim.budget == NETWORK else "lookup"
    out = out or OUT[judge]
    sides = []
    for name, where in PAIRS[claim.slug]:
        if isinstance(where, str):
            sides.append(sweep(size, where, claim.seeds, out=out)[name])
        else:
            sides.append(grid(size, judge, claim.seeds, [name], [where], out=out)[name][where])
    first, second = sides
    differences = [
        a.estimates[claim.metric].value - b.estimates[claim.metric].value for a, b in zip(first, second, strict=True)
    ]
    cost = {name: sum(r.cost[name] for r in first) / len(first) for name in first[0].cost}
    (arm, _), (control, _) = PAIRS[claim.slug]
    return over_seeds(differences, f"{claim.metric}, {arm} minus {control}"), cost
