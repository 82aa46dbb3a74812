"""B5: generated tokens to find the first error of an attempt, for the same accuracy.

    world      attempts of 8 or 16 lines, in the exact worlds of `_labels` and those of a small language model, `_labels_lm` (lm_*);
               a wrong one a problem, of those with right and wrong among 16
    accuracy   share of attempts whose first wrong line is found;   tokens: written by rollouts, per attempt (exact worlds: lines)
    reach      the cheapest setting of a method's dial whose accuracy is at least .90 or .95, chosen again in every resample

What a perfect knowledge of the values would reach is `ceiling`: the largest drop of the exact value, in the exact worlds.
Dials: rollouts a step (Math-Shepherd, hard: the first step that no rollout survives; soft: the largest drop, at the first
step from the success rate of the given attempts), rollouts a state (OmegaPRM's search of the attempt, as `rollout/bisect`), stated error rate (`rollout/adaptive`; its prior uniform,
or of a judge: simulated, pointing at the right step in half of the attempts and at any step in the others; for the language model
taught by the outcomes of 6,400 other attempts).
The attempts themselves are given to all and cost nothing; nor is what a judge reads or writes counted: the rows of
`adaptive_judged` and `adaptive_misled` are tokens of rollouts alone. A ratio to 8 rollouts a step or state has a row only
where these reach the target. A method that reaches a target at no setting has no row for it:
`never_reached` names it; single resamples that do not reach it are left out of its interval, which is then too narrow.
Written down before the reported run: EXPECTATION.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from _labels import JUDGE, RECOVERY, World, behind, told, world
from _labels_lm import LM_WORLDS, TOLD, lm_world
from _measure import Row, row

from stepcredit.core.change_point import Beliefs, posterior
from stepcredit.core.rng import rng
from stepcredit.core.stats import clustered_bootstrap, rate
from stepcredit.core.truth import verified
from stepcredit.core.types import Floats, Record, Tree
from stepcredit.rollout.adaptive import adaptive, beliefs_of, sampled_path
from stepcredit.rollout.bisect import bisect
from stepcredit.rollout.restart import restart

EXPECTATION = """No recovery, habits, wiped: adaptive reaches .95 for under 1/8 of the tokens of Math-Shepherd at K = 8 and
under 1/2 of OmegaPRM at k = 8; against OmegaPRM at its own cheapest k the ratio lies between 1 and 2. Lucky: the hard
rules never reach .90 at any dial; adaptive, told the rate, does at 8 lines at most, and for more than 1/8. A judge that is
right half of the time saves a quarter of the tokens or more; one that is not costs some, and never the accuracy.
The language model, expected before it was run: as in the exact worlds, with a little less accuracy throughout where now and
then a broken chain recovers (lm_rare): adaptive reaches .90 for under 1/8 of Math-Shepherd at K = 8, and misses .95 if one
broken chain in thirty recovers; the taught judge halves its tokens. lm_lucky: the hard rules never reach .90, adaptive does, for
more than 1/8; the taught judge knows the few lines there are, and needs next to no rollout."""
RUNS = (("none", 8), ("none", 16), ("wiped", 8), ("lucky", 8), ("habits", 8), ("lm_rare", 8), ("lm_lucky", 8))
ROLLOUTS = (1, 2, 3, 4, 6, 8, 12)
RATES = (0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
TARGETS = (0.90, 0.95)


# For each setting of a dial, [attempts]: is the first error found, and the tokens it took.
Dial = dict[float, tuple[list[bool], list[int]]]


def every_step(own: World, seed: int) -> dict[str, Dial]:
    """Math-Shepherd: the same rollouts at every step, read by both rules, the first K of them."""
    hard: Dial = {num: ([], []) for num in ROLLOUTS}
    soft: Dial = {num: ([], []) for num in ROLLOUTS}
    nodes = [list(tree.path(leaf))[:-1] for tree, leaf in zip(own.trees, own.leaves, strict=True)]
    grown = restart(
        own.trees, policy=own.policy, rng=rng(seed, "labels", own.name, "every"), num=max(ROLLOUTS), nodes=nodes,
        max_new_tokens=own.max_new_tokens,
    )  # fmt: skip
    for before, after, path, truth in zip(own.trees, grown, nodes, own.truth, strict=True):
        prompt = success_rate(before)
        tree = verified(Record(after), own.verify).tree
        found = [behind(tree, node) for node in path]
        for num in ROLLOUTS:
            tokens = sum(lines for one in found for _, lines in one[:num])
            rate_S = np.array([np.mean([right for right, _ in one[:num]]) for one in found] + [0.0])
            drop_S = -np.diff(rate_S, prepend=prompt)
            for dial, place in ((hard, int(np.argmax(rate_S == 0))), (soft, int(np.argmax(drop_S)))):
                dial[num][0].append(place == truth)
                dial[num][1].append(tokens)
    return {"math_shepherd": hard, "math_shepherd_soft": soft}


def success_rate(tree: Tree) -> float:
    """Share of right ones among the scored attempts a tree comes with."""
    reward_L = tree.reward_N[list(tree.leaves)]
    return float(np.mean(reward_L[~np.isnan(reward_L)] > 0.5))


def searched(own: World, seed: int) -> Dial:
    """OmegaPRM's binary search of the attempt."""
    dial: Dial = {num: ([], []) for num in ROLLOUTS}
    for num in ROLLOUTS:
        grown = bisect(own.trees, policy=own.policy, verify=own.verify, rng=rng(seed, "labels", own.name, "bisect", num),
                       num=num, num_searches=1, leaves=[[leaf] for leaf in own.leaves], max_new_tokens=own.max_new_tokens)  # fmt: skip
        for before, tree, leaf, truth in zip(own.trees, grown, own.leaves, own.truth, strict=True):
            alive = [any(right for right, _ in behind(tree, node)) for node in tree.path(leaf)[:-1]]
            place = max((step + 1 for step, sound in enumerate(alive) if sound), default=0)
            dial[num][0].append(place == truth)
            dial[num][1].append(tree.cost.generated_tokens - before.cost.generated_tokens)
    return dial


