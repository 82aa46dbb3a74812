"""Teaching and measuring the arms of `recipes/game24`, and the run as a report shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

import stepcredit
from stepcredit.core import diagnostics
from stepcredit.core.rng import rng
from stepcredit.core.stats import cluster_sums, clustered_bootstrap, clustered_mean
from stepcredit.core.types import Cost, Credit, Estimate, Floats, Record, Tree
from stepcredit.evaluate import nulls, predict_first_error
from stepcredit.evaluate.curves import pass_at, pick_probability, pools
from stepcredit.evaluate.f1 import harmonic_of
from stepcredit.evaluate.nulls import at_location, choose_location
from stepcredit.recipes import _game24, _game24_attempts
from stepcredit.recipes._game24_values import READINGS, Left, ends_at_24, valued
from stepcredit.recipes._mistakes import halves
from stepcredit.recipes._mistakes_judge import LineJudge, Taught, fit_lines
from stepcredit.recipes._over_seeds import Runs, best_of_over, process_over
from stepcredit.report._attempt import attempt_entry

NUM_RESAMPLES = 500
PENALTY, NUM_ITERATIONS = 10.0, 150  # inverse penalty of the weights, and steps of the climb
LUCK = 0.001  # the chain's fp, declared: an answer that is right after a wrong step
COLUMNS = {"F1": "processbench_f1", "error found": "error_accuracy", "sound kept": "correct_accuracy", "step AUROC": "step_auroc",
           "best of all": "best_of_{}", "gain over random": "best_of_{}_minus_random"}  # fmt: skip
VALUED = {"F1, valued attempts": "processbench_f1", "step AUROC, valued attempts": "step_auroc"}


@dataclass(frozen=True)
class Arm:
    """What a judge is taught, and on whose attempts.

    `chain`: every beginning of an attempt, by its outcome; `state`: the last line of each; `whole`: whole attempts alone; `broadcast`, `last`: the
    outcome as the label of every step, or of the last; `labels`: the solver's. `recorded` adds the recorded outcomes of
    other puzzles.
    """

    taught: Literal["chain", "state", "whole", "broadcast", "last", "labels"]
    player: Literal["solver", "random", "none"] = "solver"
    recorded: bool = False
    kind: Literal["label-free", "control", "oracle"] = "label-free"


@dataclass(frozen=True, eq=False)
class Judged:
    """The recorded attempts with one fit's judgments, the judge's number of weights, and what it cost."""

    records: list[Record]
    num_parameters: int
    cost: Cost


@dataclass(frozen=True, eq=False)
class Bench:
    """What the arms of one seed share: recorded attempts, as they are and as viewed, and the attempts of each player."""

    given: list[Record]
    seen: list[Record]
    num_attempts: int
    seed: int

    @cached_property
    def players(self) -> dict[str, list[Record]]:
        """Viewed synthetic attempts at other puzzles, made when first asked for."""
        return {}

    def attempts(self, player: str) -> list[Record]:
        """The attempts of `player`, without step truth."""
        if player not in self.players:
            knobs = {"foresight": 0.0} if player == "random" else {}
            avoid, draw = _game24.prompts(self.given), rng(self.seed, "game24", player)
            made = (
                _game24_attempts.synthetic(self.num_attempts, avoid=avoid, rng=draw, **knobs)
                if player != "none"
                else []
            )
            self.players[player] = made
        return self.players[player]


def judged(on: Bench, arm: Arm) -> Judged:
    """Teach one arm and judge the recorded attempts; with `recorded`, each half of the puzzles by a judge taught on the other."""
    own = _taught_on(on.attempts(arm.player), arm)
    if not arm.recorded:
        judge = _fit(own, arm)
        return Judged(_with(on.given, judge(on.seen)), judge.num_parameters, judge.cost)
    first = halves(on.given, rng(on.seed, "halves"))[0]
    inside = [record.tree.problem.id in first for record in on.given]
    judge, other = (
        _fit([*own, *_begun([r for r, here in zip(on.seen, inside, strict=True) if here == half], arm, "gpt4")], arm)
        for half in (True, False)
    )
    found = [b if here else a for a, b, here in zip(judge(on.seen), other(on.seen), inside, strict=True)]
    return Judged(_with(on.given, found), judge.num_parameters, judge.cost + other.cost)


def _taught_on(attempts: Sequence[Record], arm: Arm) -> list[Record]:
    """What is handed to the fit: the solver's labels to the oracle alone."""
    if arm.taught == "labels":
        attempts = [_game24.with_truth(record) for record in attempts]
    seen = _game24.viewed(attempts)
    if arm.taught in ("chain", "state"):
        return _begun(seen, arm, arm.player)
    if arm.taught == "last":
        return [Record(record.tree, {"truth": _on_the_last(record.tree)}) for record in seen]
    return seen


def _on_the_last(tree: Tree) -> Credit:
    """The outcome as the label of the last step; the steps before it have none."""
    value_N = np.full(tree.num_nodes, np.nan)
    value_N[-1] = tree.reward_N[-1]
    return Credit(value_N, "label", (~np.isnan(value_N)).astype(np.float64), "outcome_last_alone")


