"""Math-Shepherd: K rollouts from every step label it, a judge learns the labels; against outcomes that cost no rollout.

    hard  y_j = 1 if any of K = 8 rollouts from step j is right      soft  y_j = the share that is right

Math-Shepherd, arXiv:2312.08935, section 3. A small language model, trained from scratch on noisy chains, writes the attempts
and completes its own prefixes (the paper: a completer of its own). At equal generated tokens, attempts and rollouts together:
labels of fewer attempts against the outcomes of more (`outcome_broadcast`, and `latent_chain`, arXiv:2609.39220, which both
add no token), oracle labels, the trivial judges with majority vote. `math_shepherd_wrong` saves the rollouts of right attempts.
Measured: first errors that the labels place, and the judge on held-out attempts. Judges are tables of step texts.
Departs: labels end at the first error; K = 8 at temperature 1; one task; 300,000 parameters. What transfers is the order of
mechanisms and what they cost, not the numbers: a table of recurring lines learns from outcomes more easily than a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.recipes._rollout_labels_grow import Rollouts
from stepcredit.recipes._rollout_labels_run import run_of, studies_of
from stepcredit.recipes._rollout_labels_study import Size
from stepcredit.recipes._rollout_labels_world import World

TOLD = Rollouts(recovery=0.015)  # a line slips in one of ten, and one slip in six falls on the right number
SIZES = {
    "quick": Size(World(7, 3, 4, num_demonstrations=1, num_updates=0), (600, 2000), 12, 4, 10,
                  num_test_attempts=4, rollouts=Rollouts(2, 2, recovery=0.015)),
    "small": Size(World(), (25_000, 80_000), 200, 100, 600, rollouts=TOLD),
}  # fmt: skip
ARMS = (
    "oracle",
    "outcome_broadcast",
    "latent_chain",
    "math_shepherd_hard",
    "math_shepherd_soft",
    "math_shepherd_wrong",
)
PAIRS = (("math_shepherd_hard", "outcome_broadcast"), ("math_shepherd_hard", "latent_chain"), ("math_shepherd_wrong", "latent_chain"),
         ("math_shepherd_soft", "math_shepherd_hard"))  # fmt: skip
EXPECTATION = (
    "Written when only the world had been looked at (seed 1: right on .54, a slip in .098, a recovery in .02 of the lines). Of the same wrong attempts hard labels place .80 to .90 of the first errors, soft ones "
    "about as many: eight rollouts now and then find the right number by luck from a broken prefix, and miss it from a sound one "
    "of a hard problem. A label costs twenty to thirty times its attempt. So at equal tokens the judge of hard labels stays behind "
    "the latent chain at every budget, and is not sure to beat broadcast at the smallest; at the largest it does. Rolling out the "
    "wrong attempts alone helps by half of that gap. Soft labels teach about as well as hard ones. Oracle labels are the ceiling."
)


@registry.register("recipes", paper="arXiv:2312.08935")
def math_shepherd(
    *, size: Literal["quick", "small"] = "small", seeds: Sequence[int] = (1,), out: str = "runs/rollout_labels",
    arms: Sequence[str] = ARMS, budgets: Sequence[int] = (), progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run the arms at every budget of the size, or at those named; finished cells are kept under `out/cells`.

    `recipes/omegaprm` shares the cells. Raises ValueError for a size, arm or budget there is not, and for no seeds.
    """
    studies = studies_of(SIZES, size, seeds, arms, budgets, out, progress)
    pairs = [pair for pair in PAIRS if set(pair) <= set(arms)]
    return run_of("Math-Shepherd: labels by rollouts against outcomes, at equal tokens", studies, arms,
                  list(budgets) or list(SIZES[size].budgets), pairs=pairs, expectation=EXPECTATION, config={"size": size})  # fmt: skip