def tested(own: World, seed: int, judge: Any = None, name: str = "None", **knobs: Any) -> Dial:
    """Adaptive: run to the smallest stated rate; what it would have said at a larger one is read on the way there."""
    grown = adaptive(own.trees, policy=own.policy, verify=own.verify,
                     rng=rng(seed, "labels", own.name, "adaptive", name), error_rate=min(RATES),
                     max_new_tokens=own.max_new_tokens, judge=judge, leaves=[[leaf] for leaf in own.leaves], **knobs)  # fmt: skip
    dial: Dial = {stated: ([], []) for stated in RATES}
    knobs.pop("max_rollouts", None)
    for before, tree, leaf, truth in zip(own.trees, grown, own.leaves, own.truth, strict=True):
        score_S = None if judge is None else judge([(tree.problem, tree.solution(leaf))])[0].step_scores_S
        replayed(dial, before, tree, leaf, truth, beliefs_of(before, leaf, score_S, **knobs))
    return dial


def replayed(dial: Dial, before: Tree, tree: Tree, leaf: int, truth: int, beliefs: Beliefs) -> None:
    """What was believed after each rollout, in order; a rate that is never reached takes the last word."""
    path = sampled_path(tree, leaf)
    assert tree.group_N is not None
    order = sorted(
        (int(tree.group_N[start]), place)
        for place, node in enumerate(path)
        for start in range(before.num_nodes, tree.num_nodes)
        if tree.parent_N[start] == node and tree.group_N[start] != tree.group_N[node]
    )
    found = {node: iter(behind(tree, node)) for node in path}
    hit_S, num_S = np.zeros(len(path)), np.zeros(len(path))
    place_S, tokens, left = posterior(hit_S, num_S, beliefs), 0, sorted(RATES, reverse=True)

    def say(until: float) -> None:
        while left and (place_S.max() >= 1 - left[0] or until == 0):
            stated = left.pop(0)
            dial[stated][0].append(int(np.argmax(place_S)) == truth)
            dial[stated][1].append(tokens)

    say(1.0)
    for _, place in order:
        right, lines = next(found[path[place]])
        hit_S[place] += right
        num_S[place] += 1
        tokens += lines
        place_S = posterior(hit_S, num_S, beliefs)
        say(1.0)
    say(0.0)


def table(dials: Mapping[str, Dial]) -> Floats:
    """[attempts, 2 * settings of all methods]: found and tokens of each setting in turn."""
    columns = [np.array(each, dtype=np.float64) for dial in dials.values() for pair in dial.values() for each in pair]
    return np.stack(columns, axis=1)


def reached(dials: Mapping[str, Dial], name: str, target: float, total: Floats, num: int) -> Floats:
    """Mean tokens of the method's cheapest setting that is right often enough, NaN where none is; totals [..., K]."""
    start = 2 * sum(len(dials[other]) for other in list(dials)[: list(dials).index(name)])
    own = total[..., start : start + 2 * len(dials[name])] / num
    best = np.where(own[..., 0::2] >= target, own[..., 1::2], np.inf).min(axis=-1)
    return np.asarray(np.where(np.isfinite(best), best, np.nan))


