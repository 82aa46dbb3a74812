"""Does the step judge of outcomes scale like that of labels? Every outcome-only rival, by attempts and by what they cost.

    N attempts with outcomes -> step credit -> judge -> step AUROC, first-error F1, best of 2, 8, 32

Rivals: latent chain (RSP, arXiv:2609.39220; CRM, 2509.26578; one learned recovery rate), softmin (LCA, 2606.27739),
geometric mean (OpenReview df3p10k2kq), buffer (FreePRM, 2506.03570), outcome broadcast and its squared error (OVM,
2311.09724), value drops (AutoPSV, 2405.16802), the self-supervised filter (SPRM, 2507.01951), the last step alone
(2110.14168); soft Monte Carlo restarts (Math-Shepherd, 2312.08935) and their denoising (SCAN, 2509.16548) at as many
generated steps; oracle labels for 0.1, 1, 10 and 100 % of the attempts; and outcomes for all, corrected by labels for a
few (`credit/hybrid`, ours); with a network also implicit rewards (ImplicitPRM, 2412.01981; PRIME, 2502.01456). Writer and world are exact: `tasks/chain` written by `policy/tabular`.

Two judges. "lookup" knows each distinct line by heart, so that the credit alone limits it: what outcomes identify.
"network" is a small transformer that starts as a language model of the attempts: it must learn to verify as well. A table
writes nothing and has no log-ratio: implicit rewards are the network's alone.
Departs from all papers in scale. Updates are equal, but for rivals that are taught twice (value drops, hybrid). All see the
outcomes of the same attempts, but for oracle labels, which teach by the labelled attempts alone, and the restarts, which
spend as many generated steps on a sixth to a twelfth of the attempts. Labels of the oracle end at the first error, those
that a hybrid reads do not. Network judges all start from one language model of 4,000 attempts, whatever their own number. `settings` change the world around the lookup judge: how often a
wrong step is recovered, systematic or random slips, the verifier's noise, length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._fit import Budget
from stepcredit.recipes._scaling_rivals import LOOKED_UP, RIVALS, SETTINGS, SWEPT, rival_in
from stepcredit.recipes._scaling_run import run_of
from stepcredit.recipes._scaling_study import NULLS, Cells, JudgeKind
from stepcredit.recipes._scaling_world import NUM_ATTEMPTS, Setting

Grid = dict[str, dict[int, list[ArmResult]]]  # rival, attempts, seeds


@dataclass(frozen=True)
class Size:
    """Numbers of training attempts, of test problems (32 attempts each), and the world that is swept with so many."""

    num_attempts: tuple[int, ...]
    num_test: int
    lookup_updates: int
    network_updates: int
    swept_attempts: int


SIZES = {
    "quick": Size((160, 480), 4, 20, 3, 160),
    "small": Size((800, 3200, 12800, 51200), 200, 600, 1000, 3200),
}
EXPECTATION = (
    "Written before seeds 400 to 404, after tuning rates and updates on seed 1. Lookup judge: everything rises with the number "
    "of attempts; with the most, chain, softmin, geometric mean and oracle labels on all attempts are equal, near 1. With few "
    "attempts labels are worth more: the chain needs two to four times the attempts for the F1 of labels on all of them, and "
    "beats labels on 1 % at every size. Geometric mean and softmin stand level with the chain or above it, with few "
    "attempts above all; their step scores have no common scale (step AUROC near .7). Broadcast, value, filter and buffer stay "
    "behind, the outcome model and SCAN last; Monte Carlo, at equal generated steps, behind broadcast's order of rivals but "
    "not last. A few labels beside outcomes pay with few attempts only. Network judge: the same order, with larger gaps, as "
    "verification must be learned too. Sweeps: recovery and a verifier's false positives hurt softmin and geometric mean "
    "more than the chain, false negatives the chain unless it is told; a chain told the verifier's rates is best under "
    "noise; length hurts all that do not model the state. Of implicit rewards, written after the network judge had been started on these seeds "
    "and before any of its numbers was looked at: near the outcome model at picking, poor at locating (first-error F1, step AUROC): behind "
    "the chain by far, whichever way they are read. Of the rivals that the network judge was not run with at first, written before "
    "they were: with the most attempts the geometric mean and the chains without a free repair rate are level with the chain within .1 of F1, "
    "with the fewest above it; value drops above broadcast, the value's squared error level with it, buffer and Monte Carlo behind, SCAN and the "
    "outcome model last of all at 6,400; the filters level with broadcast; hybrid with a tenth of the labels above the chain and below those labels alone."
)


@registry.register("recipes", paper="arXiv:2609.39220")
def scaling(
    *, size: Literal["quick", "small"] = "small", judge: JudgeKind = "lookup", seeds: Sequence[int] = (1,),
    rivals: Sequence[str] = (), num_attempts: Sequence[int] = (), settings: Sequence[str] = tuple(SETTINGS), out: str = "runs/scaling",
    progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run the cells that are not on disk yet and return the run. `rivals`, `num_attempts`: all that the judge can be, where none is named.

    `settings`: the worlds that are swept, with the lookup judge alone. Raises ValueError for a name or number there is not.
    """
    if not seeds:
        raise ValueError("seeds is empty; give one or more")
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise ValueError(f"no setting {unknown[0]!r}; there are: {', '.join(SETTINGS)}")
    names = list(rivals) or list(LOOKED_UP if judge == "lookup" else RIVALS)
    _check(size, judge, names, num_attempts)
    sizes = list(num_attempts) or list(SIZES[size].num_attempts)
    found = grid(size, judge, seeds, names, sizes, out=out, progress=progress)
    swept = {name: sweep(size, name, seeds, out=out, progress=progress) for name in settings if judge == "lookup"}
    trivial = _cells(size, judge, seeds, Setting(), out, progress)
    nulls: dict[str, list[ArmResult]] = {}
    for cells in trivial:
        for name, result in cells.nulls().items():
            nulls.setdefault(name, []).append(result)
    config = {"size": size, "judge": judge, "num_attempts": sizes, "plan": asdict(SIZES[size]), "budget": asdict(_budget(size, judge)),
              "settings": {name: setting.changed() for name, setting in SETTINGS.items()}}  # fmt: skip
    return run_of(found, swept, nulls, seeds=seeds, judge=judge, expectation=EXPECTATION, config=config)


