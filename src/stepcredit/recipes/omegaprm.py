"""OmegaPRM: binary search for the first error instead of rollouts at every step; and a sequential test instead of that.

    MC(s) = share of K = 8 rollouts of state s that are right;   search the middle state: MC > 0, look behind it, else before

OmegaPRM, arXiv:2406.06592, section 3.3, with its pool and selection rule (`rollout/bisect`), eight searches a problem.
Beside it `adaptive` (ours: the next rollout where it tells most of the first error, stopping at a stated rate) with a uniform
prior, and `adaptive_judged`, whose prior is a latent chain taught by the outcomes of half the tokens, free of labels; and
Math-Shepherd's rollouts at every step. First: the first errors of the same held-out attempts, and what they cost. Then: the
judges that each teaches at equal generated tokens, against outcomes alone (`latent_chain`, `outcome_broadcast`), oracle labels
and the trivial judges. The world, the writer and the judges are those of `recipes/math_shepherd`.
Departs: hard labels, where the paper's best are soft; eight searches a problem, not a hundred; nothing is filtered but what a
search cannot select (problems whose attempts are all right or all wrong).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.recipes._rollout_labels_run import run_of, studies_of
from stepcredit.recipes.math_shepherd import SIZES

ARMS = ("oracle", "outcome_broadcast", "latent_chain", "math_shepherd_hard", "omegaprm", "adaptive", "adaptive_judged")
PAIRS = (("omegaprm", "math_shepherd_hard"), ("adaptive", "math_shepherd_hard"), ("adaptive", "omegaprm"), ("adaptive", "latent_chain"),
         ("adaptive_judged", "latent_chain"), ("adaptive_judged", "adaptive"))  # fmt: skip
EXPECTATION = (
    "Written when only the world had been looked at (seed 1). Of the same wrong attempts a search places about as many first errors as Math-Shepherd's "
    "hard labels, for a fifth to a third of the tokens; the sequential test places .93 or more of them (its stated rate is .05, and "
    "it is told how often a broken chain recovers, in two of a hundred lines) for a tenth of Math-Shepherd's tokens or less, and "
    "for about half of a search's; the chain's prior saves a third of those. The chain alone, told the outcome and paying nothing, "
    "places .85 or more once it has seen all attempts. At equal tokens judges stand in the order of how many attempts were labelled: "
    "oracle, then latent chain and adaptive_judged, adaptive, OmegaPRM, Math-Shepherd. Whether rollouts add anything to the chain at "
    "the largest budget is open: nothing is expected of adaptive_judged against latent_chain there; at the smallest it is ahead."
)


@registry.register("recipes", paper="arXiv:2406.06592")
def omegaprm(
    *, size: Literal["quick", "small"] = "small", seeds: Sequence[int] = (1,), out: str = "runs/rollout_labels",
    arms: Sequence[str] = ARMS, budgets: Sequence[int] = (), progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run the arms at every budget of the size, or at those named; finished cells are kept under `out/cells`.

    `recipes/math_shepherd` shares the cells. Raises ValueError for a size, arm or budget there is not, and for no seeds.
    """
    studies = studies_of(SIZES, size, seeds, arms, budgets, out, progress)
    pairs = [pair for pair in PAIRS if set(pair) <= set(arms)]
    return run_of("OmegaPRM and sequential tests: first errors for fewer tokens", studies, arms,
                  list(budgets) or list(SIZES[size].budgets), pairs=pairs, expectation=EXPECTATION, config={"size": size})  # fmt: skip
