"""Attempts of each problem joined while they stream by: what `data.group` gives, without the whole file in memory.

The file is read twice. The first time counts the rows of each problem, so that the second knows when a problem is
complete. Held in memory: a few hundred bytes a problem, and the attempts read since the first row of a problem that
is not complete; of a file whose problems are scattered that can be all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from stepcredit.commands import _show
from stepcredit.commands._reading import Reading, hint_ids, records
from stepcredit.core.types import Record

Key = tuple[str, bytes]


def joined(path: str, reading: Reading) -> Iterator[Record]:
    """One record a problem, in order of first appearance. Raises as `records`, and as `data.group`."""
    from stepcredit.data import group

    left: Counter[Key] = Counter()
    told: dict[Key, None] = {}
    for record in _show.progress(records(path, reading, quiet=True), "counting"):
        left[_key(record)] += 1
        if starts_at_prompt(record):
            told[_key(record)] = None
    hint_ids(told)
    waiting: dict[Key, list[Record]] = {}
    for record in _show.progress(records(path, reading), "joining"):
        key = _key(record)
        waiting.setdefault(key, []).append(record)
        left[key] -= 1
        if left[key] < 0:
            raise ValueError(f"{path} has changed while it was read; give the command again")
        while waiting and not left[first := next(iter(waiting))]:
            yield from group(waiting.pop(first))
    if waiting:
        raise ValueError(f"{path} has changed while it was read; give the command again")


def starts_at_prompt(record: Record) -> bool:
    """Whether the prompt is all that stands before the first step: not where a user opened the attempt besides."""
    return not record.tree.leaves or record.tree.steps[1].context is None


def _key(record: Record) -> Key:
    problem = record.tree.problem
    return problem.id, hashlib.blake2b(problem.prompt.encode("utf-8", "surrogatepass"), digest_size=16).digest()
