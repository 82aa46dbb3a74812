"""The beam that `beam` and `lookahead` share: candidates, their scores, the best kept, a level at a time.

All problems are a level together: one call to the policy, one to the judge (and `ahead` more of the policy).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from stepcredit.core.aggregate import Scoring, attempt_score
from stepcredit.core.protocols import Judge, Policy, Rng, Solution
from stepcredit.core.types import Cost, Problem
from stepcredit.rollout._mcts_options import Option
from stepcredit.rollout._writing import Writing
from stepcredit.search._stepwise import Found, Sprout, judge_all, write


class _Beam:
    """One problem's candidates, as nodes: a finished attempt stands once for each of its would-be continuations."""

    def __init__(self, problem: Problem) -> None:
        self.sprout, self.kept, self.candidates = Sprout(problem), [0], [0]
        self.scores: dict[int, float] = {}

    def open(self) -> list[int]:
        return [node for node in self.kept if node not in self.sprout.over]

    def keep(self, num: int, rng: Rng) -> None:
        """The `num` best candidates; equals in an order drawn from `rng`, NaN behind all numbers."""
        draws = rng.random(len(self.candidates))
        order = sorted(range(len(self.candidates)), key=lambda i: (*_rank(self.scores[self.candidates[i]]), draws[i]))
        self.kept = [self.candidates[i] for i in order[:num]]


def _rank(score: float) -> tuple[bool, float]:
    return (True, 0.0) if math.isnan(score) else (False, -score)


def search(problems: Sequence[Problem], *, policy: Policy, judge: Judge, rng: Rng, num: int, width: int, ahead: int,
           num_rollouts: int, aggregation: Scoring, max_steps: int, writing: Writing) -> list[Found]:  # fmt: skip
    """`num` candidates a level, of which num / width are kept and written on `width` times; see `beam`."""
    if width < 1 or num < width or num % width:
        raise ValueError(f"num {num}, width {width}; allowed: width 1 or more, num a multiple of it")
    if max_steps < 1 or ahead < 0 or num_rollouts < 1:
        raise ValueError(
            f"max_steps {max_steps}, steps ahead {ahead}, num_rollouts {num_rollouts}; allowed: 1, 0, 1 or more"
        )
    started = time.perf_counter()
    beams = [_Beam(problem) for problem in problems]
    for level in range(max_steps):
        active = [beam for beam in beams if beam.open()]
        if not active:
            break
        each = width if level else num
        asked = [(beam, node) for beam in active for node in beam.open()]
        found = write(policy, [(beam.sprout, beam.sprout.solution(node)) for beam, node in asked], each, rng, writing)
        for beam in active:
            beam.candidates = [node for node in beam.kept if node in beam.sprout.over for _ in range(width)]
        fresh = [pair for (beam, node), group in zip(asked, found, strict=True) for pair in _take(beam, node, group)]
        scores = _scores([(b.sprout, n) for b, n in fresh], policy, judge, rng, ahead, num_rollouts, aggregation, writing)  # fmt: skip
        for (beam, node), score in zip(fresh, scores, strict=True):
            beam.scores[node] = score
        for beam in active:
            beam.keep(num // width, rng)
    seconds = Cost(seconds=(time.perf_counter() - started) / max(len(beams), 1))
    chosen = []
    for beam in beams:
        ended = [node for node in beam.kept if not beam.sprout.over.get(node, True)]
        beam.candidates = ended or beam.kept
        beam.keep(1, rng)
        beam.sprout.cost += seconds
        chosen.append(Found(beam.sprout.tree(), beam.kept[0]))
    return chosen


def _take(beam: _Beam, node: int, group: Sequence[Option]) -> list[tuple[_Beam, int]]:
    """Add a node's options, those that go on first; returns what is to be scored: an end that writes nothing is not."""
    fresh = []
    for option in sorted(group, key=lambda option: option.step is None):
        new = beam.sprout.add(node, option)
        beam.candidates.append(new)
        if option.step is not None or (node == 0 and new not in beam.scores):
            beam.scores[new] = math.nan
            fresh.append((beam, new))
        elif node:
            beam.scores[new] = beam.scores[node]
    return fresh


def _scores(asked: Sequence[tuple[Sprout, int]], policy: Policy, judge: Judge, rng: Rng, ahead: int, num_rollouts: int,
            aggregation: Scoring, writing: Writing) -> list[float]:  # fmt: skip
    """The judge's score of each node, or the mean of its scores `ahead` steps further on; NaN where none is a number."""
    times = num_rollouts if ahead else 1
    paths: list[tuple[Sprout, Solution]] = [(s, s.solution(node)) for s, node in asked for _ in range(times)]
    going = [
        place for place, (s, node) in enumerate(pair for pair in asked for _ in range(times)) if node not in s.over
    ]
    for _ in range(ahead):
        if not going:
            break
        drawn = write(policy, [paths[place] for place in going], 1, rng, writing)
        still = []
        for place, (option,) in zip(going, drawn, strict=True):
            if option.step is not None:
                paths[place] = (paths[place][0], (*paths[place][1], option.step))
            if not (option.ended or option.cut):
                still.append(place)
        going = still
    said = np.array([attempt_score(one, aggregation) for one in judge_all(judge, paths)]).reshape(len(asked), times)
    return [float(np.mean(row[~np.isnan(row)])) if not np.isnan(row).all() else math.nan for row in said]
