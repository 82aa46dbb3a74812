"""The arms of `recipes/r3` in one world: values, steps, borders, lucky demonstrations, and what is trivial beside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from stepcredit.core.truth import with_truth
from stepcredit.core.types import Bools, Estimate, Floats, Judgment, Record, Tree
from stepcredit.recipes import _r3_border as borders
from stepcredit.recipes import _r3_critical as critical
from stepcredit.recipes import _r3_values as measures
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._r3_cell import DECLARED, READ, Cell, grown
from stepcredit.recipes._r3_places import at_random_places
from stepcredit.recipes._r3_starts import started, values
from stepcredit.recipes._r3_world import Ground, Plan, ground, num_steps
from stepcredit.report._attempt import attempt_entry
from stepcredit.rollout.reveal import border, reveal, start_counts

STATED = 0.05  # error rate of the rollouts that reveal grows itself
FALL = 0.3  # of a start's rate, by one step, that is called one
TARGETS = (0.8, 0.9, 0.95)  # shares of borders right, at which tokens are compared
SHOWN = 3  # demonstrations in the report
LENGTH, ADAPTIVE = "null: length of the rest", "border: reveal"
Arms = dict[str, ArmResult]


def run_cell(name: str, plan: Plan, seed: int, cache: Path, *, progress: bool = False) -> Arms:
    """Every arm's numbers in one world."""
    own = ground(name, plan, seed, cache, progress=progress)
    cell = grown(own, plan)
    return {**value_arms(cell), **step_arms(cell), **border_arms(cell), **lucky_arms(own, plan)}


def kind_of(arm: str) -> str:
    """How the report shows an arm."""
    if arm.startswith("null: "):
        return "null"
    if arm.startswith(("true values", "labels of")):
        return "oracle"
    return "label-free" if arm.startswith(("r3, ", "border: ")) else "control"


def value_arms(cell: Cell) -> Arms:
    """How near values come, by continuations a start; beside them fewer starts, cuts anywhere, and no rollouts at all."""
    true, again, found = cell.true, cell.num_reference, Arms()
    for num in sorted({num for num in (*READ, cell.declared) if num in cell.read}):
        value, counts = cell.read[num]
        signals = [critical.signal(one) for one in value]
        told = {
            **measures.accuracy(value, true, again), **measures.against_binomial(value, counts, true, again),
            **_held(cell, signals), "largest part": critical.concentration(signals),
        }  # fmt: skip
        found[f"r3, {num} a start"] = ArmResult(told, cost=cell.cost(num), attempts=_shown(cell, value, num))
    value, more = cell.read[cell.declared][0], cell.read[cell.twice][0]
    half = measures.half_of_starts(value, more, cell.ground.draw("half"))
    found[f"half of the starts, {cell.twice} each"] = _control(cell, half, cell.cost(cell.twice, 0.5))
    if cell.ground.exact is None:
        places = [at_random_places(cell.ground, tree, cell.declared) for tree in cell.ground.demonstrations]
        cost = {"generated_tokens": float(np.mean([spent for _, spent in places]))}
        found[f"random places, {cell.declared} each"] = _control(cell, [one for one, _ in places], cost)
    length = measures.by_length(value)
    found[LENGTH] = _control(cell, length, {})
    found[LENGTH].estimates["border right"] = _guessed(length, true)
    found["null: constant"] = ArmResult(measures.accuracy(measures.constant(value), true, again))
    return found


def step_arms(cell: Cell) -> Arms:
    """Which step is called hardest by other readings, by true values, by other attempts' labels, and by nobody."""
    num, value = cell.declared, cell.read[cell.declared][0]
    true = [np.append(one, 1.0) for one in cell.true]
    found = Arms()
    for how in get_args(critical.Reading):
        if how != "rise":
            signals = [critical.signal(one, how, num) for one in value]
            found[f"r3, {num} a start, {how}"] = ArmResult(_held(cell, signals), cost=cell.cost(num))
        told = [critical.signal(one, how, cell.num_reference or np.inf) for one in true]
        found[f"true values, {how}"] = ArmResult(_held(cell, told))
    found["labels of other attempts"] = ArmResult(_held(cell, cell.errors_before))
    found["null: any step"] = ArmResult(
        critical.averaged([np.full(len(own), 1 / len(own)) for own in cell.errors], cell.errors)
    )
    found["null: first step"] = ArmResult(critical.measured([0] * len(cell.errors), cell.errors))
    found["null: last step"] = ArmResult(critical.measured([len(own) - 1 for own in cell.errors], cell.errors))
    return found


def border_arms(cell: Cell) -> Arms:
    """What finding the border costs each method, and `rollout/reveal` as it is, with rollouts of its own."""
    found, num = Arms(), len(cell.true)
    for name, dial in borders.dials(cell.pools, cell.true, cell.ground.draw("adaback")).items():
        told = {
            f"tokens at {target}": measures.point(dial.cheapest(target), num, "tokens a demonstration")
            for target in TARGETS
            if np.isfinite(dial.cheapest(target))
        }
        told["border right"] = measures.point(max(dial.right), num, "share, at the best setting")
        lines = [
            f"{setting:g}: {right:.3f} right, {tokens:.1f} tokens"
            for setting, right, tokens in zip(dial.settings, dial.right, dial.tokens, strict=True)
        ]
        found[f"border: {name}"] = ArmResult(told, lines=lines)
    told, cost = _revealed(cell.ground, cell.ground.demonstrations, cell.true, "all")
    found[f"border: rollout/reveal at {STATED}"] = ArmResult(told, cost=cost)
    return found


