"""Searching with a judge against choosing with it: beam, lookahead, chunk reset, guided MCTS, at equal generated tokens.

Three judges on the same tiny policy, taught on the same attempts: a latent chain (RSP, arXiv:2609.39220) and outcome
broadcast (OVM, 2311.09724) from outcomes alone, and oracle step labels. Each search is compared with best of N (2110.14168),
weighted majority (DiVeRSe, 2206.02336) and majority (2203.11171) by the same judge at the generated tokens that search was
measured to take, whatever its knobs. Searches: beam and lookahead (2408.03314), chunk reset (StepWiser, 2508.19229),
guided eta-MCTS (AlphaLLM, 2404.12253). World, policy and judges are those of `recipes/alphallm` (`_alphallm_task`).

Told beside them: how often the answer chosen is right with a wrong step, and wrong with sound steps.
Departs from all papers in scale: 10^5 parameters from scratch, one task; what can transfer is the order of mechanisms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.recipes._alphallm_world import Scale, World
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._judge_search_run import run_of
from stepcredit.recipes._judge_search_study import JUDGE_NAMES, SEARCHES, Study


@dataclass(frozen=True)
class Size:
    """What is trained and tested, the N that are shown, and the tokens of guided MCTS in attempts."""

    scale: Scale
    num_list: tuple[int, ...]
    budget: int


EASY = (("min_ops", 1), ("max_ops", 2))
SIZES = {
    "quick": Size(Scale(60, 120, 0, 12, 8, 4, 6, 4, num_rounds=0, hidden=32, task=EASY), (1, 4), 2),
    "small": Size(Scale(8000, 1000, 0, 700, 16, 650, 100, 24, num_rounds=0), (1, 4, 8, 16, 24), 8),
}
EXPECTATION = (
    "Written before seeds 640 to 644, after looking at the policy on seed 1; no judge or search was tuned. With oracle labels beam "
    "and chunk reset are above best of N and weighted majority at their own tokens: a mistake costs a line, not an attempt. "
    "With the latent chain the order is the same and the gaps smaller. Outcome broadcast says whether an attempt will end right, "
    "not whether a line is sound: chunk reset with it is level with best of N or below, beam above. Lookahead pays for what it "
    "simulates and is no better than beam; guided MCTS is level with best of N. Best of 8 by the chain is right with a wrong step "
    "in fewer than .05 of the problems, majority of 8 in more; wrong answers with sound steps are rare: attempts seldom stop "
    "too early."
)
JUDGES = ("majority", *JUDGE_NAMES)


@registry.register("recipes", paper="arXiv:2408.03314")
def judge_search(
    *, size: Literal["quick", "small"] = "small", seeds: Sequence[int] = (1,), judges: Sequence[str] = (),
    out: str = "runs/judge_search", progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run every search with every judge; finished judges are kept under `out/cells`. Returns the run for run.json.

    `judges`: of "majority" (which needs none), "latent_chain", "outcome_broadcast", "oracle"; all where none is named.
    Raises ValueError for an unknown size or judge, or no seed.
    """
    found = results(size, seeds, list(judges) or list(JUDGES), out=out, progress=progress)
    config = {
        "size": size,
        "plan": asdict(SIZES[size]),
        "searches": {name: knobs for name, (_, knobs) in SEARCHES.items()},
    }
    return run_of(found, seeds=seeds, expectation=EXPECTATION, config=config)


def results(
    size: str, seeds: Sequence[int], judges: Sequence[str], *, out: str = "runs/judge_search", progress: bool = False
) -> dict[str, list[ArmResult]]:
    """Each row's result per seed, read back where it is finished."""
    if len(set(seeds)) < len(seeds) or len(set(judges)) < len(judges):
        raise ValueError(f"seeds {list(seeds)}, judges {list(judges)}: one is named twice")
    if size not in SIZES or not seeds or (unknown := sorted(set(judges) - set(JUDGES))):
        raise ValueError(f"size {size!r}, {len(seeds)} seeds; there are: {', '.join(SIZES)}; give one seed or more"
                         if size not in SIZES or not seeds else f"no judge {unknown[0]!r}; there are: {', '.join(JUDGES)}")  # fmt: skip
    plan = SIZES[size]
    found: dict[str, list[ArmResult]] = {}
    for seed in seeds:
        study = Study(World(plan.scale, seed, Path(out), progress), plan.num_list, plan.budget)
        for judge in judges:
            for name, result in study.result(judge).items():
                found.setdefault(name, []).append(result)
    return found
