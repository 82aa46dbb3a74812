"""One number over several seeds of one arm: the mean over seeds, its interval over problems.

Every seed judges the same attempts, so per-problem sums are added over seeds before problems are resampled: the
interval speaks of other problems, not of other seeds, whose spread is told by giving each seed's value beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.stats import clustered_bootstrap, ratio
from stepcredit.core.types import Estimate, Floats, Record
from stepcredit.evaluate import picked, process
from stepcredit.evaluate.curves import pick_probability, pools

Runs = Sequence[Sequence[Record]]  # one judged copy of the same records a seed


def process_over(runs: Runs, *, rng: Rng, num_resamples: int = 1000) -> dict[str, Estimate]:
    """`evaluate.process` over seeds; n counts each attempt (or step) once."""
    found = process([record for run in runs for record in run], rng=rng, num_resamples=num_resamples)
    return {name: replace(estimate, n=estimate.n // len(runs)) for name, estimate in found.items()}


def best_of_over(runs: Runs, num_list: Sequence[int], *, rng: Rng, num_resamples: int = 1000) -> dict[str, Estimate]:
    """`best_of_N`, and its paired gain `best_of_N_minus_random`, exact over subsets; problems of fewer attempts are left out."""
    found = {}
    for num in num_list:
        gain_RP, worth_RP = [], []
        for run in runs:
            stood = [pool for pool in pools(run) if len(pool.right_G) >= num]
            worth_RP.append([float(pick_probability(pool.score_G, num) @ pool.right_G) for pool in stood])
            gain_RP.append([w - float(pool.right_G.mean()) for w, pool in zip(worth_RP[-1], stood, strict=True)])
        found[f"best_of_{num}"] = _mean(np.mean(worth_RP, axis=0), "accuracy", rng, num_resamples)
        found[f"best_of_{num}_minus_random"] = _mean(
            np.mean(gain_RP, axis=0), "difference in accuracy", rng, num_resamples
        )
    return found


def picked_over(runs: Runs, num: int, kinds: Sequence[Sequence[str]], *, rng: Rng) -> dict[str, float]:
    """Share of best-of-`num` picks by kind of attempt, mean over seeds."""
    shares = [picked(run, num=num, rng=rng, kinds=kinds, num_resamples=1) for run in runs]
    return {kind: float(np.mean([share[kind].value for share in shares])) for kind in shares[0]}


def _mean(value_P: Floats, unit: str, rng: Rng, num_resamples: int) -> Estimate:
    sums_PK = np.stack([value_P, np.ones_like(value_P)], axis=1)
    return clustered_bootstrap(
        lambda total: ratio(total[..., 0], total[..., 1]), sums_PK, unit, rng=rng, num_resamples=num_resamples
    )
