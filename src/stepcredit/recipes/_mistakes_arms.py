"""The arms of `recipes/first_mistakes`: which attempts each is taught on, by what, and how it is fitted and applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from stepcredit.core.rng import rng
from stepcredit.core.types import Cost, Record
from stepcredit.evaluate import process
from stepcredit.recipes import _mistakes
from stepcredit.recipes._mistakes import Kind
from stepcredit.recipes._mistakes_judge import LineJudge, Taught, fit_lines
from stepcredit.recipes._mistakes_luck import Luck, chosen_luck
from stepcredit.recipes._mistakes_policy import policy_attempts
from stepcredit.recipes._mistakes_prefixes import fit_prefixes
from stepcredit.recipes._mistakes_prefixes import luck as bounded_luck

Source = Literal["redrawn", "written", "policy"]


@dataclass(frozen=True)
class Arm:
    """What a judge is taught and reads; `recorded` adds the outcomes of recorded traces of other problems.

    `source`: attempts of the writer that draws again, of the writer as they come, or of a policy; in the first case the
    luck is the kind's, else it is chosen by outcomes. `taught`: as `fit_lines` has it, or by "prefixes" (`fit_prefixes`,
    with its own luck) where a broken attempt can recover; where it cannot (`Kind.recovers`), by whole attempts.
    """

    taught: Taught | Literal["prefixes"]
    recorded: bool = False
    plain: bool = False
    source: Source = "redrawn"
    kind: Literal["label-free", "control", "oracle"] = "label-free"


@dataclass(frozen=True, eq=False)
class Judged:
    """The recorded traces with one fit's judgments, its number of weights, its accuracy on held-out attempts.

    `note`: how many attempts taught it, how many of them end right, and the luck chosen, if it was.
    """

    records: list[Record]
    num_parameters: int
    synthetic: float
    cost: Cost
    note: str = ""


@dataclass(frozen=True, eq=False)
class Made:
    """Synthetic attempts of one source, to teach on and to look at, and what a policy cost and how large it is."""

    attempts: list[Record]
    held_out: list[Record]
    cost: Cost = field(default_factory=Cost)
    num_parameters: int = 0


@dataclass(frozen=True, eq=False)
class Bench:
    """What the arms of one task and seed share: recorded traces, and synthetic attempts by their source."""

    kind: Kind
    given: list[Record]
    made: Mapping[Source, Made]
    seed: int


def bench(kind: Kind, folder: Path, share: float, seed: int, sources: Collection[Source], cache: Path) -> Bench:
    """`share` of the kind's number of attempts, at least 20, and a twentieth of that to look at; policies in `cache`."""
    given = _mistakes.recorded(folder / kind.file)
    avoid = _mistakes.prompts(given)
    made: dict[Source, Made] = {}

    def written(num: int, name: str, redraw: bool) -> list[Record]:
        return _mistakes.synthetic(num, kind, avoid=avoid, rng=rng(seed, kind.task, name), redraw=redraw)

    for source in dict.fromkeys(sources):
        num = max(20, int(share * (kind.school.num_attempts if source == "policy" else kind.num_attempts)))
        extra = max(20, num // 20)
        if source == "policy":
            tried, cost, size = policy_attempts(num + extra, kind, share=share, avoid=avoid, seed=seed, cache=cache)
            made[source] = Made(tried[:num], tried[num:], cost, size)
        else:
            redraw = source == "redrawn"
            made[source] = Made(written(num, "attempts", redraw), written(extra, "held out", redraw))
    return Bench(kind, given, made, seed)


def judged(on: Bench, arm: Arm) -> Judged:
    """Teach one arm on the synthetic attempts and judge the recorded traces.

    With `recorded`, two judges: each is also taught by the outcomes of one half of the problems, and judges the other.
    """
    made = on.made[arm.source]
    attempts, seen, looked_at = (
        _mistakes.viewed(records, on.kind, plain=arm.plain) for records in (made.attempts, on.given, made.held_out)
    )
    longest = min(on.kind.longest, 2) if arm.plain else on.kind.longest
    if arm.taught == "prefixes" and not on.kind.recovers:
        arm = replace(arm, taught="outcomes")
    luck = _luck(attempts, on.kind, arm, longest)

    def taught(extra: Sequence[Record]) -> LineJudge:
        given = [*attempts, *extra]
        if arm.taught == "prefixes":
            return fit_prefixes(given, longest=longest)
        return fit_lines(given, taught=arm.taught, fp=luck.fp, longest=longest)

    if arm.recorded:
        own = _mistakes.halves(on.given, rng(on.seed, "halves"))[0]
        inside = [record.tree.problem.id in own for record in on.given]
        judge, other = (
            taught([r for r, here in zip(seen, inside, strict=True) if here == half]) for half in (True, False)
        )
        found = [b if here else a for a, b, here in zip(judge(seen), other(seen), inside, strict=True)]
        cost = judge.cost + other.cost
    else:
        judge = taught([])
        found, cost = judge(seen), judge.cost
    known = [replace(r, judgments=(j,)) for r, j in zip(made.held_out, judge(looked_at), strict=True)]
    there = process(known, rng=rng(0, "held out"), num_resamples=1)["first_error_accuracy"].value
    records = [replace(record, judgments=(one,)) for record, one in zip(on.given, found, strict=True)]
    cost += luck.cost + (
        made.cost if arm.taught in ("outcomes", "prefixes") else Cost()
    )  # counted once where an oracle arm shares them
    return Judged(records, judge.num_parameters, there, cost, _note(made, luck, arm))


def _luck(attempts: Sequence[Record], kind: Kind, arm: Arm, longest: int) -> Luck:
    """The kind's where the writer draws again, else by what the arm is taught."""
    if arm.taught == "prefixes":
        return Luck(bounded_luck(attempts), {}, Cost())
    if arm.source == "redrawn" or arm.taught != "outcomes":
        return Luck(kind.luck, {}, Cost())
    return chosen_luck(attempts, longest=longest)


def _note(made: Made, luck: Luck, arm: Arm) -> str:
    reward_A = np.array([r.tree.reward_N[r.tree.leaves[0]] for r in made.attempts], dtype=np.float64)
    known_A = reward_A[~np.isnan(reward_A)]
    by = f" by a policy of {made.num_parameters} parameters" if made.num_parameters else ""
    tried = ", ".join(f"{fp:g} {height:.4f}" for fp, height in sorted(luck.height_of.items()))
    how = f", luck {luck.fp:g} by held-out log-likelihood ({tried})" if tried else ""
    how = f", luck {luck.fp:.2f}, a set share of the right ones" if arm.taught == "prefixes" else how
    return (
        f"{len(reward_A)} attempts{by}, {len(known_A)} with an outcome, {np.mean(known_A == 1):.3f} of them right{how}"
    )
