"""A judge for Blocksworld plans of eleven language models, taught by outcomes alone.

    outcomes of synthetic noisy plans (and, problem-disjoint, of recorded ones) -> chain judge -> first bad action, best-of-11

A plan never recovers (it is right iff every action can be done and the goal holds at the end), so the link is
`derivation` with fix = 0. Plans and verdicts: PlanBench, arXiv:2206.10498; chain: RSP, arXiv:2609.39220, and CRM,
arXiv:2509.26578. Every arm starts from one small language model, trained on the texts of synthetic plans without their
outcomes, and has equal updates, the first of them on short plans (a chain is learnt from short attempts much sooner).
The arm "+ recorded" replaces a share of the synthetic plans by recorded ones under random names; it is trained once on
each half of the problems and judges the other half.

Step truth (the simulator's) measures; the oracle arm alone is trained on it. Errors are decoded without a threshold.
Settings were chosen on synthetic plans, with one exception: a first look at what was picked among the recorded plans of
the development split prompted, and missed goals among synthetic plans confirmed, that the state view repeats the goal
after "end". Dependences to know of: the demonstrator's mix of slips was fitted by hand to the
kinds of first errors among the recorded plans; most recorded problems have four blocks, and so renamed twins among the
synthetic ones (the same prompt is never trained on); the state layout shows effects, never preconditions
(`recipes/_plans.py`). An empty plan is `unparsed`: never trained on, a wrong pick, its wrong step is "end".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from stepcredit.core.registry import register
from stepcredit.recipes._fit import Teaching
from stepcredit.recipes._plan_arms import Arm, Bench, Judged, Size
from stepcredit.recipes._plan_run import run_of
from stepcredit.recipes._recorded import recorded

FILE = "planbench_r1/blocksworld_multimodel_zero_shot.dev.jsonl.gz"
EXPECTATION = (
    "Outcome-only chain in the state layout: ProcessBench F1 at least .75 and best-of-11 at least .75, where a random pick "
    "is right on .42; recorded outcomes help; the plain layout and outcome broadcast stay behind."
)
SIZES = {
    "quick": Size(200, 6, 50, 6, 100, 6, hidden=16, layers=2, batch_size=16, every=3, num_watched=60),
    "small": Size(16_000, 600, 6_000, 400, 16_000, 1000),
    "full": Size(60_000, 4000, 20_000, 1000, 60_000, 4000, every=500),
}
CHAIN = Teaching("latent_chain", "derivation", 0.0)
ARMS = {
    "latent_chain": Arm(CHAIN),
    "latent_chain + recorded": Arm(CHAIN, renamings=4),
    "outcome_broadcast": Arm(Teaching("broadcast")),
    "oracle": Arm(Teaching(credit="truth", chain_labels=True), kind="oracle"),
    "latent_chain, plain": Arm(CHAIN, view="plain"),
}


@register("recipes", paper="arXiv:2206.10498")
def blocksworld_plans(
    *, size: Literal["quick", "small", "full"] = "small", seeds: Sequence[int] = (0, 1, 2), other_seeds: int = 1,
    arms: Sequence[str] = tuple(ARMS), path: str | None = None, out: str | Path = "runs/blocksworld_plans",
    progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Train the arms, judge the recorded plans, return the run (schema: `report.write_report`).

    The first arm is trained with all `seeds`, the others with the first `other_seeds` of them.
    `path`: the recorded plans, by default under the folder in STEPCREDIT_DATA. `out` keeps the language models, and the
    judgments of each fit as soon as it is done, so that a second call continues. Raises ValueError for unknown arms or
    sizes, and for a missing file.
    """
    unknown = [name for name in arms if name not in ARMS]
    if unknown or size not in SIZES or not arms or not 1 <= other_seeds <= len(seeds):
        raise ValueError(
            f"arms {list(arms)}, size {size!r}, {len(seeds)} seeds, {other_seeds} of them for the other arms; allowed: "
            f"{', '.join(ARMS)}; {', '.join(SIZES)}; one seed or more"
        )
    source = recorded(path, FILE, "recorded plans", "a file of plans with their verdicts")
    bench = Bench(source, SIZES[size], Path(out), progress)
    fits: dict[str, list[Judged]] = {name: [] for name in arms}
    for index, seed in enumerate(seeds):
        for name in arms if index < other_seeds else arms[:1]:
            fits[name].append(bench.judged(name, ARMS[name], seed))
    return run_of(bench, fits, {name: ARMS[name] for name in arms}, seeds, EXPECTATION)
