"""Process reward models from outcomes alone, side by side: the chain world, every arm at equal updates.

A tiny policy is trained on noisy demonstrations of arithmetic chains, its attempts are labelled right or wrong by an
exact verifier, and each arm turns those outcomes (the oracle control: step labels) into a step judge on the policy's own
backbone. Measured on unseen problems: first-error F1 with the threshold-free decoding, step AUROC, best-of-N.

Arms: latent chain (RSP, arXiv:2609.39220; without recovery CRM, 2509.26578), softmin (LCA, 2606.27739), geometric mean,
outcome broadcast (OVM, 2311.09724), outcome at the last step (2110.14168), self-supervised filter (SPRM, 2507.01951).
Departs from all of them in scale: half a million parameters from scratch, one task. What transfers is the order of
mechanisms and their failure modes, not the numbers. The world has systematic slips, so that majority vote is beatable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stepcredit.core import registry
from stepcredit.core.layout import Layout
from stepcredit.core.types import Record
from stepcredit.recipes._arms import (
    Arm, ArmResult, combined, curve, load_result, null_results, result_rows, run_arm, save_result, table,
)  # fmt: skip
from stepcredit.recipes._fit import Backbone, Budget, Teaching
from stepcredit.recipes._pools import make_pools, until_first_error

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("latent_chain", Teaching("latent_chain")),
        Arm("latent_chain_recovery", Teaching("latent_chain", recovery="learned")),
        Arm("latent_chain_free", Teaching("latent_chain", link="free")),
        Arm("softmin", Teaching("softmin")),
        Arm("geometric_mean", Teaching("geometric_mean")),
        Arm("outcome_broadcast", Teaching("broadcast")),
        Arm("self_supervised_paper", Teaching(self_supervised="paper", warmup_updates=200)),
        Arm("self_supervised_released", Teaching(self_supervised="released", warmup_updates=200)),
        Arm("outcome_last", Teaching("last"), "control"),
        Arm("oracle", Teaching(credit="oracle", chain_labels=True), "oracle"),
    )
}


@dataclass(frozen=True)
class Size:
    """What a size means. The demo fits eight minutes on two cores."""

    num_demonstrations: int
    policy_updates: int
    num_train: int
    num_test: int
    num_attempts: int
    num_updates: int
    every: int
    arms: tuple[str, ...]


SIZES: dict[str, Size] = {
    "quick": Size(200, 40, 20, 8, 4, 5, 0, ("latent_chain", "outcome_broadcast", "oracle")),
    "demo": Size(8000, 600, 2000, 150, 16, 800, 200, ("latent_chain", "outcome_broadcast", "oracle")),
    "small": Size(20000, 1000, 3000, 300, 16, 1500, 500, tuple(ARMS)),
}
EXPECTATION = (
    "Written before the run. Oracle step labels are the ceiling at equal updates. Of the label-free arms the latent chain "
    "finds first errors best; softmin and the geometric mean come next; outcome broadcast estimates success, not "
    "soundness, and localises worst. Self-supervised filters stay trainable after a warm-up and gain little over "
    "broadcast. Majority vote barely beats a random pick, because slips are systematic. Aim: the best label-free arm "
    "at 0.95 of the oracle's F1 and of its best-of-16 gain over majority."
)


@registry.register("recipes", paper="arXiv:2609.39220")
def outcome_prm(
    *, size: Literal["quick", "demo", "small"] = "demo", seeds: Sequence[int] = (100,), out: str = "runs/outcome_prm",
    arms: Sequence[str] = (), num_updates: int | None = None, learning_rate: float = 2e-3, batch_size: int = 64,
    progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run the comparison; finished arms of an interrupted run are kept under `out/arms`. Returns the run for run.json."""
    plan = SIZES[size]
    names = list(arms) or list(plan.arms)
    if unknown := sorted(set(names) - set(ARMS)):
        raise ValueError(f"no arm {', '.join(unknown)}; there are: {', '.join(ARMS)}")
    budget = Budget(num_updates=num_updates or plan.num_updates, batch_size=batch_size, learning_rate=learning_rate, max_tokens=256)
    num_list = [n for n in (1, 2, 4, 8, 16) if n <= plan.num_attempts]
    results: dict[str, list[ArmResult]] = {name: [] for name in names}
    trivial: dict[str, list[ArmResult]] = {}
    for seed in seeds:
        pools = None
        where = Path(out) / "arms" / f"{size}-{budget.num_updates}x{batch_size}-{learning_rate:g}" / str(seed)
        for name in [*names, "nulls"]:
            if name != "nulls" and (found := load_result(where / f"{name}.json")) is not None:
                results[name].append(found)
                continue
            if pools is None:
                pools = make_pools(
                    registry.bind("tasks", "chain")(), seed=seed, num_demonstrations=plan.num_demonstrations,
                    policy_updates=plan.policy_updates, num_train=plan.num_train, num_test=plan.num_test,
                    num_attempts=plan.num_attempts, cache=Path(out) / "cache", progress=progress,
                )  # fmt: skip
            if name == "nulls":
                for null, found in null_results(pools.test, seed=seed, num_list=num_list).items():
                    trivial.setdefault(null, []).append(found)
                continue
            result = _one(ARMS[name], pools.train, pools.test, str(pools.policy), budget, seed, num_list, plan.every, progress)
            save_result(result, where / f"{name}.json")
            results[name].append(result)
    return _report(results, trivial, seeds, num_list, {"size": size, "plan": asdict(plan), "budget": asdict(budget), "arms": names})


