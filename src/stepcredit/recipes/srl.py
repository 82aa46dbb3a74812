"""Supervised reinforcement learning against reinforcement from outcomes, where attempts are hardly ever right (SRL, arXiv:2510.25992).

An expert's solution of N steps is N problems: go on with one step behind the steps before it. Eight samples of that step, a
monologue and an action, are rewarded by how much of the expert's action stands in theirs, -1 for a broken format; z-scores in
the group, no KL, groups whose rewards do not vary are drawn anew. Beside it, at equal generated tokens (SFT: equal updates):

    base            the start policy                       rlvr         GRPO on outcomes
    sft             fine-tuned on the expert's traces      srl whole    whole attempts, similarity to the whole solution
    srl all         SRL without dynamic sampling           srl -> rlvr  half of the tokens each

Departs: policy from scratch with 10^5 parameters, made to lose its way in long problems (`_srl_world`); 150 expert traces; the
last step is an instance too; whole attempts have a monologue a line, where the paper's have one. What can transfer is the order
of mechanisms: a dense reward finds a gradient where outcomes have none. What cannot: that SFT hurts a large model, and sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._rl import Cells, run_of
from stepcredit.recipes._srl_arms import ARMS, KINDS, Plan, run_arm
from stepcredit.recipes._srl_world import Scale, World
from stepcredit.recipes._starts import Starts, decides, own_scale


@dataclass(frozen=True)
class Size:
    """What is shown and tested, and what an arm may spend."""

    scale: Scale
    plan: Plan


SIZES = {
    "quick": Size(
        Scale(40, 40, 4, 2, 6, 4, easy=(1, 2), long=(3, 3), hard=(3, 3), hidden=16, layers=1),
        Plan(700, 2, 4, 4, num_attempts=2),
    ),
    "small": Size(Scale(3000, 3000, 700, 350, 150, 40), Plan(50_000)),
}
COLUMNS = ("hard", "hard, any", "sound lines", "easy", "groups kept")
EXPECTATION = (
    "Written before seeds 950 to 954; rates and sizes were chosen on seed 1. On hard problems the start policy is right next to never, "
    "so RLVR finds no gradient and stays there. SRL is above it, since steps are right now and then; the similarity of whole "
    "attempts is between the two: it cannot tell which line left an operation out. Dynamic sampling is worth little here, as "
    "nearly every group varies until late and what is dropped is paid for. RLVR behind half of SRL is above SRL alone once "
    "attempts are right often enough. SFT on the traces is level with SRL or above, unlike in the paper: a policy from scratch has "
    "little to lose; on easy problems it loses some. "
    "Written before seeds 955 to 959, whose start policies are made from the seed itself, none of which was looked at: the order stays, "
    "SRL above RLVR, above the similarity of whole attempts and above SFT at as many updates, which has only begun to change its "
    "way of thinking. RLVR is within .02 of the start policy. Start policies differ in how often they leave an operation out, so "
    "that SRL's interval is the wider one, and its lead may be half of what it was with one start policy for all."
)


@registry.register("recipes", paper="arXiv:2510.25992")
def srl(
    *, size: Literal["quick", "small"] = "small", seeds: Sequence[int] = (1,), arms: Sequence[str] = (), out: str = "runs/srl",
    starts: Starts = "one",
) -> dict[str, Any]:  # fmt: skip
    """Train and test every arm; finished ones are kept under `out/arms`. Returns the run for run.json.

    `arms`: of "base", "sft", "rlvr", "srl whole", "srl all", "srl", "srl -> rlvr"; all where none is named.
    `starts`: "one" start policy for all seeds, as the first claims have it, or "each" seed's own, so that intervals over seeds
    are over start policies too. Raises ValueError for an unknown size, arm or kind of starts, or no seed.
    """
    found = results(size, seeds, list(arms) or list(ARMS), out=out, starts=starts)
    plan = SIZES[size]
    return run_of(found, KINDS, COLUMNS, title="Supervised reinforcement learning", seeds=seeds, expectation=EXPECTATION,
                  config={"size": size, "starts": starts, "scale": asdict(plan.scale), "plan": asdict(plan.plan)}, curve="hard")  # fmt: skip


def results(
    size: str, seeds: Sequence[int], arms: Sequence[str], *, out: str = "runs/srl", starts: Starts = "one"
) -> dict[str, list[ArmResult]]:
    """Each arm's result per seed, read back where it is finished."""
    if size not in SIZES or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"size {size!r}, seeds {list(seeds)}; allowed: {', '.join(SIZES)}; one seed or more, each once"
        )
    if unknown := sorted(set(arms) - set(ARMS)):
        raise ValueError(f"no arm {unknown[0]!r}; there are: {', '.join(ARMS)}")
    plan = SIZES[size]
    cells = Cells(Path(out), decides(plan, starts))
    found: dict[str, list[ArmResult]] = {name: [] for name in arms}
    for seed in seeds:
        world = World(own_scale(plan.scale, starts, seed), seed, Path(out))

        def own(name: str, updates: int = 0, world: World = world) -> ArmResult:
            return cells.result(name, world.seed, lambda: run_arm(world, plan.plan, name, updates=updates))

        for name in arms:
            updates = int(own("srl").curve[-1]["update"]) if name == "sft" else 0
            found[name].append(own(name, updates))
    return found
