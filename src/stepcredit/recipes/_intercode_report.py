"""The run of `recipes/intercode` as a report shows it: rows of numbers, and the episodes to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stepcredit.core.types import Judgment, Record
from stepcredit.recipes._splits import Measured
from stepcredit.recipes._turn_report import shown_by_turn


def result_row(name: str, measured: Measured, control: bool | str) -> dict[str, Any]:
    """One number of run.json's `results`."""
    return {"name": name, **asdict(measured.estimate()), "control": control}


def table_row(
    name: str, measured: Mapping[str, Measured], kind: str, expected: float | None, seconds: float | None
) -> dict[str, Any]:
    """An arm or null in the method table; `expected` is the prototype's step AUROC, `seconds` the cost of teaching."""
    row = {"arm": name, "kind": kind, "cells": {column: asdict(m.estimate()) for column, m in measured.items()}}
    if expected is not None:
        row |= {"cost": {"seconds": seconds}, "note": f"prototype: step AUROC {expected:.3f}"}
    return row


def shown_episodes(records: Sequence[Record], judged_A: Sequence[Judgment], num: int) -> list[dict[str, Any]]:
    """Each run's first episode of three to six turns, whatever came of it, a step a turn, under `retry`'s fix."""
    found: list[dict[str, Any]] = []
    seen = set()
    for record, judgment in zip(records, judged_A, strict=True):
        tree = record.tree
        run = tree.problem.meta.get("run", tree.problem.id)
        if len(found) < num and 3 <= len(judgment.step_scores_S) <= 6 and run not in seen:
            seen.add(run)
            full = np.flatnonzero(record.credits["truth"].values_N[tree.sampled_N] == 1) + 1
            note = (f"{run}; a turn's number is the chance that it succeeds; "
                    f"hidden: full reward on {f'turn {full[0]}' if full.size else 'no turn'}")  # fmt: skip
            found.append(shown_by_turn(record, judgment, note))
    return found