def tokens_at(dials: Mapping[str, Dial], name: str, setting: float, target: float, total: Floats, num: int) -> Floats:
    """Mean tokens of one setting of a method, NaN where it is not right often enough."""
    start = 2 * sum(len(dials[other]) for other in list(dials)[: list(dials).index(name)])
    at = start + 2 * list(dials[name]).index(setting)
    return np.asarray(np.where(total[..., at] / num >= target, total[..., at + 1] / num, np.nan))


def measure(name: str, num: int, num_ops: int, seed: int) -> tuple[dict[str, Dial], World]:
    """All methods on the same attempts."""
    own = lm_world(name, num, num_ops, seed) if name in LM_WORLDS else world(name, num, num_ops, seed)
    recovery = (RECOVERY | TOLD)[name]
    knobs = {"recovery": recovery, "profile": "chain" if recovery else "flat"}
    dials = {
        **every_step(own, seed),
        "omegaprm": searched(own, seed),
        "adaptive": tested(own, seed, **knobs),
    }
    if own.judge is not None:
        return dials | {"adaptive_judged": tested(own, seed, own.judge, "taught", **knobs)}, own
    for which, hit in (("adaptive_judged", JUDGE), ("adaptive_misled", 0.0)):
        dials[which] = tested(own, seed, told(own, seed, hit), str(hit), **knobs)
    return dials, own


def rows(where: str, dials: Mapping[str, Dial], own: World, seed: int) -> tuple[list[Row], list[str]]:
    """The tokens each method needs, ours against the others', and which never reach a target."""
    sums, num = table(dials), len(own.trees)
    found, never = [], []

    def add(name: str, statistic: Callable[[Floats], Floats], unit: str) -> None:
        estimate = clustered_bootstrap(statistic, sums, unit, rng=rng(seed, "labels", "bootstrap", where, name))
        if np.isfinite(estimate.value):
            found.append(row(f"b5_{where}_{name}", estimate))
        else:
            never.append(f"{where} {name}")

    if own.ceiling:
        found.append(row(f"b5_{where}_ceiling", rate(sum(own.ceiling), num, "share found by the exact values")))
    for name, dial in dials.items():
        best = max(dial, key=lambda setting: np.mean(dial[setting][0]))
        found.append(row(f"b5_{where}_{name}_best", rate(sum(dial[best][0]), num, f"share found, dial at {best:g}")))
        for target in TARGETS:
            add(
                f"{name}_tokens_{100 * target:.0f}", partial(reached, dials, name, target, num=num), "tokens an attempt"
            )
    for target in TARGETS:
        mine = partial(reached, dials, "adaptive", target, num=num)
        for theirs, cost in {
            "math_shepherd": partial(tokens_at, dials, "math_shepherd", 8, target, num=num),
            "math_shepherd_cheapest": partial(reached, dials, "math_shepherd", target, num=num),
            "omegaprm": partial(tokens_at, dials, "omegaprm", 8, target, num=num),
            "omegaprm_cheapest": partial(reached, dials, "omegaprm", target, num=num),
        }.items():
            add(f"vs_{theirs}_{100 * target:.0f}", partial(_quotient, cost, mine), "times the tokens of adaptive")
    return found, never


def _quotient(above: Callable[[Floats], Floats], below: Callable[[Floats], Floats], total: Floats) -> Floats:
    return np.asarray(above(total) / below(total))


def run(num: int, runs: Sequence[tuple[str, int]] = RUNS, seed: int = 500) -> tuple[list[Row], dict[str, object]]:
    """The rows, and what they rest on; `b5_vs_math_shepherd` and `b5_vs_omegaprm` are of `none`, 16 lines, .95."""
    found: list[Row] = []
    never: list[str] = []
    curves: dict[str, object] = {}
    shares: dict[str, object] = {}
    for name, num_ops in runs:
        dials, own = measure(name, num, num_ops, seed)
        more, missed = rows(f"{name}_{num_ops}", dials, own, seed)
        found += more
        never += missed
        if own.shares:
            shares[f"{name}_{num_ops}"] = {what: round(share, 4) for what, share in own.shares.items()}
        curves[f"{name}_{num_ops}"] = {
            method: {
                f"{setting:g}": [round(float(np.mean(each)), 3) for each in pair] for setting, pair in dial.items()
            }
            for method, dial in dials.items()
        }
    for theirs in ("math_shepherd", "omegaprm"):
        found += [{**one, "name": f"b5_vs_{theirs}"} for one in found if one["name"] == f"b5_none_16_vs_{theirs}_95"]
    return found, {"attempts": num, "seed": seed, "never_reached": never, "share_found_and_tokens": curves,
                   "language_models": shares,
                   "expectation": " ".join(EXPECTATION.split())}  # fmt: skip
