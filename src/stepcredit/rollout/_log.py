"""Answers kept as they are given, one line a call, so that what was killed can be run again and be answered from the file.

A line that the kill cut off is dropped; all before it is taken as it stands, in order. Each line holds the hash of what
was asked: a call that is not the one that was kept is refused, never answered by another's answer.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core.types import Outcome, Problem, Tree


class Log:
    """The calls of one run, on disk at `path`. `replayed_seconds` is the time that those answered from it once took."""

    def __init__(self, path: Path) -> None:
        self.path, self.replayed_seconds = path, 0.0
        self._num = 0
        self._lines: Iterator[bytes] | None = _whole_lines(path)

    def answered(self, asked: Any, make: Callable[[], Any], *, sync: bool = True) -> Any:
        """What this call was answered before, else what `make` returns now, as JSON gives it back.

        It is on disk when this returns; without `sync`, a machine that stops may lose it, a killed process does not.
        Raises ValueError for a call that is not the one kept in its place (another version kept it, it went on to another
        length, or the policy has another `batch_size`), and for a file that cannot be read.
        """
        key, self._num = digest(asked), self._num + 1
        line = None if self._lines is None else next(self._lines, None)
        if line is not None:
            return self._kept(line, key)
        self._lines = None
        began = time.perf_counter()
        answer = make()
        row = {"asked": key, "seconds": time.perf_counter() - began, "answer": answer}
        text = json.dumps(row, default=plain)
        with self.path.open("ab") as stream:
            stream.write(text.encode() + b"\n")
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        return json.loads(text)["answer"]

    def _kept(self, line: bytes, key: str) -> Any:
        try:
            row = json.loads(line)
            found, seconds, answer = row["asked"], float(row["seconds"]), row["answer"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path}, line {self._num}: cannot be read ({error}); remove the file") from error
        if found != key:
            raise ValueError(f"{self.path}, line {self._num}: what was kept there was asked for otherwise, by another version, "
                             "at another length or in pieces of another batch_size of the policy; remove the file, or name "
                             "another folder")  # fmt: skip
        self.replayed_seconds += seconds
        return answer


def digest(asked: Any) -> str:
    """The hash of what was asked. Raises TypeError for what is no text, number, list, problem, tree or function."""
    return hashlib.sha256(json.dumps(asked, default=plain).encode()).hexdigest()[:24]


def plain(value: Any) -> Any:
    """What JSON can hold of NumPy's numbers, sequences, mappings and dates, and what tells problems, trees and functions apart."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Problem):
        return [value.id, value.prompt, value.answer, value.reference, dict(value.meta)]
    if isinstance(value, Tree):
        return [value.problem, [(step.text, step.sampled) for step in value.steps], value.parent_N, value.outcomes,
                value.visits_N, value.group_N]  # fmt: skip
    if isinstance(value, Sequence):  # such as a range of nodes
        return list(value)
    if isinstance(value, Outcome):
        return [value.status, value.reward, value.verifier]  # the last tells `_mcts_tree` of an attempt that was cut
    if isinstance(
        value, datetime.date | datetime.time | datetime.timedelta | Decimal
    ):  # what a Parquet file's columns, kept as meta, may hold
        return str(value)
    if hasattr(value, "__qualname__"):  # a function, which is known by its name
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"{value!r} cannot be kept in a folder: it is no number, text, list, problem, tree or function")


def _whole_lines(path: Path) -> Iterator[bytes] | None:
    """The lines of a file, what is left of an unfinished one cut off it; None where there is no file."""
    if not path.exists():
        return None
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as stream:
            stream.truncate(len(whole))
    return iter(whole.splitlines())
