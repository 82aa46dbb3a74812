"""From a judged attempt to the entry of a run's `attempts` that the step heat map shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepcredit.core.types import Judgment, Record


def attempt_entry(
    record: Record, leaf: int, judgment: Judgment, *, arm: str = "", predicted: int | None = None,
    first_error: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The attempt that ends at `leaf`: all its steps, those that were not sampled without a score.

    `predicted` and `first_error` count sampled steps, as judgments do (-1: no error, None: not known); in the entry they
    count all steps. Truth is `credits["truth"]`, right from 1/2 on. Raises ValueError where the judgment does not score
    each sampled step.
    """
    tree, path = record.tree, record.tree.path(leaf)
    outcome = tree.outcomes[leaf]
    truth_N = record.credits["truth"].values_N if "truth" in record.credits else np.full(tree.num_nodes, np.nan)
    steps = [
        {"text": step.text, "kind": step.kind, "score": None, "truth": None if np.isnan(truth) else int(truth >= 0.5)}
        for step, truth in zip(tree.solution(leaf), truth_N[list(path)].tolist(), strict=True)
    ]
    own = [place for place, node in enumerate(path) if tree.steps[node].sampled]
    if judgment.step_scores_S.size != len(own):
        raise ValueError(f"problem {tree.problem.id!r}: {len(own)} sampled steps, "
                         f"but {judgment.step_scores_S.size} step scores")  # fmt: skip
    for place, score in zip(own, judgment.step_scores_S.tolist(), strict=True):
        steps[place]["score"] = score

    def at(error: int | None) -> int | None:
        return None if error is None else -1 if error < 0 else own[error]

    return {
        "problem": tree.problem.prompt, "arm": arm, "score": judgment.score, "steps": steps,
        "outcome": outcome and {"correct": outcome.correct, "status": outcome.status, "answer": outcome.answer},
        "first_error_truth": at(first_error), "first_error_predicted": at(predicted),
    }  # fmt: skip
