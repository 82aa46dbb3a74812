"""Cutting a demonstration anywhere in its text instead of at step borders: the control of where to cut.

    S - 1 random places of the text and its beginning; V between places on a line, by characters, up to the end, which is right

R3's released SVAMP data cut inside a number (sheet, 4g): what is measured there belongs to no step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.types import Floats, Step, Tree
from stepcredit.recipes._r3_world import Ground, num_steps


def at_random_places(own: Ground, tree: Tree, num: int) -> tuple[Floats, float]:
    """The values that `num` continuations of each random place give the S starts, [S], and the tokens they took."""
    steps = [tree.steps[node].text + "\n" for node in tree.path(num_steps(tree))]
    text, edges = "".join(steps), np.concatenate([[0], np.cumsum([len(step) for step in steps])])
    draw = own.draw("places", tree.problem.id)
    inside = 1 + draw.choice(len(text) - 1, size=min(len(steps) - 1, len(text) - 1), replace=False)
    places = np.concatenate([[0], np.sort(inside)])
    given = [text[:place] for place in places]
    groups = own.policy.sample([tree.problem.prompt + "\n" + one for one in given], num, draw, **own.limits)
    rates, tokens = [], 0.0
    for one, group in zip(given, groups, strict=True):
        solutions = [_lines(one + completion.text) for completion in group]
        reward = np.array([outcome.reward for outcome in own.task.verify(tree.problem, solutions)])
        known = reward[~np.isnan(reward)]
        rates.append(float(np.mean(known > 0.5)) if known.size else np.nan)
        tokens += sum(len(completion.token_ids or " ") for completion in group)
    kept = np.isfinite(rates)
    where, value = np.append(places[kept], len(text)), np.append(np.array(rates)[kept], 1.0)
    return np.interp(edges[:-1], where, value), tokens


def _lines(text: str) -> Sequence[Step]:
    return [Step(line) for line in text.removesuffix("\n").split("\n")]
