"""Tree-GRPO at equal and at a quarter of the tokens: deep look-ups, and one hop as the control where it should vanish.

Tree-GRPO (arXiv:2509.21240; Qwen2.5-3B, multi-hop question answering) reports 36.8 at a budget of 4 chains a prompt against 31.8 of
chains at 4 and 33.9 at 16; both advantages 36.8, inter alone 33.8, intra alone collapses; single-hop gains are small.
Departures: `recipes/tree_grpo`, whose EXPECTATION was written before these seeds.
"""

from __future__ import annotations

from _claim import Claim, minus

from stepcredit.core.types import Estimate

SEEDS = (720, 721, 722, 723, 724)
BUDGET = "recipes/tree_grpo --size small: equal generated tokens an arm, as measured; chains x4 four times as many"
SEEDS_DEEP = (725, 726, 727, 728, 729)
SIX = (
    "recipes/tree_grpo --size deep (six hops): equal generated tokens an arm, as measured; chains x4 four times as many"
)
PAPER, TREERL = "arXiv:2509.21240", "arXiv:2506.11902"
BOTH, CHAINS, X4, DEEP, ONE = "tree, inter + intra", "chains", "chains x4", "three hops", "one hop"
SIBLINGS, EXACT, LARGER, ENTROPY = "tree, siblings", "tree, siblings, exact", "tree, N = 6", "tree, by entropy"
CLAIMS = (
    Claim("tree_above_chains", PAPER, "At equal tokens, three hops: trees of episodes with both advantages learn more than chains.",
          CHAINS, "success", "above (paper: 36.8 against 31.8)", SEEDS, BUDGET),
    Claim("tree_at_a_quarter", PAPER, "Three hops: trees are no worse than chains at four times their tokens, to within .03.",
          X4, "success", "above -.03 (paper: 36.8 against 33.9)", SEEDS, BUDGET, -0.03),
    Claim("tree_vanishes_at_one_hop", PAPER, "At one hop, where a tree has nothing to share, it is still above chains.",
          CHAINS, "success", "not above: the control", SEEDS, BUDGET),
    Claim("both_above_inter", PAPER, "Both advantages learn more than the one between trees alone, three hops.",
          "tree, inter", "success", "above (paper: 36.8 against 33.8)", SEEDS, BUDGET),
    Claim("both_above_intra", PAPER, "Both advantages learn more than the one inside a tree alone, three hops.",
          "tree, intra", "success", "above (paper: intra alone collapses)", SEEDS, BUDGET),
    Claim("siblings_level_with_both", "arXiv:2506.11902", "Advantages among siblings learn no less than both, to within .03, three hops.",
          BOTH, "success", "above -.03", SEEDS, BUDGET, -0.03),
    Claim("deep_tree_above_chains", PAPER, "At equal tokens, six hops: trees of episodes with both advantages learn more than chains.",
          CHAINS, "success", "not above, as at three hops (paper: 36.8 against 31.8)", SEEDS_DEEP, SIX),
    Claim("deep_tree_at_a_quarter", PAPER, "Six hops: trees are no worse than chains at four times their tokens, to within .03.",
          X4, "success", "below (paper: 36.8 against 33.9)", SEEDS_DEEP, SIX, -0.03),
    Claim("deep_exact_siblings_above_siblings", TREERL,
          "Six hops: siblings as the policy gradient has them (the other siblings' mean, branches weighed) learn more than with weight 1.",
          SIBLINGS, "success", "above", SEEDS_DEEP, SIX),
    Claim("deep_exact_siblings_above_chains", TREERL, "Six hops: siblings as the policy gradient has them learn more than chains.",
          CHAINS, "success", "level", SEEDS_DEEP, SIX),
    Claim("deep_exact_siblings_at_a_quarter", TREERL, "Six hops: exact siblings are no worse than chains at four times their tokens, to within .03.",
          X4, "success", "below", SEEDS_DEEP, SIX, -0.03),
    Claim("deep_larger_trees_above_small", PAPER, "Six hops: trees of N = 6 learn more than trees of N = 2, half the problems a batch.",
          BOTH, "success", "above by .02 to .05 (paper: 36.4 against 36.8 at twice the budget)", SEEDS_DEEP, SIX),
    Claim("deep_entropy_above_random", PAPER, "Six hops: continuing the most surprising nodes learns more than random ones.",
          BOTH, "success", "above by .02 to .05 (not in the paper)", SEEDS_DEEP, SIX),
    Claim("deep_larger_trees_above_their_chains", PAPER, "Six hops: trees of N = 6 learn more than nine chains a problem, as many problems a batch.",
          "chains, nine a problem", "success", "two-sided: level", SEEDS_DEEP, SIX),
)  # fmt: skip
ARMS = {
    "siblings_level_with_both": SIBLINGS, "deep_exact_siblings_above_siblings": EXACT, "deep_exact_siblings_above_chains": EXACT,
    "deep_exact_siblings_at_a_quarter": EXACT, "deep_larger_trees_above_small": LARGER, "deep_entropy_above_random": ENTROPY,
    "deep_larger_trees_above_their_chains": LARGER,
}  # fmt: skip


def measure(claim: Claim, size: str = "", out: str = "runs/tree_grpo") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of its arm."""
    from stepcredit.recipes.tree_grpo import results

    size = size or ("deep" if claim.budget == SIX else "small")
    world = "six hops" if size == "deep" else ONE if claim.slug == "tree_vanishes_at_one_hop" else DEEP
    arm = ARMS.get(claim.slug, BOTH)
    found = results(size, claim.seeds, [world], [arm, claim.control], out=out)[world]
    return minus(found, arm, claim.control, claim.metric, f" ({world})")
