"""Reading and cross-fitting of the InterCode study: episodes in, held-out judgments of every arm out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core.rng import rng
from stepcredit.core.types import Ints, Judgment, Outcome, Record
from stepcredit.judge._turns import Turns
from stepcredit.recipes._recorded import recorded
from stepcredit.recipes._splits import Splits, halves
from stepcredit.recipes._turn_arms import ARMS, labelled, taught

FILE = Path("intercode") / "sql.dev.jsonl.gz"


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
            given = labelled([records[a] for a in teach_A.tolist()], arm)
            scorer, penalty = taught(arm, given, counted.select(teach_A), inner, penalties)
            seconds[arm] += time.perf_counter() - begun
            chosen[arm].append(penalty)
            for attempt, judgment in zip(test_A, scorer.judge(counted.select(test_A)), strict=True):
                judged[arm][split][attempt] = judgment
    return judged, seconds, chosen
