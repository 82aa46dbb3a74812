"""Teachings of one linear judge of turns, and what reads no turn: shared by the studies of agents.

No arm but the oracle is handed the step truth (`labelled`); penalties are chosen on the arm's own targets (`taught`).
Every record holds one attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from stepcredit.core.rng import rng
from stepcredit.core.types import Bools, Floats, Ints, Judgment, Record
from stepcredit.credit.oracle import oracle
from stepcredit.credit.outcome_broadcast import outcome_broadcast
from stepcredit.credit.outcome_last import outcome_last
from stepcredit.evaluate.curves import pick_probability
from stepcredit.evaluate.nulls import last_step, length, random, step_index
from stepcredit.judge._turns import Hashing, Turns
from stepcredit.judge.linear import LinearScorer

ARMS = ("outcome_last", "outcome_broadcast", "derivation", "retry", "oracle")


def labelled(records: Sequence[Record], arm: str) -> list[Record]:
    """Records with the arm's label and nothing else: no arm but the oracle is handed the turn rewards."""
    trees = [record.tree for record in records]
    if arm == "oracle":
        labels = oracle(trees, truth=[record.credits["truth"] for record in records], so_far=False)
    elif arm in ("outcome_last", "outcome_broadcast"):
        labels = {"outcome_last": outcome_last, "outcome_broadcast": outcome_broadcast}[arm](trees)
    else:
        return [Record(tree) for tree in trees]
    return [Record(tree, {arm: label}) for tree, label in zip(trees, labels, strict=True)]


def taught(
    arm: str, records: Sequence[Record], counted: Turns, inner_A: Bools, penalties: Sequence[float],
    *, hashing: Hashing | None = None, fp: float = 0.0, fn: float = 0.0,
) -> tuple[LinearScorer, float]:  # fmt: skip
    """A judge taught on all the records, with the penalty under which one taught on the inner half tells the rest best.

    `fp`, `fn`: verifier noise known to a link's likelihood. Ties go to the strongest penalty.
    """
    link: Literal["derivation", "retry"] = "retry" if arm == "retry" else "derivation"
    credit = None if arm in ("derivation", "retry") else arm

    def fit(of: Ints, penalty: float) -> LinearScorer:
        return LinearScorer.fit([records[a] for a in of.tolist()], credit=credit, link=link, aggregation="last", fp=fp,
                                fn=fn, inverse_penalty=penalty, hashing=hashing, counted=counted.select(of))  # fmt: skip

    everyone = np.arange(len(records))
    best, height = min(penalties), -np.inf
    if len(penalties) > 1:
        ours, rest = np.flatnonzero(inner_A), np.flatnonzero(~inner_A)
        for penalty in sorted(penalties):
            told = fit(ours, penalty).log_likelihood([records[a] for a in rest.tolist()], counted.select(rest))
            if told > height:
                best, height = penalty, told
    return fit(everyone, best), best


def null_judgments(records: Sequence[Record], seed: int) -> dict[str, list[Judgment]]:
    """Scores that read no turn. `last turn` knows only where the episode stopped."""
    bare = [Record(record.tree) for record in records]
    made = {
        "step index": step_index(bare),
        "length": length(bare),
        "last turn": [replace(r, judgments=tuple(Judgment(0.0, 1.0 - j.step_scores_S) for j in r.judgments))
                      for r in last_step(bare)],
        "random": random(bare, rng=rng(seed, "random")),
    }  # fmt: skip
    return {name: [record.judgments[0] for record in of] for name, of in made.items()}


def best_of(judged_SA: Sequence[Sequence[Judgment]], right_A: Floats, task_A: Ints) -> Floats:
    """Chance that the best-scored run of a task is right, [S, C]; ties share the pick."""
    runs_C = [np.flatnonzero(task_A == task) for task in range(int(task_A.max()) + 1)]
    score_SA = np.array([[judgment.score for judgment in judged_A] for judged_A in judged_SA])
    return np.array([[float(pick_probability(score_A[runs], len(runs)) @ right_A[runs]) for runs in runs_C]
                     for score_A in score_SA])  # fmt: skip
