"""Which turn did it: one linear judge of turns, taught by outcomes where success ends no episode.

The task `lockbox`: one right try anywhere makes the outcome right, the agent goes on blindly, and then submits, or stops
after eight turns. So the label "outcome on the last turn", the per-turn truth in recorded agents whose success ends the
episode (recipe `intercode`, arXiv:2306.14898), is wrong here, and inference of the hidden state can show itself. Arms are
those of `intercode`: two labels, the link of the domain (retry: noisy-OR multiple-instance learning) and the wrong one
(derivation), the oracle; where the verifier errs also retry with its rates in the likelihood. Measured on other boxes:
step AUROC of "this turn would open a locked box", and best-of-N by exact outcomes (labels are read through the domain's link).
Penalties are chosen by held-out likelihood of each arm's own targets. Sweeps show where it breaks.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from stepcredit.core.registry import register
from stepcredit.recipes._turn_report import diagnosed
from stepcredit.recipes._which_turn import Found, Size, kept, make_bench, study, taught_on
from stepcredit.recipes._which_turn_report import run_of, shown

Knobs = Mapping[str, Any]
MAIN: dict[str, Knobs] = {
    "submission": {},
    "eight turns": {"submit": False, "min_turns": 8, "max_turns": 8},
}


@dataclass(frozen=True)
class Sweep:
    """What is varied, in words, and the task's knobs at each value; no knobs: the main world with a submission."""

    label: str
    knobs_of: Mapping[float, Knobs]


def _of_length(num: int) -> Knobs:
    return {"share": 0.4, "submit": False, "min_turns": num, "max_turns": num}


SWEEPS: dict[str, Sweep] = {
    "share": Sweep("share of tries that are right", {0.02: {"share": 0.02}, 0.05: {"share": 0.05}, 0.2: {}, 0.4: {"share": 0.4}}),
    "length": Sweep("turns of an episode, .4 of tries right, no submission", {8: _of_length(8), 32: _of_length(32)}),
    "luck": Sweep("chance that a locked box passes", {0.0: {}, 0.2: {"fp": 0.2}, 0.4: {"fp": 0.4}}),
    "signs": Sweep("how much more often those who listen succeed", {0.0: {"skill_gap": 0.0}, 0.8: {}}),
    "spoiling": Sweep("share of turns that lock the box again", {0.0: {}, 0.15: {"relock": 0.15}}),
}  # fmt: skip
SIZES: dict[str, Size] = {
    "quick": Size(40, 20, 4, (30.0,)),
    "full": Size(100, 200, 8, (0.3, 3.0, 30.0)),
}
REVISION = 1  # raise it when code, or a default of the task, that decides a number changes
EXPECTATION = (
    "Written before the run on seeds 100 to 104, after looks at seeds 1 and 2 (both endings, and skill_gap 0; the laws of the "
    "sounds are the same under every seed). Both endings: oracle near .96 step AUROC, retry .92 to .95, best of eight within "
    ".05 of the oracle's; outcome_broadcast .70 to .80, since it credits listening, a sign of who succeeds; derivation, the "
    "wrong link, under broadcast; outcome_last near chance with a submission (every try is labelled 0) and near .6 with "
    "eight turns; step index, length and last turn at .5 or under; the comparison of links answers retry under every seed. "
    "Not tried before: retry falls most where right episodes are few (share .02) or nearly all (32 turns); luck that is not in the "
    "likelihood costs it more than broadcast, and with the rate known half of the loss returns; where listening tells nothing "
    "(skill_gap 0) broadcast ranks turns nearly as well as retry, as it must for independent turns (Blum and Kalai 1998); "
    "where 15 % of the turns lock the box again, retry loses a little of its lead and the link is still answered retry."
)


@register("recipes", paper="ours")
def which_turn(
    *, size: Literal["quick", "full"] = "full", seeds: Sequence[int] = (100, 101, 102, 103, 104),
    sweeps: Sequence[str] = tuple(SWEEPS), num_shown: int = 6, out: str | Path = "runs/which_turn",
) -> dict[str, Any]:  # fmt: skip
    """Run both endings and the sweeps under every seed, and return the content of run.json.

    Intervals are t-intervals over seeds, each with its own boxes to teach and to measure on. `out` keeps what each seed
    gave in each world, so that a second call continues. Raises ValueError for an unknown size or sweep, and without a seed.
    """
    unknown = [name for name in sweeps if name not in SWEEPS]
    if unknown or size not in SIZES or not seeds:
        raise ValueError(
            f"size {size!r}, sweeps {list(sweeps)}, {len(seeds)} seeds; allowed: {', '.join(SIZES)}; "
            f"{', '.join(SWEEPS)}; one seed or more"
        )
    started, plan = time.perf_counter(), SIZES[size]

    def founds(knobs: Knobs) -> list[Found]:
        parts = json.dumps([REVISION, asdict(plan), sorted(knobs.items())])
        folder = Path(out) / "seeds" / hashlib.sha256(parts.encode()).hexdigest()[:12]
        return [kept(folder / f"{seed}.json", partial(_found, knobs, plan, seed)) for seed in seeds]

    main = {name: founds(knobs) for name, knobs in MAIN.items()}
    swept = {name: {x: founds(knobs) for x, knobs in SWEEPS[name].knobs_of.items()} for name in sweeps}
    benches = [make_bench(MAIN["submission"], plan, seed) for seed in seeds[:2]]
    first = benches[0]
    judged = {  # the first two seeds' judges on the first seed's test episodes
        link: [taught_on(bench, link, plan.penalties)[0].judge(first.test_turns) for bench in benches]
        for link in ("derivation", "retry")
    }
    run = run_of(main, swept, {name: sweep.label for name, sweep in SWEEPS.items()})
    return run | {
        "seeds": list(seeds),
        "expectation": EXPECTATION,
        "config": {"size": size, "seeds": list(seeds), **asdict(plan), "main": MAIN,
                   "sweeps": {name: dict(SWEEPS[name].knobs_of) for name in sweeps}},
        "attempts": shown(first, judged["retry"][0], num_shown),
        "diagnostics": diagnosed(judged, first.recorded_A, first.size_A, first.task_A, seeds[0]),
        "cost": {"seconds": time.perf_counter() - started},
    }  # fmt: skip


def _found(knobs: Knobs, plan: Size, seed: int) -> Found:
    return study(make_bench(knobs, plan, seed), plan, seed)