def grid(
    size: str, judge: JudgeKind, seeds: Sequence[int], rivals: Sequence[str], num_attempts: Sequence[int], *,
    out: str = "runs/scaling", progress: bool = False,
) -> Grid:  # fmt: skip
    """Each rival's results by number of attempts and seed, in the default world.

    Raises ValueError for an unknown size or rival, one that the judge cannot be, or more attempts than the size has.
    """
    _check(size, judge, rivals, num_attempts)
    found: Grid = {name: {num: [] for num in num_attempts} for name in rivals}
    for cells in _cells(size, judge, seeds, Setting(), out, progress):
        for name in rivals:
            for num in num_attempts:
                found[name][num].append(cells.result(RIVALS[name], num))
        cells.forget()
    return found


def sweep(
    size: str, setting: str, seeds: Sequence[int], *, out: str = "runs/scaling", progress: bool = False
) -> dict[str, list[ArmResult]]:  # fmt: skip
    """The swept rivals' results in one setting with the lookup judge, and under "world" what its attempts are like.

    Raises ValueError for an unknown setting.
    """
    if setting not in SETTINGS:
        raise ValueError(f"no setting {setting!r}; there are: {', '.join(SETTINGS)}")
    own, num = SETTINGS[setting], SIZES[size].swept_attempts
    found: dict[str, list[ArmResult]] = {name: [] for name in SWEPT}
    for cells in _cells(size, "lookup", seeds, own, out, progress, num):
        for name in SWEPT:
            found[name].append(cells.result(rival_in(name, own), num))
        found.setdefault(NULLS, []).append(cells.nulls()["majority"])
        found.setdefault("world", []).append(cells.world())
        cells.forget()
    return found


def _check(size: str, judge: JudgeKind, rivals: Sequence[str], num_attempts: Sequence[int]) -> None:
    if size not in SIZES or (unknown := sorted(set(rivals) - set(RIVALS))):
        raise ValueError(f"no size {size!r}; there are: {', '.join(SIZES)}" if size not in SIZES else
                         f"no rival {', '.join(unknown)}; there are: {', '.join(map(repr, RIVALS))}")  # fmt: skip
    if judge == "lookup" and (cannot := [name for name in rivals if name not in LOOKED_UP]):
        raise ValueError(
            f"the rival {cannot[0]!r} is a log-ratio of language models, which the lookup judge has not; give judge='network'"
        )
    most = max(SIZES[size].num_attempts)
    if bad := [num for num in num_attempts if num % NUM_ATTEMPTS or not NUM_ATTEMPTS <= num <= most]:
        raise ValueError(f"num_attempts {bad[0]}; allowed at size {size}: multiples of {NUM_ATTEMPTS} up to {most}")


def _cells(
    size: str, judge: JudgeKind, seeds: Sequence[int], setting: Setting, out: str, progress: bool, most: int | None = None
) -> list[Cells]:  # fmt: skip
    plan = SIZES[size]
    most = most or max(plan.num_attempts)
    return [Cells(seed, setting, most, plan.num_test, judge, _budget(size, judge), Path(out), progress=progress)
            for seed in seeds]  # fmt: skip


def _budget(size: str, judge: JudgeKind) -> Budget:
    plan = SIZES[size]
    if judge == "lookup":
        return Budget(num_updates=plan.lookup_updates, batch_size=256, learning_rate=0.1)
    return Budget(num_updates=plan.network_updates, batch_size=64, learning_rate=1e-3, max_tokens=256, dtype="auto")
