"""Information gain as a reward for thinking to the point: accuracy and tokens an attempt, from the same start (L2T, arXiv:2505.10425).

What a step gains is how much likelier it makes the gold answer to the policy itself, less what learning the step would cost in
parameters. The policy rechecks needlessly; each way of turning gains into advantages (`_l2t_arms`) has the same generated tokens:

    grpo, penalty     outcomes alone; outcomes less a price on length
    sum, mean         gains added up (they telescope: J(end) - J(start)), or that divided by tokens
    full              the default: outcomes and net gains, each compared with its own kind
    gains, charged    the same without costs; with costs that are taken off behind the comparison, so that none is a bonus
    paper, released   the paper's ratio A r / rbar, whose signs are counted; the released code's sum of deltas over tokens

Departs: policy from scratch with 10^5 parameters; an episode is a line; the answer is one token, so J needs no approximation.
What can transfer is which form shortens and which lengthens, and why. What cannot: sizes, and whether thoughts of a large
model hold as little as these rechecks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._l2t_arms import ARMS, KINDS, Plan, run_arm
from stepcredit.recipes._l2t_world import Scale, World
from stepcredit.recipes._rl import Cells, run_of
from stepcredit.recipes._starts import Starts, decides, own_scale


@dataclass(frozen=True)
class Size:
    """What is shown and tested, and what an arm may spend."""

    scale: Scale
    plan: Plan


SIZES = {
    "quick": Size(Scale(40, 4, 8, 4, ops=(2, 2), hidden=16, layers=1), Plan(700, 2, 4, num_attempts=2)),
    "small": Size(Scale(5000, 900, 200, 80), Plan(40_000)),
}
COLUMNS = ("accuracy", "tokens an attempt", "recheck minus line", "signs flipped")
EXPECTATION = (
    "Written before seeds 960 to 964. Seed 1 was seen for grpo, full, released and mean (37, 38, 39 and 27 tokens an attempt, accuracy "
    ".90 to .93), and nothing was changed after it. GRPO gets more accurate and hardly shorter: rechecks cost it nothing. Added-up "
    "gains do as GRPO does, for they telescope. The mean over tokens is shorter, by its 1 / tokens alone, as accurate. The repaired "
    "form is not shorter than GRPO: a recheck gains nothing, but it hardly surprises either, so its compression cost is below the "
    "mean and standardising turns that into pay. The length penalty is shorter than GRPO. The released sum over tokens is a little "
    "longer. In the paper's form a tenth of the tokens or more have the wrong sign, and it is the least accurate. "
    "Written before seeds 965 to 969, whose start policies are made from the seed itself, none of which was looked at. The form "
    "`charged` was chosen for what it cannot do, pay for filler, before any run of it; seed 1 of the old start policy was then seen "
    "for it (32 tokens an attempt, accuracy .91; with beta 2, 37 and .93) and for three that are not in the table (charges on their "
    "own steps alone 40, costs above the mean alone 36, returns compared whole 42), and nothing was changed. It is a few tokens shorter "
    "than GRPO and than the repaired form, and longer than the mean over tokens: a recheck is charged, but little, and what follows it "
    "is the cheaper for it, since the policy rechecks more often than not and what is rare costs most. It is as accurate as GRPO. "
    "The repaired form is again not shorter than GRPO, and the mean again shorter than the sum, by 5 tokens or more."
)


@registry.register("recipes", paper="arXiv:2505.10425")
def l2t(
    *, size: Literal["quick", "small"] = "small", seeds: Sequence[int] = (1,), arms: Sequence[str] = (), out: str = "runs/l2t",
    starts: Starts = "one",
) -> dict[str, Any]:  # fmt: skip
    """Train and test every arm; finished ones are kept under `out/arms`. Returns the run for run.json.

    `arms`: of "base", "grpo", "penalty", "sum", "mean", "full", "gains", "charged", "paper", "released"; all where none is named.
    `starts`: "one" start policy for all seeds, as the first claims have it, or "each" seed's own, so that intervals over seeds
    are over start policies too. Raises ValueError for an unknown size, arm or kind of starts, or no seed.
    """
    found = results(size, seeds, list(arms) or ["base", *ARMS], out=out, starts=starts)
    plan = SIZES[size]
    return run_of(found, KINDS, COLUMNS, title="Learning to Think", seeds=seeds, expectation=EXPECTATION,
                  config={"size": size, "starts": starts, "scale": asdict(plan.scale), "plan": asdict(plan.plan)}, curve="accuracy")  # fmt: skip


def results(
    size: str, seeds: Sequence[int], arms: Sequence[str], *, out: str = "runs/l2t", starts: Starts = "one"
) -> dict[str, list[ArmResult]]:
    """Each arm's result per seed, read back where it is finished."""
    if size not in SIZES or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"size {size!r}, seeds {list(seeds)}; allowed: {', '.join(SIZES)}; one seed or more, each once"
        )
    if unknown := sorted(set(arms) - {"base", *ARMS}):
        raise ValueError(f"no arm {unknown[0]!r}; there are: base, {', '.join(ARMS)}")
    plan = SIZES[size]
    cells = Cells(Path(out), decides(plan, starts))
    found: dict[str, list[ArmResult]] = {name: [] for name in arms}
    for seed in seeds:
        world = World(own_scale(plan.scale, starts, seed), seed, Path(out))
        for name in arms:

            def run(name: str = name, world: World = world) -> ArmResult:
                return run_arm(world, plan.plan, name)

            found[name].append(cells.result(name, seed, run))
    return found