def _begun(seen: Sequence[Record], arm: Arm, source: str) -> list[Record]:
    return _game24.beginnings(seen, source, alone=arm.taught == "state")


def _fit(records: Sequence[Record], arm: Arm) -> LineJudge:
    taught: Taught = (
        "broadcast" if arm.taught == "broadcast" else "labels" if arm.taught in ("last", "labels") else "outcomes"
    )
    return fit_lines(records, taught=taught, fp=LUCK, longest=1, inverse_penalty=PENALTY, num_iterations=NUM_ITERATIONS)


def _with(records: Sequence[Record], judgments: Sequence[Any]) -> list[Record]:
    return [replace(record, judgments=(one,)) for record, one in zip(records, judgments, strict=True)]


def run_of(
    fits: Mapping[str, Sequence[Judged]], arms: Mapping[str, Arm], seeds: Sequence[int], values: Mapping[Left, float],
    agree: Mapping[str, tuple[int, int]], expectation: str, config: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The run dict (schema: `report.write_report`) from every arm's fits, one a seed."""
    runs: dict[str, Runs] = {name: [fit.records for fit in of] for name, of in fits.items()}
    first = next(iter(runs))
    plain = runs[first][0]
    null_of, _ = nulls(plain, rng=rng(0, "nulls"))
    constant = at_location(plain, choose_location(plain, {r.tree.problem.id for r in plain}))
    gpt4 = {f"GPT-4's {reading}": valued(plain, values, reading) for reading in READINGS}
    runs |= {name: [records] for name, records in {**null_of, "best constant guess": constant, "last number is 24": ends_at_24(plain), **gpt4}.items()}  # fmt: skip
    kept = [i for i, record in enumerate(next(iter(gpt4.values()))) if record.judgments[0].status == "scored"]
    num = min(Counter(record.tree.problem.id for record in plain).values())
    sizes = sorted({n for n in (1, 4, 16) if n < num} | {num})
    rows, results, series = [], [], []
    for name, copies in runs.items():
        role = arms[name].kind if name in arms else "control" if name in gpt4 else "null"
        found = best_of_over(copies, sizes, rng=rng(0, "best"))
        on_all = {} if name in gpt4 else process_over(copies, rng=rng(0, "process"), num_resamples=NUM_RESAMPLES)
        valued_only = [[copy[i] for i in kept] for copy in copies]
        on_valued = {}
        if kept and role != "null":
            on_valued = process_over(valued_only, rng=rng(0, "process"), num_resamples=NUM_RESAMPLES)
        cells = {c: asdict(one[k.format(num)]) for of, one in ((COLUMNS, {**on_all, **found}), (VALUED, on_valued))
                 for c, k in of.items() if k.format(num) in one}  # fmt: skip
        cost = sum((fit.cost for fit in fits.get(name, ())), Cost())
        rows.append({"arm": name, "kind": role, "cells": cells, "cost": asdict(cost) if name in fits else {}})
        every = {**on_all, **found, **{f"{key}, valued attempts": one for key, one in on_valued.items()}}
        results += [{"name": f"{name}: {key}", "arm": name, "control": role != "label-free", **asdict(one)}
                    for key, one in every.items()]  # fmt: skip
        points = [found[f"best_of_{n}"] for n in sizes]
        style = "oracle" if role == "oracle" else "arm" if name in arms else "null"
        series.append({"name": name, "style": style, "y": [p.value for p in points], "low": [p.low for p in points],
                       "high": [p.high for p in points]})  # fmt: skip
    for rival in (
        name for name in runs if name != first and (name in arms or name in gpt4 or name == "last number is 24")
    ):
        picked = kept if rival in gpt4 else range(len(plain))
        pair = [[[copy[i] for i in picked] for copy in runs[name]] for name in (first, rival)]
        for key, one in (("F1", _f1_gain(*pair)), (f"best of {num}", _best_gain(runs[first], runs[rival], num))):
            results.append({"name": f"{first} minus {rival}: {key}", "arm": first, "control": True, **asdict(one)})
    return {
        "title": "Game of 24: GPT-4's first wrong steps, found from outcomes", "version": stepcredit.__version__,
        "seeds": list(seeds), "expectation": expectation, "config": {**config, "arms": {n: asdict(a) for n, a in arms.items()}},
        "summary": _summary(fits, plain, kept, agree, num), "cost": asdict(sum((f.cost for of in fits.values() for f in of), Cost())),
        "results": results, "table": {"columns": [*COLUMNS, *VALUED], "rows": rows}, "curves": {"best_of_n": {"x": sizes, "series": series}},
        "attempts": [_shown(record) for record in plain[:: max(1, len(plain) // 12)]], "diagnostics": _diagnosed(fits, arms),
    }  # fmt: skip


def _hits(records: Sequence[Record]) -> Floats:
    """[A, 4]: hit and count among attempts with a wrong step, then among those without; unreadable truth counts nowhere."""
    rows = []
    for record in records:
        truth, told = _game24.first_wrong(record), predict_first_error(record.judgments[0])
        wrong, sound = truth is not None and truth >= 0, truth == -1
        rows.append([wrong and told == truth, wrong, sound and told == truth, sound])
    return np.array(rows, dtype=np.float64)


def _f1_gain(ours: Runs, rival: Runs) -> Estimate:
    """Difference in first-error F1 on the same attempts, means over seeds, by puzzle."""
    copies = [*map(_hits, ours), *map(_hits, rival)]
    sums_CK = cluster_sums([record.tree.problem.id for record in ours[0]], np.concatenate(copies, axis=1))

    def gain(total: Floats) -> Floats:
        f1 = harmonic_of(*np.moveaxis(total.reshape(*total.shape[:-1], len(copies), 4), -1, 0))
        return np.asarray(f1[..., : len(ours)].mean(axis=-1) - f1[..., len(ours) :].mean(axis=-1))

    return clustered_bootstrap(
        gain, sums_CK, "difference in F1", rng=rng(0, "gain"), n=len(ours[0]), num_resamples=NUM_RESAMPLES
    )


def _best_gain(ours: Runs, rival: Runs, num: int) -> Estimate:
    """Difference in best-of-`num` on the same puzzles, means over seeds."""
    worth = [np.mean([[float(pick_probability(pool.score_G, num) @ pool.right_G) for pool in pools(run)] for run in runs], axis=0)
             for runs in (ours, rival)]  # fmt: skip
    return clustered_mean(
        worth[0] - worth[1], "difference in accuracy", rng=rng(0, "gain"), num_resamples=NUM_RESAMPLES
    )


def _summary(
    fits: Mapping[str, Sequence[Judged]], plain: Sequence[Record], kept: Sequence[int], agree: Mapping[str, tuple[int, int]],
    num: int,
) -> list[str]:  # fmt: skip
    firsts = Counter(_game24.first_wrong(record) for record in plain)
    where = ", ".join(
        f"line {at + 1}: {count}" for at, count in sorted((k, v) for k, v in firsts.items() if k is not None and k >= 0)
    )
    right = np.array([record.tree.reward_N[record.tree.leaves[0]] == 1 for record in plain])
    sound = np.array([_game24.first_wrong(record) == -1 for record in plain])
    ceiling = float(np.mean([pass_at(pool.right_G, num) for pool in pools(plain)]))
    told = [f"{what} {same} of {of}" for what, (same, of) in agree.items()]
    found = [
        f"Agreement of the solver with the file's verdicts: {', '.join(told)}.",
        f"{len(plain)} attempts at {len(_game24.prompts(plain))} puzzles; first wrong step at {where}; none in {firsts[-1]}, "
        f"not decided in {firsts[None]}. Right answers {right.sum()}, of them {(right & ~sound).sum()} not sound; sound with a "
        f"wrong answer {(sound & ~right).sum()}; a right one among {num}: {ceiling:.3f} of the puzzles.",
        f"GPT-4 valued every state of {len(kept)} attempts ({len(kept) / len(plain):.0%}); the others rank last for it.",
    ]
    for name, of in fits.items():
        f1 = [float(harmonic_of(*_hits(fit.records).sum(axis=0)[:, None])[0]) for fit in of]
        found.append(f"{name}: F1 by seed {', '.join(f'{one:.3f}' for one in f1)}; at most {max(fit.num_parameters for fit in of)} weights.")  # fmt: skip
    return found


def _diagnosed(fits: Mapping[str, Sequence[Judged]], arms: Mapping[str, Arm]) -> list[dict[str, Any]]:
    """Blame on the last step, and whether two seeds rank the steps of an attempt alike."""
    found = []
    for name, of in fits.items():
        judgments = [record.judgments[0] for record in of[0].records]
        lines: list[str] = []
        if all("keep" in one.channels for one in judgments) and arms[name].taught in ("chain", "state", "whole"):
            keep, fix = ([one.channels[channel] for one in judgments] for channel in ("keep", "fix"))
            right = [bool(record.tree.reward_N[record.tree.leaves[0]] == 1) for record in of[0].records]
            ids = [record.tree.problem.id for record in of[0].records]
            blame = diagnostics.last_step_blame(keep, fix, right, fp=LUCK, clusters=ids, rng=rng(0, "blame"))
            lines += blame.lines() if blame else []
        if len(of) > 1:
            first, second = ([record.judgments[0].local_scores_S for record in fit.records] for fit in of[:2])
            lines += diagnostics.rank_agreement(first, second).lines()
        found.append({"arm": name, "lines": [one for one in lines if not one.startswith("WARNING")],
                      "warnings": [one for one in lines if one.startswith("WARNING")]})  # fmt: skip
    return found


def _shown(record: Record) -> dict[str, Any]:
    judgment = record.judgments[0]
    return attempt_entry(record, record.tree.leaves[0], judgment, predicted=predict_first_error(judgment),
                         first_error=_game24.first_wrong(record))  # fmt: skip
