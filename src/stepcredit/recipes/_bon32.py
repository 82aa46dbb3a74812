"""Recorded best-of-32 pools: 32 attempts a problem, each with its answer, its outcome and several judges' step scores.

A set is `<set>.dev.jsonl.gz` (problems with candidates) beside `prm_scores_<judge>_<set>.dev.jsonl.gz` (the same
problems in the same order, one list of step scores a candidate). Read are the answer a candidate stated
(`extracted_answer`), `correct` as its outcome, its length and the scores; never the true answer.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from stepcredit.core.aggregate import Aggregation, aggregate, vote
from stepcredit.core.types import Floats, Ints, Outcome
from stepcredit.recipes._recorded import recorded

FOLDER = Path("bon32_pools")
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)


@dataclass(frozen=True, eq=False)
class Pools:
    """P problems with G attempts each, scored by J judges under the five aggregations.

    `answer_PG` numbers the answers within a problem in order of appearance; `length_PGL` is the logarithm of tokens and
    of steps; `score_PGJA` has its judges in `judges` and its aggregations in AGGREGATIONS.
    """

    name: str
    problem_ids: tuple[str, ...]
    judges: tuple[str, ...]
    answer_PG: Ints
    right_PG: Floats
    length_PGL: Floats
    score_PGJA: Floats


def find_folder(path: str) -> Path:
    """The folder of pools (`_recorded`)."""
    hint = "a folder with <set>.dev.jsonl.gz and prm_scores_<judge>_<set>.dev.jsonl.gz"
    return recorded(path, FOLDER, "folder of pools", hint)


def read_pools(folder: Path, name: str, num_problems: int = 0) -> Pools:
    """The set `name`; `num_problems` keeps the first only (0: all).

    Raises ValueError, naming file and line, for a set that is not there or has no scores, pools of unequal size, and
    scores that do not fit their pool. An attempt without an answer is an answer of its own, that no other shares.
    """
    source = folder / f"{name}.dev.jsonl.gz"
    if not source.is_file():
        there = sorted(p.name.removesuffix(".dev.jsonl.gz") for p in folder.glob("*.dev.jsonl.gz"))
        sets = ", ".join(n for n in there if not n.startswith("prm_scores_")) or "none"
        raise ValueError(f"no set {name!r} in {str(folder)!r}; there are: {sets}")
    scored = {
        path.name.removeprefix("prm_scores_").removesuffix(f"_{name}.dev.jsonl.gz"): path
        for path in sorted(folder.glob(f"prm_scores_*_{name}.dev.jsonl.gz"))
    }
    if not scored:
        raise ValueError(f"set {name!r} has no prm_scores_<judge>_{name}.dev.jsonl.gz in {str(folder)!r}")
    rows = list(_rows(source, num_problems))
    if not rows:
        raise ValueError(f"{source} holds no problem")
    size = len(rows[0][1].get("candidates", ()))
    for where, row in rows:
        _check(where, row, size)
    score_JPGA = [_scores(path, rows, num_problems) for path in scored.values()]
    candidates = [row["candidates"] for _, row in rows]
    return Pools(
        name, tuple(str(row["problem_id"]) for _, row in rows), tuple(scored),
        np.array([_answers(of) for of in candidates]),
        np.array([[float(c["correct"]) for c in of] for of in candidates]),
        np.log([[(max(c["num_tokens"], 1), max(len(c["steps"]), 1)) for c in of] for of in candidates]),
        np.array(score_JPGA).transpose(1, 2, 0, 3),
    )  # fmt: skip


def _rows(path: Path, num: int) -> Iterator[tuple[str, dict[str, Any]]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if num and number > num:
                return
            yield f"{path}:{number}", json.loads(line)


def _check(where: str, row: dict[str, Any], size: int) -> None:
    missing = [key for key in ("problem_id", "candidates") if key not in row]
    if missing:
        raise ValueError(f"{where}: no field {missing[0]!r}")
    if len(row["candidates"]) != size or size < 2:
        raise ValueError(f"{where}: {len(row['candidates'])} candidates; expected {max(size, 2)}, as in every pool")
    for candidate in row["candidates"]:
        wanting = [key for key in ("extracted_answer", "num_tokens", "steps") if key not in candidate]
        if wanting or not isinstance(candidate.get("correct"), bool):
            field = wanting[0] if wanting else "correct (true or false)"
            raise ValueError(f"{where}: candidate {candidate.get('i')!r} has no field {field}")


def _answers(candidates: list[dict[str, Any]]) -> list[int]:
    number_of: dict[object, int] = {}
    said = [vote(Outcome(float(c["correct"]), answer=str(c["extracted_answer"] or ""))) for c in candidates]
    return [number_of.setdefault(i if answer is None else answer, len(number_of)) for i, answer in enumerate(said)]


def _scores(path: Path, rows: list[tuple[str, dict[str, Any]]], num: int) -> list[list[list[float]]]:
    """[P, G, A]; every candidate has one score a step."""
    found = list(_rows(path, num))
    if len(found) != len(rows):
        raise ValueError(f"{path}: {len(found)} problems; expected {len(rows)}, as in the pools")
    score_PGA = []
    for (where, scores), (_, row) in zip(found, rows, strict=True):
        sizes = [len(c["steps"]) for c in row["candidates"]]
        if scores["problem_id"] != row["problem_id"] or [len(s) for s in scores["step_scores"]] != sizes:
            raise ValueError(f"{where}: step scores of {scores['problem_id']!r} do not fit pool {row['problem_id']!r}")
        score_GA = [[aggregate(s, how) for how in AGGREGATIONS] for s in scores["step_scores"]]
        if not np.isfinite(score_GA).all():
            raise ValueError(f"{where}: a candidate without a score for each of its steps")
        score_PGA.append(score_GA)
    return score_PGA
