"""One number over several seeds of one arm: the mean over seeds, its interval over problems.

Every seed judges the same attempts, and problems are resampled alike for all of them: the interval speaks of other
problems, not of other seeds, whose spread is told by giving each seed's value beside it. Counts and scores of several
judges are never pooled: an F1 of pooled counts is above the mean F1, and scores of two judges have no common scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.stats import clustered_mean
from stepcredit.core.types import Estimate, Record
from stepcredit.evaluate import picked, process
from stepcredit.evaluate.curves import pick_probability, pools

Runs = Sequence[Sequence[Record]]  # one judged copy of the same records a seed


def process_over(runs: Runs, *, rng: Rng, num_resamples: int = 1000) -> dict[str, Estimate]:
    """`evaluate.process` over seeds: means of the seeds' values, and of their bounds over the same resampled problems.

    n counts each attempt (or step) once. What one seed lacks is left out.
    """
    seed = int(rng.integers(2**63))
    of = [process(run, rng=np.random.default_rng(seed), num_resamples=num_resamples) for run in runs]
    return {name: _mean([found[name] for found in of]) for name in of[0] if all(name in found for found in of)}


def best_of_over(runs: Runs, num_list: Sequence[int], *, rng: Rng, num_resamples: int = 1000) -> dict[str, Estimate]:
    """`best_of_N`, and its paired gain `best_of_N_minus_random`, exact over subsets; problems of fewer attempts are left out."""
    found = {}
    for num in num_list:
        gain_RP, worth_RP = [], []
        for run in runs:
            stood = [pool for pool in pools(run) if len(pool.right_G) >= num]
            worth_RP.append([float(pick_probability(pool.score_G, num) @ pool.right_G) for pool in stood])
            gain_RP.append([w - float(pool.right_G.mean()) for w, pool in zip(worth_RP[-1], stood, strict=True)])
        worth_P, gain_P = np.mean(worth_RP, axis=0), np.mean(gain_RP, axis=0)
        found[f"best_of_{num}"] = clustered_mean(worth_P, "accuracy", rng=rng, num_resamples=num_resamples)
        found[f"best_of_{num}_minus_random"] = clustered_mean(
            gain_P, "difference in accuracy", rng=rng, num_resamples=num_resamples
        )
    return found


def picked_over(runs: Runs, num: int, kinds: Sequence[Sequence[str]], *, rng: Rng) -> dict[str, float]:
    """Share of best-of-`num` picks by kind of attempt, mean over seeds."""
    shares = [picked(run, num=num, rng=rng, kinds=kinds, num_resamples=1) for run in runs]
    return {kind: float(np.mean([share[kind].value for share in shares])) for kind in shares[0]}


def _mean(of: Sequence[Estimate]) -> Estimate:
    value, low, high = (float(np.mean([getattr(one, name) for one in of])) for name in ("value", "low", "high"))
    return Estimate(value, low, high, sum(one.n for one in of) // len(of), of[0].unit)
