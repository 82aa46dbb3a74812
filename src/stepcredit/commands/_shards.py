"""Judged records kept in shards, so that a killed run loses at most the shard in flight and goes on where it was.

A shard holds the judged records of one chunk of the input, named by the hash of what they were made from: these records
(earlier judgments aside), the scorer's files, the options and our version. Same name, same bytes; a chunk, scorer or
option that has changed has another name and is judged anew. A shard appears whole or not at all. The output is written
from the shards in the order of the input, in their folder, and then takes its place in one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepcredit.core.types import Record

Judged = Callable[[Sequence[Record]], Iterable[Record]]


def made_with(scorer: str, options: Mapping[str, Any]) -> bytes:
    """The hash of a scorer's folder, the options and our version."""
    from stepcredit import __version__

    folder = Path(scorer).expanduser()
    digest = hashlib.sha256(json.dumps([__version__, options], sort_keys=True).encode())
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        digest.update(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape") + b"\0" + content)
    return digest.digest()


def beside(out: str, ending: str) -> Path:
    """The folder OUT + ending, for what is kept on the way to OUT. Raises ValueError for an `out` that cannot be written."""
    from stepcredit.data._rows import kind_of

    target = Path(out)
    kind_of(target)
    if not target.parent.is_dir():
        raise ValueError(f"{out}: the folder {target.parent} does not exist")
    if target.is_dir():
        raise ValueError(f"{out}: is a folder")
    return target.with_name(target.name + ending)


@contextmanager
def folder_for(out: str) -> Iterator[Path]:
    """OUT.partial-score, removed when the block ends without an error, or where it holds no shard.

    A mistake in the block leaves the shards for the next run, and its ValueError says so. Raises ValueError at once for
    an `out` that cannot be written.
    """
    folder = beside(out, ".partial-score")
    folder.mkdir(exist_ok=True)
    done = False
    try:
        yield folder
        done = True
    except ValueError as error:
        if num := sum(1 for _ in _shards(folder)):
            raise ValueError(f"{error}; {num} shards judged so far are kept in {folder} for the next run") from error
        raise
    finally:
        if done or not any(_shards(folder)):
            for made in [*_shards(folder), *folder.glob(f"{Path(out).name}*"), *folder.glob(".*.tmp")]:
                made.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: it holds what is not ours
                folder.rmdir()


def _shards(folder: Path) -> Iterator[Path]:
    return folder.glob("shard-*.jsonl")


def shard_of(folder: Path, records: Sequence[Record], made_with: bytes, judged: Judged) -> Path:
    """The shard of these records: the one that is there, else a new one with what `judged` makes of them."""
    from stepcredit.data import native, write
    from stepcredit.data._sink import to_json

    digest = hashlib.sha256(made_with)
    for record in records:
        for row in native.rows(replace(record, judgments=())):
            digest.update(to_json(row, f"problem {record.tree.problem.id!r}") + b"\n")
    path = folder / f"shard-{digest.hexdigest()}.jsonl"
    if not _has_rows(path, len(records)):
        write(path, judged(records))
    return path


def _has_rows(path: Path, num: int) -> bool:
    """Whether a shard is there, and as long as it was: a machine that stops can lose the end of what was written."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return sum(1 for _ in stream) == num


def assemble(folder: Path, shards: Sequence[Path], out: str, seen: Callable[[Record], None]) -> int:
    """Write the output from the shards, each record shown to `seen`; returns how many there are."""
    from stepcredit.data import read, write

    def all_records() -> Iterator[Record]:
        for path in shards:
            for record in read(path, format="native"):
                seen(record)
                yield record

    made = folder / Path(out).name
    num_records = write(made, all_records())
    os.replace(made, out)
    return num_records
