"""Rows into a file, streaming and atomic: a temporary file in the same folder, then one rename.

A reader never sees half a file, and a failure leaves nothing behind.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from stepcredit.data._rows import kind_of

if TYPE_CHECKING:
    import pyarrow

ROW_GROUP = 1024


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block ends without an error."""
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pyarrow.Schema | None = None) -> int:
    """Write all rows, return how many. JSON lines (gzip with a fixed time stamp: same rows, same bytes) or Parquet.

    Without `schema` a Parquet file takes the types of its first 1,024 rows. Raises ValueError for a row that does not
    fit, and for values JSON cannot hold.
    """
    kind = kind_of(path)
    with replacing(path) as temporary:
        if kind == "parquet":
            return _write_parquet(temporary, rows, schema)
        with temporary.open("wb") as raw:
            if kind == "lines":
                return _write_lines(raw, rows)
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as zipped:
                return _write_lines(cast(IO[bytes], zipped), rows)


def to_json(value: Any, what: str) -> bytes:
    """One line of strict JSON in UTF-8: no NaN; numpy scalars become numbers, mappings objects, arrays lists."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} cannot be written as JSON: {error}") from error
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: only an escape can hold it
        return json.dumps(value, allow_nan=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is not text, a number, true, false, null, a list or an object")


def _write_lines(stream: IO[bytes], rows: Iterable[Mapping[str, Any]]) -> int:
    num = 0
    for num, row in enumerate(rows, 1):
        stream.write(to_json(row, f"row {num}") + b"\n")
    return num


def _write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], schema: pyarrow.Schema | None) -> int:
    import pyarrow
    import pyarrow.parquet

    num, writer = 0, None
    iterator = iter(rows)
    try:
        while (batch := list(itertools.islice(iterator, ROW_GROUP))) or writer is None:
            try:
                table = pyarrow.Table.from_pylist([dict(row) for row in batch], schema=schema)
            except (pyarrow.ArrowException, TypeError, ValueError) as error:
                raise ValueError(
                    f"rows {num + 1} to {num + len(batch)} do not fit one Parquet table: {error}"
                ) from error
            if unknown := sorted({name for row in batch for name in row} - set(table.column_names)):
                raise ValueError(f"rows {num + 1} to {num + len(batch)} have columns the first rows lack: {', '.join(unknown)}; "
                                 "write .jsonl instead")  # fmt: skip
            schema = table.schema
            writer = writer or pyarrow.parquet.ParquetWriter(path, schema)
            if batch:
                writer.write_table(table)
            num += len(batch)
    finally:
        if writer is not None:
            writer.close()
    return num
