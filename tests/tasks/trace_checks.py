"""Steps from texts, labels as lists, and how far the labels agree with what people marked in recorded traces."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.tree import first_error
from stepcredit.core.types import Problem, Step

DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))


def lines(*texts):
    return [Step(text) for text in texts]


def labels(task, problem, *texts):
    return task.label_steps(problem, lines(*texts)).tolist()


def agreement(task, name):
    """Share of recorded PaLM traces whose first error we place exactly where people did, and share of steps read."""
    path = DATA / "bigbench_mistake" / f"{name}.dev.jsonl.gz"
    if not path.exists():
        pytest.skip(f"recorded traces absent: {path}")
    same, read = [], []
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            problem = Problem(f"{name}-{row['row']}", row["input"], row["target"])
            label_S = task.label_steps(problem, lines(*row["steps"]))
            marked = -1 if row["mistake_index"] is None else row["mistake_index"]
            same.append(first_error(label_S) == marked)
            read.extend(~np.isnan(label_S))
    return np.mean(same), np.mean(read)
