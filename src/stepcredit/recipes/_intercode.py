"""Teaching and scoring of the InterCode study: episodes in, held-out judgments of every arm and null out.

No arm but the oracle is handed the turn rewards (`labelled`); penalties are chosen on the arm's own targets (`_taught`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepcredit.core.rng import rng
from stepcredit.core.types import Bools, Floats, Ints, Judgment, Outcome, Record
from stepcredit.credit.oracle import oracle
from stepcredit.credit.outcome_broadcast import outcome_broadcast
from stepcredit.credit.outcome_last import outcome_last
from stepcredit.evaluate.curves import pick_probability
from stepcredit.evaluate.nulls import last_step, length, random, step_index
from stepcredit.judge._turns import Turns
from stepcredit.judge.linear import LinearScorer
from stepcredit.recipes._recorded import recorded
from stepcredit.recipes._splits import Splits, halves

FILE = Path("intercode") / "sql.dev.jsonl.gz"
ARMS = ("outcome_last", "outcome_broadcast", "derivation", "retry", "oracle")


def find_file(path: str) -> Path:
    """The file of episodes (`_recorded`)."""
    hint = "a file of InterCode episodes with actions, observations and rewards (princeton-nlp/intercode, data/results/sql)"
    return recorded(path, FILE, "InterCode SQL file", hint)


def read_episodes(source: Path, num_tasks: int) -> tuple[list[Record], int]:
    """One record per episode, its outcome 1 where the last reward is full and 0 elsewhere; and the rows left out."""
    from stepcredit.data import read

    errors: list[str] = []
    found: list[Record] = []
    kept: dict[str, None] = {}
    for record in read(source, format="intercode", on_error="skip", errors=errors):
        tree = record.tree
        if num_tasks and tree.problem.id not in kept and len(kept) == num_tasks:
            continue
        kept[tree.problem.id] = None
        outcomes = [None if o is None else Outcome(float(bool(o.correct)), o.correct) for o in tree.outcomes]
        found.append(replace(record, tree=replace(tree, outcomes=tuple(outcomes))))
    return found, len(errors)


def cross_fit(
    records: Sequence[Record], counted: Turns, task_A: Ints, splits: Splits, penalties: Sequence[float], seed: int
) -> tuple[dict[str, list[list[Judgment]]], dict[str, float], dict[str, list[float]]]:
    """Held-out judgments by arm, split and attempt; seconds of teaching; the penalties chosen."""
    num_splits = len(splits.second_SC)
    judged: dict[str, list[list[Any]]] = {arm: [[None] * len(records) for _ in range(num_splits)] for arm in ARMS}
    seconds, chosen = dict.fromkeys(ARMS, 0.0), {arm: list[float]() for arm in ARMS}
    for split, teach_A, test_A in halves(splits, task_A):
        tasks = rng(seed, "penalty", split, int(teach_A[0])).permutation(np.unique(task_A[teach_A]))
        inner = np.isin(task_A[teach_A], tasks[: len(tasks) // 2])
        for arm in ARMS:
            begun = time.perf_counter()
            taught = labelled([records[a] for a in teach_A.tolist()], arm)
            scorer, penalty = _taught(arm, taught, counted.select(teach_A), inner, penalties)
            seconds[arm] += time.perf_counter() - begun
            chosen[arm].append(penalty)
            for attempt, judgment in zip(test_A, scorer.judge(counted.select(test_A)), strict=True):
                judged[arm][split][attempt] = judgment
    return judged, seconds, chosen


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


def _taught(
    arm: str, records: Sequence[Record], counted: Turns, inner_A: Bools, penalties: Sequence[float]
) -> tuple[LinearScorer, float]:
    """A judge taught on all the records, with the penalty under which one taught on the inner half tells the rest best.

    Ties go to the strongest penalty.
    """
    link: Literal["derivation", "retry"] = "retry" if arm == "retry" else "derivation"
    credit = None if arm in ("derivation", "retry") else arm

    def fit(of: Ints, penalty: float) -> LinearScorer:
        return LinearScorer.fit([records[a] for a in of.tolist()], credit=credit, link=link, aggregation="last",
                                inverse_penalty=penalty, counted=counted.select(of))  # fmt: skip

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
