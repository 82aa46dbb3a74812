"""ToolPO: what calls earn is put on the calls alone, trained against the tool itself or against a simulator of it.

    episodes with a tool -> success and right calls -> A = A_success + 1[call] A_action -> train/grpo -> success on the real tool

ToolPO (DeepAgent), arXiv:2510.21618, section 3.5: `credit/tool_attribution` with the calls of the gold plan as the meaning of a
right call, their share rather than their number, so that a call repeated earns nothing. Arms: success alone (GRPO without
std, as the paper's advantages are), the same rewards on all tokens, and ToolPO; each trained on the unreliable tool
(a share of calls fails, results are written in several ways) and in a clean simulator that executes nothing. All are
tested on the unreliable tool, on problems nobody trained on, at equal generated tokens. "per call" is no arm of the paper's:
each call has an advantage of its own.
Size "folds" has a context limit: an episode that reaches it goes on from a memory, trained under that prompt, or is cut.
Departs: 140,000 parameters taught on demonstrations with slips; a function folds (`_tool_folds`); the simulator is a table of
gold results, where the paper asks a language model.
Not free of labels: the gold calls are a person's plan, if not a judgement of each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stepcredit.core.registry import bind, register
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._rl import Cells, RlArm, before_and_after, run_of, train_arm
from stepcredit.recipes._tool_folds import FoldWorld
from stepcredit.recipes._tool_rl import ToolWorld
from stepcredit.train.grpo import Settings


@dataclass(frozen=True)
class Size:
    """A world, the tokens of an arm, problems a batch, episodes a problem (the paper's K is 8), tests, and the arms."""

    world: ToolWorld | FoldWorld
    tokens: int
    num_problems: int
    num: int
    every: int
    arms: tuple[str, ...]


REAL = ("real", 0.3)
GOLD: dict[str, Any] = {"correct": "matches_gold", "count": "share"}
CREDITS = {
    "success": bind("credit", "group_mean", normalize="none"),
    "all tokens": bind("credit", "tool_attribution", **GOLD, kinds=("reason", "tool_call", "answer")),
    "toolpo": bind("credit", "tool_attribution", **GOLD),
    "per call": bind("credit", "tool_attribution", **GOLD, per_call=True),
}
WHERE = {"on the tool": {}, "in the simulator": {"real": 0.0, "simulated": True}}
ARMS = tuple(f"{credit}, {where}" for where in WHERE for credit in CREDITS)
FOLDS = ("toolpo, folds", "toolpo, cut", "toolpo, no limit")
PAPERS = tuple(name for name in ARMS if not name.startswith("per call"))
KINDS = {name: "label-free" if name.startswith(("toolpo", "per call")) else "control" for name in ARMS}
KINDS |= {name: "label-free" if name == FOLDS[0] else "control" for name in FOLDS}
SIZES = {
    "quick": Size(
        ToolWorld("tool_use", (("backend", "store"), REAL), 40, 4, 8, 3, 2, 6, hidden=16), 400, 2, 3, 1, PAPERS[:4]
    ),
    "tiny": Size(
        ToolWorld("tool_use", (("backend", "sqlite"), REAL), policy_updates=400), 300_000, 8, 8, 20, (ARMS[0], ARMS[2])
    ),
    "sqlite": Size(
        ToolWorld("tool_use", (("backend", "sqlite"), REAL), policy_updates=400), 100_000, 8, 8, 20, ARMS[:4]
    ),
    "folds": Size(
        FoldWorld(
            ToolWorld(
                "tool_use",
                (("backend", "sqlite"), ("real", 0.2), ("slip", 0.2), ("min_calls", 3), ("max_calls", 5)),
                policy_updates=400,
                num_train=1500,
                num_tested=2,
                max_turns=10,
            ),
            limit=64,
        ),
        40_000,
        8,
        8,
        0,
        FOLDS[:2],
    ),
    "small": Size(ToolWorld("tool_use", (("backend", "store"), REAL)), 50_000, 8, 8, 20, PAPERS),
}
EXPECTATION = (
    "Written before seeds 740 to 744. Success on the unreliable tool: ToolPO above success alone, for its calls are told apart where "
    "the outcome says little; the same rewards on all tokens lie between. Two-sided between simulator and tool: the "
    "simulator never fails at random, but has never shown a failure either (paper: +1.4 points without attribution, +2.8 "
    "without simulator, of 48). "
    "Written before seeds 745 to 749, with the store's 740 to 744 and the database's seed 1 seen. On the database ToolPO is above "
    "success alone, in success and in sound calls: a wrong query brings back a number there, and the outcome says little of which it "
    "was. All tokens lie between; each call with an advantage of its own makes calls sounder than ToolPO, success two-sided. In the "
    "simulator of the store ToolPO is level with success alone, and success alone is below what it learns on the tool. "
    "Written before folded seeds 745 to 749, with the start policy of seed 1 seen (.370 with folds, .220 cut, .355 with no limit): "
    "folds stay above being cut by a tenth or more, most of it there before training; ToolPO learns with folds, if little of 40,000 "
    "tokens."
)


@register("recipes", paper="arXiv:2510.21618")
def toolpo(
    *, size: Literal["quick", "tiny", "sqlite", "folds", "small"] = "tiny", seeds: Sequence[int] = (1,), arms: Sequence[str] = (),
    out: str = "runs/toolpo",
) -> dict[str, Any]:  # fmt: skip
    """Train the arms, test them on the unreliable tool; finished arms are kept under `out/arms`. Returns the run.

    Size "tiny" is the SQLite database: two arms within ten minutes on two cores, success before and after with intervals.
    Raises ValueError for an unknown size or arm, or no seed; RuntimeError where TRL is missing.
    """
    found = results(size, seeds, arms, out=out)
    lines = [f"{name}: success on the unreliable tool {', '.join(before_and_after(one) for one in of)} (a seed each; intervals over problems)."
             for name, of in found.items()]  # fmt: skip
    return run_of(found, KINDS, ["success", "sound calls", "calls"], title="Credit for calls: ToolPO against success alone",
                  seeds=seeds, expectation=EXPECTATION, config={"size": size, "plan": asdict(SIZES[size])}, summary=lines)  # fmt: skip


def results(
    size: str, seeds: Sequence[int], arms: Sequence[str] = (), *, out: str = "runs/toolpo"
) -> dict[str, list[ArmResult]]:
    """Each arm's result per seed, read back where it is finished."""
    if size not in SIZES or not seeds:
        raise ValueError(f"size {size!r}, {len(seeds)} seeds; there are: {', '.join(SIZES)}; give one seed or more")
    allowed = FOLDS if isinstance(SIZES[size].world, FoldWorld) else ARMS
    if unknown := sorted(set(arms) - set(allowed)):
        raise ValueError(f"no arm {unknown[0]!r}; there are: {', '.join(map(repr, allowed))}")
    plan = SIZES[size]
    cells = Cells(Path(out), asdict(plan) | {"arms": None})
    found: dict[str, list[ArmResult]] = {name: [] for name in arms or plan.arms}
    for seed in seeds:
        for name, of in found.items():
            of.append(cells.result(name, seed, lambda name=name, seed=seed: _trained(plan, name, seed, Path(out))))  # type: ignore[misc]
    return found


def _trained(plan: Size, name: str, seed: int, out: Path) -> ArmResult:
    credit, where = name.split(", ")
    train, held_out = plan.world.problems(seed)
    settings = Settings(num_updates=10_000, num_problems=plan.num_problems, learning_rate=3e-4, max_new_tokens=32,
                        max_generated_tokens=plan.tokens)  # fmt: skip
    if isinstance(plan.world, FoldWorld):
        rollout, test = plan.world.rollout(where, num=plan.num), plan.world.test(held_out, seed, where)
    else:
        rollout = plan.world.rollout(plan.world.made(**WHERE[where]), num=plan.num)
        test = plan.world.test(held_out, seed)
    arm = RlArm(rollout, CREDITS[credit], settings)
    return train_arm(plan.world.policy(seed, out / "cache"), train, arm, test=test, seed=seed, every=plan.every)
