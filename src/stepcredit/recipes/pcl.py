"""Post-completion learning: a policy that learns to evaluate itself behind the point where inference stops.

    problem -> steps, <eoc> | re-check bits, predicted rewards, end          inference ends at the bar, training does not
    L = L_GRPO + w_1 CE_1 (reasoning track) + w_2 CE_2 (evaluation track)    reasoning: accuracy + format; evaluation: consistency

PCL, arXiv:2507.20252. Arms at equal tokens: supervised alone without and with the evaluation track; GRPO on attempts that stop at
the marker; PCL with a proper consistency reward on the evaluation alone (`credit/post_completion`); with one advantage for all
tokens, as released; with the released reward, split; and the same tokens without any consistency reward. Supervised arms spend as
many tokens with a loss as the others generate. Inference tokens are those up to the marker, whatever is written behind.
Departs: arithmetic chains and 10^5 parameters from scratch; labels are the verifier's outcomes, no teacher's; the marker is a
token of its own, as in the paper, where the release has a literal; no warm-up of w_2. What can transfer is which reward keeps a
self-evaluation honest, and that inference is not longer; what cannot is how much reasoning gains from it in a model that
already can judge. World: `_pcl_world`; arms, mixing and test: `_pcl_arms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._pcl_arms import ARMS, WEIGHT, run_way
from stepcredit.recipes._pcl_world import Scale, World
from stepcredit.recipes._rl import Cells, run_of
from stepcredit.train.grpo import Settings

REVISION = 1  # raise it when code that decides an arm's numbers changes


@dataclass(frozen=True)
class Size:
    """A scale, the problems of a batch and the attempts at each; `length` is the constant the loss divides by."""

    scale: Scale
    num_problems: int = 4
    num: int = 8
    learning_rate: float = 5e-4
    length: int = 24


TASK = (
    ("modulus", 3),
    ("min_ops", 2),
    ("max_ops", 3),
    ("num_slips", 5),
    ("systematic_slip", 0.7),
    ("slip_seed", 2),
)
SIZES = {
    "quick": Size(Scale(20, 3, 2000, 2000, 300, 12, 8, 2, batch_size=16, hidden=16, layers=1, task=TASK), num=4),
    "tiny": Size(Scale(400, 4, 60_000, 60_000, 20_000, 100, 50, 4, task=TASK)),
    "small": Size(Scale(1200, 4, 200_000, 400_000, 40_000, 200, 100, 4, task=TASK)),
}
EXPECTATION = (
    "Written before seeds 761 to 765, after seed 1: sizes of the bases, the rate and the world were set there (a base that could "
    "not yet evaluate ended at saying right whatever the reward), where the base stood at accuracy .66 and AUROC .75, PCL ended at .89 "
    "and .69, the released reward at .92 and .51, with .99 said to be right. So: inference tokens equal, to a tenth of a token. "
    "With the released reward nearly everything is said to be right, AUROC near .5; with Brier some discrimination stays, on own "
    "attempts less than the base had, since few stay wrong, on the same attempts as much as supervised alone or a little less. "
    "Calibration error on the same attempts is larger by .1 or more with the released reward, on own attempts it is not: there saying "
    "right is right. Accuracy: GRPO at or above PCL at equal generated tokens, both far above supervised alone. One advantage for "
    "all: accuracy as split, self-evaluation worse, as evaluations of wrong answers are punished for them; without any "
    "consistency reward, worst but for the released one."
)
SAME = ", same attempts"
COLUMNS = (
    "accuracy",
    "inference tokens",
    "readable",
    "auroc",
    "ece",
    "said right",
    f"auroc{SAME}",
    f"ece{SAME}",
    f"said right{SAME}",
)


@registry.register("recipes", paper="arXiv:2507.20252")
def pcl(
    *, size: Literal["quick", "tiny", "small"] = "small", seeds: Sequence[int] = (1, 2), arms: Sequence[str] = (),
    out: str = "runs/pcl",
) -> dict[str, Any]:  # fmt: skip
    """Train every arm (or those named) from each seed's policies; finished ones are kept. Returns the run for run.json.

    Raises ValueError for an unknown size or arm, no seed or one twice; RuntimeError without TRL, the extra `rl`.
    """
    found = results(size, seeds, arms, out=out)
    kinds = {name: ARMS[name].kind for name in found}
    config = {"size": size, **_decides(SIZES[size]), "arms": {name: asdict(ARMS[name]) for name in found}}
    return run_of(found, kinds, COLUMNS, title="Post-completion learning: self-evaluation behind the end of completion",
                  seeds=seeds, expectation=EXPECTATION, config=config, curve="accuracy")  # fmt: skip


def results(
    size: str, seeds: Sequence[int], arms: Sequence[str] = (), *, out: str = "runs/pcl"
) -> dict[str, list[ArmResult]]:
    """Each arm's result per seed, read back where it is finished."""
    if size not in SIZES or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"size {size!r}, seeds {list(seeds)}; there are: {', '.join(SIZES)}; give one seed or more, each once"
        )
    if unknown := [name for name in arms if name not in ARMS]:
        raise ValueError(f"no arm {unknown[0]!r}; there are: {', '.join(ARMS)}")
    plan, cells = SIZES[size], Cells(Path(out), _decides(SIZES[size]))
    settings = Settings(num_updates=5000, num_problems=plan.num_problems, learning_rate=plan.learning_rate,
                        max_new_tokens=plan.length, max_generated_tokens=plan.scale.budget)  # fmt: skip
    found: dict[str, list[ArmResult]] = {}
    for seed in seeds:
        world = World(plan.scale, seed, Path(out))
        for name in arms or ARMS:
            found.setdefault(name, []).append(
                cells.result(name, seed, partial(run_way, ARMS[name], world, settings, plan.num))
            )
    return found


def _decides(plan: Size) -> dict[str, Any]:
    """All that decides an arm's numbers."""
    return {"revision": REVISION, "plan": asdict(plan), "weight": WEIGHT}
