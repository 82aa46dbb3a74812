"""Step scores of several recorded judges turned into one pick, with the weights learned from outcomes alone.

    score = sum over judges and aggregations of w x (the logit of an attempt's score, or of those that state an answer
            pooled: odds, mean, max) + w x log number that state the answer + w x log tokens + w x log steps

Weights: a listwise choice among the attempts or answers of a pool. Pools of 32 attempts of GSM8K and MATH-500 with cached
step scores of seven published PRMs (one on MATH-500; development half). The rival is the *fixed choice* (judge x min /
last / product / mean / geometric mean x best-of-N or weighted majority, or majority), chosen on the same problems the
weights are taught on. Nested and problem-disjoint: K folds, repeated; the learner's menu is chosen by inner folds
(`recipes/_aggregation_nested`). Only `correct` teaches and measures; answers are the recorded extracted answers. Ties
share, never by outcome. N below 32: random draws of the 32, the same for both sides; rules are chosen at that N. Weights
are taught on draws of 16 whatever N is measured.
What is not nested: the menu itself was drawn up after prototypes on these same problems, and its members per attempt were
added after a full run in which that way to learn stood beside the main one and did better on MATH-500.
Listwise choice: McFadden, 1974; weighted votes: arXiv:2206.02336; majority: arXiv:2203.11171.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import stepcredit
from stepcredit.core.registry import register
from stepcredit.recipes._aggregation_nested import Plan, study
from stepcredit.recipes._aggregation_page import results_of
from stepcredit.recipes._bon32 import find_folder, read_pools

TITLES = {"gsm8k": "GSM8K", "math500": "MATH-500"}
EXPECTATION = (
    "From prototypes on these same problems with other folds and draws, stated before this run. Best of 32: learned .948 to "
    ".953 against .941 for the fixed choice on GSM8K, not settled (8 problems of room, a smallest difference that can be "
    "shown of .028); .843 to .845 against .814 on MATH-500, settled, about half of it because one choice among rules of "
    "nearly equal worth is unsteady: against the best rule picked after the fact .015, not settled. Best of 4 to 16: "
    "learned better by .005 to .015 on both. Pointwise learning, rank sums and stacked rules worse than listwise scores."
)


@register("recipes", paper="arXiv:2206.02336")
def learned_aggregation(
    *, path: str = "", sets: tuple[str, ...] = ("gsm8k", "math500"), num_problems: int = 0, num_repeats: int = 8,
    num_folds: int = 10, num_inner: int = 5, sizes: tuple[int, ...] = (4, 8, 16, 32), num_draws: int = 32,
    penalties: tuple[float, ...] = (1.0,), curve: tuple[int, ...] = (25, 50, 100), num_curve_repeats: int = 2,
    seed: int = 0, num_resamples: int = 2000,
) -> dict[str, Any]:  # fmt: skip
    """Run the study and return the content of run.json.

    `path`: the folder of pools; empty looks in the data folder. `num_problems` keeps the first only (0: all). `sizes`:
    the N measured beside the full pool. `curve`: numbers of problems taught on, in the first `num_curve_repeats`.
    Raises ValueError where a set is missing, for fewer than three problems a fold, and for a penalty that is not positive.
    """
    if not sets or not penalties or min(penalties) <= 0 or num_inner < 2 or min(num_repeats, num_draws) < 1:
        raise ValueError(
            "the study needs a set, positive penalties, 2 inner folds, 1 repeat and 1 draw; "
            f"got {sets}, {penalties}, {num_inner}, {num_repeats}, {num_draws}"
        )
    if curve and min(curve) < num_inner:
        raise ValueError(f"curve teaches on {min(curve)} problems; allowed: at least the {num_inner} inner folds")
    started = time.perf_counter()
    folder = find_folder(path)
    plan = Plan(
        num_repeats=num_repeats, num_folds=num_folds, num_inner=num_inner, sizes=tuple(sizes), num_draws=num_draws,
        penalties=tuple(penalties), curve=tuple(curve), num_curve_repeats=num_curve_repeats, seed=seed,
    )  # fmt: skip
    studies = {TITLES.get(name, name): study(read_pools(folder, name, num_problems), plan) for name in sets}
    found = results_of(studies, plan, num_resamples)
    counts = [
        f"{title}: {len(s.pools.problem_ids)} problems, {s.pools.right_PG.shape[1]} attempts each, {len(s.pools.judges)} "
        f"judges, {len(s.rules)} fixed rules; {s.pools.right_PG.mean():.3f} of the attempts are right, and "
        f"{int((s.pools.right_PG.max(axis=1) > s.pools.right_PG.min(axis=1)).sum())} problems have right and wrong ones."
        for title, s in studies.items()
    ]
    limits = (
        f"Intervals resample problems, each with its mean over {num_repeats} repeats of {num_folds} folds; nothing is taught "
        "anew within them, so they leave out the luck of which problems taught."
    )
    return {
        "title": "Learned aggregation of recorded step judges, from outcomes alone",
        "version": stepcredit.__version__,
        "seed": seed,
        "config": {"path": str(folder), "sets": list(sets), "num_problems": num_problems, "num_resamples": num_resamples,
                   **{key: list(v) if isinstance(v, tuple) else v for key, v in asdict(plan).items()}},
        "expectation": EXPECTATION,
        **found,
        "summary": [*counts, *found["summary"], limits],
        "cost": {"seconds": time.perf_counter() - started},
    }  # fmt: skip
