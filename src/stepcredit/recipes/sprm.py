"""SPRM on the chain world: one network writes the steps and scores them; best of 2, 8 and 32 by its own trace score.

Joint form: GRPO on the outcome (TRL, the extra `rl`) and the self-supervised filter on the shared head, on the same
rollouts. Frozen form: the head alone on the first policy. MetaStone-S1, arXiv:2507.01951: trace score = geometric mean
of the step scores; low, medium and high = best of 2, 8, 32. Beside them majority, a random pick, pass@k, plain BCE, a
head that knows the last step alone, and oracle labels. Training curves: mean score of right and of wrong attempts, their
gap, the policy's accuracy, and what the filter keeps.
Departs: 200,000 parameters (size full: a million) from scratch on arithmetic chains; rates for that size; the head
starts at zero, where the filter keeps nothing, and warms up on outcomes with both classes weighted alike (`_sprm_warm`);
the first policy repeats some results, so that attempts at one problem differ in length. What transfers is the order of
mechanisms and their failure modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.recipes._fit import Budget, Teaching
from stepcredit.recipes._sprm_measure import SprmResult
from stepcredit.recipes._sprm_run import run_of
from stepcredit.recipes._sprm_study import NULLS, Form, Size, SprmStudy
from stepcredit.train._extra import check_installed

MODES = {"low": 2, "medium": 8, "high": 32}
CONTROL, DECLARED = "grpo_alone", "joint"
JOINT = (CONTROL, DECLARED, "joint_1e-2", "joint_1")
FROZEN = ("frozen_released", "frozen_paper", "frozen_bce", "frozen_last", "frozen_oracle")
SIZES: dict[str, Size] = {
    "quick": Size(
        2000, 100, 40, 12, 4, 8, 10, 4, 5, num_layers=2, hidden=64, num_operations=(2, 3), joint_warmup_updates=2,
        joint={"num_updates": 4, "num_problems": 4, "num_attempts": 4, "num_mini_batches": 2, "max_new_tokens": 32},
    ),
    "small": Size(
        12000, 1000, 1500, 200, 16, 32, 1000, 100, 100, num_layers=3, hidden=64, num_operations=(2, 6), joint_warmup_updates=40,
        joint={"num_updates": 120, "num_problems": 16, "num_attempts": 8, "num_mini_batches": 4, "max_new_tokens": 72},
    ),
    "full": Size(
        20000, 1000, 2000, 300, 16, 32, 1000, 100, 50, joint_warmup_updates=60,
        joint={"num_updates": 200, "num_problems": 32, "num_attempts": 8, "num_mini_batches": 4, "max_new_tokens": 96},
    ),
}  # fmt: skip
RATES = {"learning_rate": 2e-5, "head_learning_rate": 1e-3}  # for a network this small; 1e-6 and 1e-5 in the script
EXPECTATION = (
    "Written before the first run at size small, after sanity runs of 48 joint updates on one policy of two layers: plain "
    "warm-up left every score above one half and the filter collapsed; with the classes balanced it kept both. Joint "
    "training at gradient scale 1e-4 cannot be told from GRPO alone in the policy's accuracy; at 1 it may. GRPO itself gives "
    "most of what is gained over one attempt of the first policy, since a systematic slip is right two times in five and "
    "outcomes punish it. Right and wrong attempts part by some hundredths of a score; once the filter confirms itself the "
    "gap wanders. Accuracy grows from 2 to 8 to 32 by less each time, if at all. Geometric and arithmetic mean are within a "
    "point of each other; the product falls behind, because attempts that repeat results are longer. All steps do not beat "
    "the last step alone: an outcome is read off the last step most easily. The filter does not beat plain BCE: it drops the "
    "steps on which the judge was wrong. Oracle labels are the ceiling of the frozen heads."
)


def forms(
    gradient_scale: float = 1e-4, weighting: Literal["paper", "released"] = "paper", warmup_updates: int = 100
) -> dict[str, Form]:
    """The arms by name."""
    found = (
        Form("frozen_released", Teaching(self_supervised="released", warmup_updates=warmup_updates)),
        Form("frozen_paper", Teaching(self_supervised="paper", warmup_updates=warmup_updates)),
        Form("frozen_bce", Teaching(credit="outcome_broadcast")),
        Form("frozen_last", Teaching("last"), kind="control"),
        Form("frozen_oracle", Teaching(credit="oracle"), kind="oracle"),
        Form(CONTROL, gradient_scale=0.0, weighting=weighting, kind="control"),
        Form(DECLARED, gradient_scale=gradient_scale, weighting=weighting),
        Form("joint_1e-2", gradient_scale=1e-2, weighting=weighting),
        Form("joint_1", gradient_scale=1.0, weighting=weighting),
    )
    return {form.name: form for form in found}


@registry.register("recipes", paper="arXiv:2507.01951")
def sprm(
    *, size: Literal["quick", "small", "full"] = "small", seeds: Sequence[int] = (1,), out: str = "runs/sprm",
    arms: Sequence[str] = (), gradient_scale: float = 1e-4, weighting: Literal["paper", "released"] = "paper",
    layer: int = -2, progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run the arms (all of them, where none is named); finished ones are kept under `out/arms`. Returns the run.

    `gradient_scale`: how much of the head's gradient reaches the policy in the arm `joint`; `weighting`: of the filter in
    the joint arms; `layer`: the hidden state the heads read. Raises ValueError for an unknown size, arm or weighting, and
    RuntimeError for a joint arm where TRL is missing.
    """
    names = list(arms) or [*FROZEN, *JOINT]
    found = arm_results(size, seeds, arms=[*names, NULLS], out=out, gradient_scale=gradient_scale, weighting=weighting,
                        layer=layer, progress=progress)  # fmt: skip
    plan = SIZES[size]
    config = {"size": size, "plan": asdict(plan), "rates": RATES, "budget": asdict(_budget(plan)), "layer": layer,
              "weighting": weighting, "gradient_scale": gradient_scale}  # fmt: skip
    return run_of(
        {name: found[name] for name in names}, {name: of for name, of in found.items() if name not in names},
        forms(gradient_scale), seeds, _modes(plan), control=CONTROL, declared=DECLARED, expectation=EXPECTATION, config=config,
    )  # fmt: skip


