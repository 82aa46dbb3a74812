"""AlphaLLM on sums and products written either way round: the rungs of its ladder and its loop, untouched seeds, equal token budgets.

The paper (arXiv:2404.12253; Llama-2 70B) reports on GSM8K: greedy 57.8 (policy after SFT 69.3), self-consistency 75.4 and
rerank 87.7 at 229 nodes, MCTS 79.5 vanilla, 84.9 with adaptive children, 85.9 with the PRM, 86.5 with fast rollouts, 87.0
with state merge (at 55 nodes), 88.9 with the large search; greedy 73.7 after two rounds. It compares at equal nodes; here
the budget of generated tokens is equal, rollouts and repeats counted, and what is taken stands in the cost. A policy of 10^5 parameters adds up small numbers: what can
transfer is the order of mechanisms. Departures: `recipes/alphallm`, whose EXPECTATION was written before these seeds.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate

SEEDS = (621, 622, 623, 624, 625)
PAPER = "arXiv:2404.12253"
BUDGET = "recipes/alphallm --size small: one budget of generated tokens a problem, of which greedy and a search that settles leave some; equal updates for the loop's arms"
MOST = 16  # mean attempts' tokens a problem: the larger of the two budgets
LAST = "round 2"
CLAIMS = (
    Claim("consistency_above_greedy", PAPER, "Self-consistency answers better than greedy decoding.", "greedy", "accuracy",
          "above (paper: 75.4 against 57.8)", SEEDS, BUDGET),
    Claim("rerank_above_consistency", PAPER, "Rerank by the outcome critic answers better than self-consistency.",
          "self-consistency", "accuracy", "above (paper: 87.7 against 75.4)", SEEDS, BUDGET),
    Claim("vanilla_above_rerank", PAPER, "Vanilla MCTS answers better than rerank.", "ORM rerank", "accuracy",
          "below (paper: 79.5 against 87.7)", SEEDS, BUDGET),
    Claim("adaptive_above_fixed", PAPER, "Adaptive numbers of children answer better than a fixed one.", "vanilla MCTS",
          "accuracy", "above (paper: +5.4)", SEEDS, BUDGET),
    Claim("prm_above_value_alone", PAPER, "A process critic beside the value answers better.", "+ adaptive children",
          "accuracy", "two-sided: a few points of either sign (paper: +1.0)", SEEDS, BUDGET),
    Claim("rollouts_above_none", PAPER, "Fast rollouts scored by the outcome critic answer better than none.", "+ PRM",
          "accuracy", "two-sided: their tokens are paid for (paper: +0.6, tokens not matched)", SEEDS, BUDGET),
    Claim("merge_above_none", PAPER, "Merging equal options answers better than keeping repeats.", "+ fast-rollout ORM",
          "accuracy", "even at this budget (paper: +0.5)", SEEDS, BUDGET),
    Claim("whole_search_above_rerank", PAPER, "The whole search answers better than rerank.", "ORM rerank", "accuracy",
          "even (paper: 87.0 at 55 nodes against 87.7 at 229)", SEEDS, BUDGET),
    Claim("loop_improves_greedy", PAPER, "Two rounds of search and fine-tuning raise greedy accuracy.", "round 0",
          "greedy accuracy", "above (paper: 57.8 to 73.7)", SEEDS, BUDGET),
    Claim("second_round_improves", PAPER, "The second round raises greedy accuracy again.", "round 1", "greedy accuracy",
          "above, by less than the first", SEEDS, BUDGET),
    Claim("search_data_above_rerank_data", PAPER, "Data found by search teach more than data found by rerank.",
          "rerank data", "greedy accuracy", "even: both keep what one critic likes", SEEDS, BUDGET),
    Claim("critic_filter_pays", PAPER, "Data kept by the critic teach more than attempts as they come.",
          "unfiltered data", "greedy accuracy", "above", SEEDS, BUDGET),
)  # fmt: skip
# Each claim's two numbers, as (part to run, row, estimate): the first minus the second, paired by seed.
Side = tuple[str, str, str]


def _rung(name: str) -> Side:
    plain = ("greedy", "self-consistency", "ORM rerank")
    return ("plain" if name in plain else name, name if name == "greedy" else f"{name} at {MOST}", "accuracy")


def _arm(name: str, step: str = LAST) -> Side:
    return (name, name, step)


PAIRS: dict[str, tuple[Side, Side]] = {
    "consistency_above_greedy": (_rung("self-consistency"), _rung("greedy")),
    "rerank_above_consistency": (_rung("ORM rerank"), _rung("self-consistency")),
    "vanilla_above_rerank": (_rung("vanilla MCTS"), _rung("ORM rerank")),
    "adaptive_above_fixed": (_rung("+ adaptive children"), _rung("vanilla MCTS")),
    "prm_above_value_alone": (_rung("+ PRM"), _rung("+ adaptive children")),
    "rollouts_above_none": (_rung("+ fast-rollout ORM"), _rung("+ PRM")),
    "merge_above_none": (_rung("+ state merge"), _rung("+ fast-rollout ORM")),
    "whole_search_above_rerank": (_rung("+ state merge"), _rung("ORM rerank")),
    "loop_improves_greedy": (_arm("MCTS data"), _arm("MCTS data", "round 0")),
    "second_round_improves": (_arm("MCTS data"), _arm("MCTS data", "round 1")),
    "search_data_above_rerank_data": (_arm("MCTS data"), _arm("rerank data")),
    "critic_filter_pays": (_arm("MCTS data"), _arm("unfiltered data")),
}


def measure(claim: Claim, size: str = "small", out: str = "runs/alphallm") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of its first side."""
    from stepcredit.recipes.alphallm import results

    (part, row, name), (other_part, other_row, other) = PAIRS[claim.slug]
    found = results(size, claim.seeds, list(dict.fromkeys([part, other_part])), out=out)
    differences = [
        one.estimates[name].value - two.estimates[other].value
        for one, two in zip(found[row], found[other_row], strict=True)
    ]
    cost = {key: sum(one.cost[key] for one in found[row]) / len(found[row]) for key in found[row][0].cost}
    return over_seeds(differences, f"{claim.metric}, {row} minus {claim.control}"), cost
