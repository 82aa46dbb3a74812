"""The attempts of B5 in the worlds of a small language model: it writes them, and completes its own prefixes.

The model is trained from scratch on demonstrations of the world that slip; how often it slips itself, and how often a broken
chain recovers, is measured; what `adaptive` is told is known of the world: a slip falls on the right number once in six (`lm_rare`, modulo 7:
no model this small learns a modulus under which it never would) or always (`lm_lucky`, modulo 2). The judge whose prior
`adaptive_judged` takes is a table of lines, taught as a latent chain by the outcomes of other problems' attempts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _labels import World, check_enough

from stepcredit.core.rng import rng
from stepcredit.core.types import Tree
from stepcredit.recipes import _rollout_labels_world as lm
from stepcredit.recipes._fit import Budget, Teaching
from stepcredit.recipes._lookup import fit_lookup

LM_WORLDS = {
    "lm_rare": lm.World(7, random_slip=0.05, num_slips=0, num_updates=2000),
    "lm_lucky": lm.World(2, random_slip=0.05, num_slips=0, num_updates=800),
}
TOLD = {"lm_rare": 0.01, "lm_lucky": 0.05}  # the recovery a line that `adaptive` is told
NUM_JUDGED = 400  # problems of 16 attempts whose outcomes teach the judge
BUDGET = Budget(num_updates=600, batch_size=256, learning_rate=0.1)


def lm_world(name: str, num: int, num_ops: int, seed: int, cache: Path | None = None) -> World:
    """`num` problems that have right and wrong attempts among 16, with the first wrong one of each; the model is kept in `cache`."""
    own = replace(LM_WORLDS[name], min_ops=num_ops, max_ops=num_ops)
    task, first = own.task, own.num_demonstrations
    problems = task.problems(first + 2 * num + NUM_JUDGED, rng(seed, "labels", name, "problems"))
    with TemporaryDirectory() as scratch:
        policy = lm.writer(own, problems[:first], seed, cache or Path(scratch))
    trees: list[Tree] = []
    leaves: list[int] = []
    truth: list[int] = []
    for record in lm.attempts_of(task, problems[first : first + 2 * num], policy, 16, seed, "labels", name):
        reward_N, errors = record.tree.reward_N, lm.first_errors(record)
        wrong = [leaf for leaf in record.tree.leaves if reward_N[leaf] == 0 and errors[leaf] >= 0]
        if wrong and np.nansum(reward_N) > 0 and len(trees) < num:
            trees.append(record.tree)
            leaves.append(wrong[0])
            truth.append(errors[wrong[0]])
    check_enough(num, len(trees), 2 * num)
    others = lm.attempts_of(task, problems[first + 2 * num :], policy, 16, seed, "labels", name, "judge")
    table, _ = fit_lookup(others, teaching=Teaching("latent_chain", link="free"), budget=BUDGET, seed=seed)
    return World(name, policy, task.verify, trees, leaves, truth, [], table.judge, lm.MAX_NEW_TOKENS, lm.shares(others))