def lucky_arms(own: Ground, plan: Plan) -> Arms:
    """What a right answer by luck does: demonstrations with a wrong step beside those without, where values are exact."""
    if own.exact is None or not plan.num_lucky:
        return {}
    sound = [tree for tree in own.demonstrations if not _wrong_steps(own, tree).any()]
    share = 1 - len(sound) / len(own.demonstrations)
    found = Arms()
    for name, trees in (("sound demonstrations", sound), ("lucky demonstrations", own.lucky)):
        found[name] = ArmResult({})
        if trees:
            true = [own.exact(tree) for tree in trees]
            told, cost = _revealed(own, trees, true, name)
            found[name] = ArmResult({**told, **_falls(own, trees, true, plan, name)}, cost=cost)
    luck = measures.point(share, len(own.demonstrations), "share of demonstrations with a wrong step")
    found["sound demonstrations"].estimates["lucky share"] = luck
    return found


def _falls(own: Ground, trees: Sequence[Tree], true: Sequence[Floats], plan: Plan, name: str) -> dict[str, Estimate]:
    """Where rates fall and rise most, at steps that are wrong or not; and how good the starts are."""
    read = [values(tree)[0] for tree in started(own, trees, min(max(READ), plan.num_starts), name)]
    rises, wrong = [critical.signal(value_S) for value_S in read], [_wrong_steps(own, tree) for tree in trees]
    fallen = [float(np.nanmin(rise_S)) < -FALL for rise_S in rises]
    seen = [
        fell and bool(own_S[np.nanargmin(rise_S)]) for fell, rise_S, own_S in zip(fallen, rises, wrong, strict=True)
    ]
    paid = [bool(own_S[critical.hardest(rise_S)]) for rise_S, own_S in zip(rises, wrong, strict=True)]
    share = "share of demonstrations"
    worth = np.concatenate([one[1:] for one in true])

    def mean(each: Sequence[float], unit: str) -> Estimate:
        return measures.point(float(np.mean(each)), len(trees), unit)

    return {
        "a fall": mean(fallen, f"share with a rate that falls by {FALL} in a step"),
        "fall at a wrong step": mean(seen, share), "rise at a wrong step": mean(paid, share),
        "wrong steps": mean([float(own_S.mean()) for own_S in wrong], "share of steps"),
        "start value": mean(worth.tolist(), "true value"),
    }  # fmt: skip


def _control(cell: Cell, found: Sequence[Floats], cost: Mapping[str, float]) -> ArmResult:
    """Values of the S starts, however they were come by; the demonstration's end is right."""
    signals = [critical.signal(np.append(one, 1.0)) for one in found]
    return ArmResult(
        {**measures.accuracy(found, cell.true, cell.num_reference), **_held(cell, signals)}, cost=dict(cost)
    )


def _held(cell: Cell, signals: Sequence[Floats]) -> dict[str, Estimate]:
    """What the steps of the largest signal hold."""
    steps = [critical.hardest(one) for one in signals]
    told = critical.measured(steps, cell.errors)
    if cell.ground.hard is not None:
        told["wrong facts"] = critical.share_hard(cell.grown, steps, cell.ground.hard)
    return told


def _guessed(found: Sequence[Floats], true: Sequence[Floats]) -> Estimate:
    """Borders right that are the first start valued one half or more."""
    at = [int(np.argmax(np.append(value_S, 1.0) >= 0.5)) for value_S in found]
    right = [borders.is_right(one, own) for one, own in zip(at, true, strict=True)]
    return measures.point(float(np.mean(right)), len(right), "share, first start of one half or more")


def _revealed(
    own: Ground, trees: Sequence[Tree], true: Sequence[Floats], name: str
) -> tuple[dict[str, Estimate], dict[str, float]]:
    """Borders as `rollout/reveal` finds them, and its mean cost."""
    made = reveal(trees, policy=own.policy, verify=own.task.verify, rng=own.draw("reveal", name), error_rate=STATED,
                  low=borders.LOW, high=borders.HIGH, overhead=borders.OVERHEAD, **own.limits)  # fmt: skip
    leaves = [num_steps(tree) for tree in trees]
    said = [
        int(np.argmax(border(*start_counts(tree, leaf), borders.LOW, borders.HIGH)))
        for tree, leaf in zip(made, leaves, strict=True)
    ]
    right = [borders.is_right(at, own_S) for at, own_S in zip(said, true, strict=True)]
    kinds = ("generated_tokens", "forwarded_tokens", "verifier_calls")
    cost = {kind: float(np.mean([getattr(tree.cost, kind) for tree in made])) for kind in kinds}
    given = [at / leaf for at, leaf in zip(said, leaves, strict=True)]
    told = {
        "border right": measures.point(float(np.mean(right)), len(right), f"share, stated error rate {STATED}"),
        "given": measures.point(
            float(np.mean(given)), len(given), "share of the demonstration's steps before the border"
        ),
    }
    return told, cost


def _wrong_steps(own: Ground, tree: Tree) -> Bools:
    """Which steps of a demonstration the oracle calls wrong, [S]."""
    return np.asarray(own.task.label_steps(tree.problem, tree.solution(num_steps(tree))) == 0)


def _shown(cell: Cell, value: Sequence[Floats], num: int) -> list[dict[str, Any]]:
    """Some demonstrations with the values behind their steps, for the report."""
    found = []
    for tree, value_S in list(zip(cell.ground.demonstrations, value, strict=True))[: SHOWN if num == DECLARED else 0]:
        if np.isfinite(value_S).all():
            record = with_truth(Record(tree), cell.ground.task)
            told = Judgment(float(value_S[0]), value_S[1:])
            found.append(
                attempt_entry(record, num_steps(tree), told, arm=f"{cell.ground.name}: success rate behind each step")
            )
    return found
