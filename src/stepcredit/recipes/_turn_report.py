"""What studies of agents show beside their numbers: episodes turn by turn, and what is identified at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stepcredit.core import chain, diagnostics, link_choice
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Floats, Ints, Judgment, Record, Step
from stepcredit.judge._turns import turn_texts
from stepcredit.report._attempt import attempt_entry

STARTS = {"derivation": 1.0, "retry": 0.0}


def shown_by_turn(record: Record, judgment: Judgment, note: str, *, arm: str = "retry") -> dict[str, Any]:
    """A one-attempt record for the page, a step a turn, under the judge's local rates; truth stays hidden, so say it in `note`."""
    tree = record.tree
    leaf = tree.leaves[0]
    steps = [Step(text, kind="tool_call") for text in turn_texts(tree.solution(leaf))]
    by_turn = Record(star(tree.problem, [steps], [tree.outcomes[leaf]]))  # a turn's score has seen its result
    local = Judgment(judgment.score, judgment.local_scores_S)
    return attempt_entry(by_turn, len(steps), local, arm=arm) | {"note": note}


def told(judgments: Sequence[Judgment], right_A: Floats, link: str) -> Floats:
    """Log P(outcome) of each attempt under a link's judgments, nats [A]."""
    fix_AS = [judgment.channels["fix"] for judgment in judgments]
    keep_AS = [j.channels.get("keep", np.ones_like(fix)) for j, fix in zip(judgments, fix_AS, strict=True)]
    found = zip(keep_AS, fix_AS, right_A, strict=True)
    return np.array([chain.log_likelihood(k, f, bool(r), start=STARTS[link]) for k, f, r in found])


def compared(
    judged: Mapping[str, Sequence[Judgment]], right_A: Floats, size_A: Ints, task_A: Ints, seed: int
) -> link_choice.LinkComparison:
    """What held-out outcomes prefer, derivation or retry."""
    both = {link: told(judged[link], right_A, link) for link in STARTS}
    return link_choice.compare_links(both, size_A, right_A == 1, task_A.tolist(), rng=rng(seed, "links"))


def diagnosed(
    judged: Mapping[str, Sequence[Sequence[Judgment]]], right_A: Floats, size_A: Ints, task_A: Ints, seed: int
) -> list[dict[str, Any]]:
    """What says how far the credit is identified, from held-out judgments of the first judge of each link (and the second)."""
    right, tasks = right_A == 1, task_A.tolist()
    stop = link_choice.stop_on_success(size_A, right, tasks, rng=rng(seed, "stop"))
    lines = {"data": stop.lines() if stop else []}
    if stop and stop.dependent:
        lines["data"].append(
            "WARNING: success ends an episode here, so the successful turn is the last turn: this data cannot show latent "
            "inference, whatever a judge reaches on it."
        )
    for link, start in STARTS.items():
        fix = [judgment.channels["fix"] for judgment in judged[link][0]]
        keep = [j.channels.get("keep", np.ones_like(f)) for j, f in zip(judged[link][0], fix, strict=True)]
        blame = diagnostics.last_step_blame(
            keep, fix, right.tolist(), start=start, clusters=tasks, rng=rng(seed, "blame", link)
        )
        lines[link] = blame.lines() if blame else []
        if len(judged[link]) > 1:
            first, second = ([j.local_scores_S for j in one] for one in judged[link][:2])
            lines[link] += diagnostics.rank_agreement(first, second).lines()
    choice = compared({link: judged[link][0] for link in STARTS}, right_A, size_A, task_A, seed)
    lines["choice of link"] = choice.lines()
    return [{"arm": arm, "lines": [one for one in said if not one.startswith("WARNING")],
             "warnings": [one for one in said if one.startswith("WARNING")]} for arm, said in lines.items()]  # fmt: skip
