"""The run of `recipes/intercode` as a report shows it: rows of numbers, episodes as turns, what is identified at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stepcredit.core import chain, diagnostics, link_choice
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Floats, Ints, Judgment, Record, Step
from stepcredit.judge._turns import turn_texts
from stepcredit.recipes._splits import Measured
from stepcredit.report._attempt import attempt_entry


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
        tree, fix_S = record.tree, judgment.local_scores_S
        run = tree.problem.meta.get("run", tree.problem.id)
        if len(found) < num and 3 <= len(fix_S) <= 6 and run not in seen:
            seen.add(run)
            full = np.flatnonzero(record.credits["truth"].values_N[tree.sampled_N] == 1) + 1
            leaf = tree.leaves[0]
            steps = [Step(text, kind="tool_call") for text in turn_texts(tree.solution(leaf))]
            by_turn = Record(star(tree.problem, [steps], [tree.outcomes[leaf]]))  # a turn's score has seen its result
            note = (f"{run}; a turn's number is the chance that it succeeds; "
                    f"hidden: full reward on {f'turn {full[0]}' if full.size else 'no turn'}")  # fmt: skip
            local = Judgment(judgment.score, fix_S)
            found.append(attempt_entry(by_turn, len(steps), local, arm="retry") | {"note": note})
    return found


def diagnosed(
    judged: Mapping[str, Sequence[Sequence[Judgment]]], right_A: Floats, size_A: Ints, task_A: Ints, seed: int
) -> list[dict[str, Any]]:
    """What says how far the credit is identified, from held-out judgments of the first split (and the second)."""
    right, tasks = right_A == 1, task_A.tolist()
    stop = link_choice.stop_on_success(size_A, right, tasks, rng=rng(seed, "stop"))
    lines = {"data": stop.lines() if stop else []}
    if stop and stop.dependent:
        lines["data"].append(
            "WARNING: success ends an episode here, so the successful turn is the last turn: this data cannot show latent "
            "inference, whatever a judge reaches on it."
        )
    told: dict[str, Floats] = {}
    for link, start in (("derivation", 1.0), ("retry", 0.0)):
        channels = [judgment.channels for judgment in judged[link][0]]
        fix = [c["fix"] for c in channels]
        keep = [c.get("keep", np.ones_like(c["fix"])) for c in channels]
        blame = diagnostics.last_step_blame(
            keep, fix, right.tolist(), start=start, clusters=tasks, rng=rng(seed, "blame", link)
        )
        lines[link] = blame.lines() if blame else []
        told[link] = np.array(
            [chain.log_likelihood(k, f, r, start=start) for k, f, r in zip(keep, fix, right.tolist(), strict=True)]
        )
        if len(judged[link]) > 1:
            first, second = ([j.local_scores_S for j in judged[link][split]] for split in (0, 1))
            lines[link] += diagnostics.rank_agreement(first, second).lines()
    lines["choice of link"] = link_choice.compare_links(told, size_A, right, tasks, rng=rng(seed, "links")).lines()
    return [{"arm": arm, "lines": [one for one in said if not one.startswith("WARNING")],
             "warnings": [one for one in said if one.startswith("WARNING")]} for arm, said in lines.items()]  # fmt: skip