def arm_results(
    size: str, seeds: Sequence[int], *, arms: Sequence[str], out: str = "runs/sprm", gradient_scale: float = 1e-4,
    weighting: Literal["paper", "released"] = "paper", layer: int = -2, progress: bool = False,
) -> dict[str, list[SprmResult]]:  # fmt: skip
    """Each arm's result per seed, read back where it is finished. The name "nulls" stands for all the trivial judges."""
    if size not in SIZES:
        raise ValueError(f"no size {size!r}; there are: {', '.join(SIZES)}")
    if weighting not in ("paper", "released"):
        raise ValueError(f"weighting is {weighting!r}; allowed: paper, released")
    plan = SIZES[size]
    known = forms(gradient_scale, weighting, plan.warmup_updates)
    if unknown := sorted(set(arms) - set(known) - {NULLS}):
        raise ValueError(f"no arm {', '.join(unknown)}; there are: {', '.join(known)}")
    if joint := [name for name in arms if name in JOINT]:
        _check_installed(joint)
    found: dict[str, list[SprmResult]] = {name: [] for name in arms if name != NULLS}
    for seed in seeds:
        study = SprmStudy(plan, _budget(plan), RATES, layer, list(_modes(plan).values()), seed, Path(out), progress)
        for name in arms:
            for arm, result in (study.nulls() if name == NULLS else {name: study.result(known[name])}).items():
                found.setdefault(arm, []).append(result)
    return found


def _check_installed(arms: Sequence[str]) -> None:
    """Before anything is sampled."""
    try:
        check_installed()
    except RuntimeError as error:
        raise RuntimeError(f'{error}; or leave out {", ".join(arms)}: --arms "[{",".join(FROZEN)}]"') from error


def _modes(plan: Size) -> dict[str, int]:
    return {mode: k for mode, k in MODES.items() if k <= plan.num_test_attempts}


def _budget(plan: Size) -> Budget:
    return Budget(num_updates=plan.num_updates, batch_size=64, learning_rate=1e-3, max_tokens=256)
