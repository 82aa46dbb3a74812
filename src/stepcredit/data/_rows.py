"""Rows of a file, one at a time in constant memory: JSON lines, plain or gzip, and Parquet by row groups.

Not through `datasets`: its JSON loader gives no line numbers, and an error here names file and line.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any, cast

from stepcredit.data._fields import short

LINES = (".jsonl", ".ndjson", ".json")
ALLOWED = ".jsonl, .ndjson, .json (one object per line), each also with .gz, or .parquet"
BATCH = 256

OnBad = Callable[[str, str], None]  # (place, message): raises, or notes the row and returns


class FileCutError(ValueError):
    """The file ends, or breaks, in the middle: nothing after this point can be read."""


def kind_of(path: Path) -> str:
    """What the file's name says it holds: lines, gzip (of lines) or parquet."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".parquet":
        return "parquet"
    if suffixes and suffixes[-1] in LINES:
        return "lines"
    if len(suffixes) > 1 and suffixes[-1] == ".gz" and suffixes[-2] in LINES:
        return "gzip"
    raise ValueError(f"{path}: the name does not say what the file holds; allowed: {ALLOWED}")


def rows(path: Path, on_bad: OnBad) -> Generator[tuple[str, dict[str, Any]], None, None]:
    """(place, row) in file order; blank lines are no rows; bad rows go to `on_bad`.

    Raises ValueError for a missing file or a name that says nothing, FileCutError for a gzip or Parquet file that
    cannot be read to its end.
    """
    kind = kind_of(path)
    if not path.is_file():
        raise ValueError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    return _parquet(path) if kind == "parquet" else _lines(path, kind == "gzip", on_bad)


def _lines(path: Path, zipped: bool, on_bad: OnBad) -> Generator[tuple[str, dict[str, Any]], None, None]:
    with cast(IO[bytes], gzip.open(path) if zipped else path.open("rb")) as stream:
        number = 0
        while True:
            try:
                raw = stream.readline()
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise FileCutError(f"{path}, after line {number}: not a complete gzip file ({error})") from error
            if not raw:
                return
            number += 1
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if not raw.strip():
                continue
            place = f"{path}, line {number}"
            row = _parse(raw, place, on_bad)
            if row is not None:
                yield place, row


def _parse(raw: bytes, place: str, on_bad: OnBad) -> dict[str, Any] | None:
    nan: list[str] = []

    def constant(name: str) -> float:
        nan.append(name)
        return math.nan

    try:
        row = json.loads(raw.decode("utf-8"), parse_constant=constant)
    except UnicodeDecodeError as error:
        on_bad(
            place, f"byte {error.start} is not UTF-8 ({raw[error.start : error.start + 1]!r}); save the file as UTF-8"
        )
        return None
    except (ValueError, RecursionError) as error:
        hint = "; allowed: one JSON object a line" if raw.strip() in (b"[", b"{") else ""
        on_bad(place, f"not valid JSON ({error}): {short(raw[:80].decode('utf-8', 'replace'))}{hint}")
        return None
    if nan:
        on_bad(
            place, f"field {_where_nan(row)!r}: got {nan[0]}; allowed: a finite number, or null where it is not known"
        )
        return None
    if not isinstance(row, dict):
        hint = "; a JSON array must be rewritten with one object per line" if isinstance(row, list) else ""
        on_bad(place, f"got {short(row)}; allowed: a JSON object{hint}")
        return None
    return row


def _where_nan(value: Any, path: str = "") -> str | None:
    if isinstance(value, float):
        return path if not math.isfinite(value) else None
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        name = f"{path}[{key}]" if isinstance(value, list) else f"{path}.{key}".lstrip(".")
        if (found := _where_nan(each, name)) is not None:
            return found
    return None


def _parquet(path: Path) -> Generator[tuple[str, dict[str, Any]], None, None]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise FileCutError(f"{path}, after row {number}: not a complete Parquet file ({error})") from error