def _one(
    arm: Arm, train: list[Record], test: list[Record], policy: str, budget: Budget, seed: int, num_list: list[int],
    every: int, progress: bool,
) -> ArmResult:  # fmt: skip
    labelled = [until_first_error(record) for record in train] if arm.kind == "oracle" else train
    return run_arm(arm, labelled, test, backbone=Backbone(policy), budget=budget, seed=seed, num_list=num_list,
                   layout=Layout(marker="\n"), every=every, shown=4, progress=progress)  # fmt: skip


def _report(
    results: dict[str, list[ArmResult]], trivial: dict[str, list[ArmResult]], seeds: Sequence[int], num_list: list[int],
    config: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    top = max(num_list)
    columns = ["processbench_f1", "step_auroc", "right_answer_f1", f"best_of_{top}", f"best_of_{top}_minus_majority"]
    pick: Callable[[str], str] = lambda name: ARMS[name].kind  # noqa: E731
    together = {**results, **{f"null: {name}": found for name, found in trivial.items()}}
    kinds = {**{name: pick(name) for name in results}, **dict.fromkeys([f"null: {n}" for n in trivial], "null")}
    known = [found[0] for found in results.values() if found and found[0].estimates]
    everyone = {name: found for name, found in together.items() if found}
    baselines = {stem: [r for r in (results.get("oracle") or next(iter(results.values())))] for stem in ("random", "majority", "pass")}
    series = curve(everyone, kinds, "best_of", num_list)
    for stem, found in baselines.items():
        extra = curve({stem: found}, {stem: "null"}, f"{stem}_of" if stem != "pass" else "pass_at", num_list)["series"]
        series["series"] += extra
    learning = [
        {"name": f"{name}: F1", "style": "oracle" if kinds[name] == "oracle" else "arm", "y": [p[1] for p in found[0].learning]}
        for name, found in results.items() if found and found[0].learning
    ]  # fmt: skip
    run = {
        "title": "Step scores from outcomes alone: the chain world", "seeds": list(seeds), "config": config,
        "expectation": EXPECTATION, "summary": _summary(results, top),
        "table": table(everyone, kinds, columns), "results": result_rows(everyone, kinds, columns),
        "curves": {"best_of_n": series},
        "reliability": [{"name": n, "bins": [_bin(b) for b in f[0].bins]} for n, f in results.items() if f and f[0].bins],
        "attempts": [a for found in results.values() for a in (found[0].attempts if found else [])],
        "diagnostics": [{"arm": n, "lines": _sentences(f, False), "warnings": _sentences(f, True)} for n, f in results.items()],
    }  # fmt: skip
    if learning and known:
        first = next(found[0] for found in results.values() if found and found[0].learning)
        run["curves"]["learning"] = {"x": [p[0] for p in first.learning], "series": learning}
    return run


def _bin(one: dict[str, float]) -> dict[str, float]:
    return {"low": one["low"], "high": one["high"], "mean_score": one["score"], "rate": one["right"], "n": one["num"]}


def _sentences(found: list[ArmResult], warnings: bool) -> list[str]:
    lines = [*found[0].lines, *([found[0].failed] if found[0].failed else [])] if found else []
    return [line for line in lines if line.startswith("WARNING") == warnings]


def _summary(results: dict[str, list[ArmResult]], top: int) -> list[str]:
    """How the best label-free arm stands to the oracle, in the issue's two ratios."""
    oracle = results.get("oracle") or []
    free = {n: combined(f, "processbench_f1") for n, f in results.items() if ARMS[n].kind == "label-free"}
    best = max((n for n, e in free.items() if e), key=lambda n: free[n].value, default=None)  # type: ignore[union-attr]
    ceiling = combined(oracle, "processbench_f1")
    if best is None or ceiling is None:
        return []
    gain, roof = (combined(results[n], f"best_of_{top}_minus_majority") for n in (best, "oracle"))
    found = [f"Best label-free arm by F1: {best}, {free[best].value / ceiling.value:.2f} of the oracle's F1 at equal updates."]  # type: ignore[union-attr]
    if gain and roof and roof.value > 0:
        found.append(f"Its best-of-{top} gain over majority is {gain.value:+.3f}, the oracle's {roof.value:+.3f}.")
    return found
