"""Finding the format of a file, and driving it: knobs checked first, rows parsed one by one, bad ones raised or listed.

A format module has `matches(row)` and `parse(fields, *, knobs)`, where knobs can contradict each other `check(*, knobs)`, and
where it can be written `rows(record, *, knobs)`.
Modules are found by listing the folder, so a new format is one new file.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from stepcredit.core.types import Record
from stepcredit.data import _rows, _sink
from stepcredit.data._fields import Fields

OnError = Literal["raise", "skip"]

FORMATS: dict[str, types.ModuleType] = {
    module.name: importlib.import_module(f"stepcredit.data.{module.name}")
    for module in sorted(pkgutil.iter_modules([str(Path(__file__).parent)]), key=lambda module: module.name)
    if not module.name.startswith("_")
}
WRITABLE = tuple(name for name, module in FORMATS.items() if hasattr(module, "rows"))


def read(path: str | Path, *, format: str = "auto", on_error: OnError = "raise", errors: list[str] | None = None,
         **knobs: Any) -> Iterator[Record]:  # fmt: skip
    """Records of a file, one by one, in file order and constant memory.

    `format`: a name in FORMATS, or "auto": told by the first row. `on_error`: "raise" stops at the first bad row with a
    ValueError that names file, line, field, what was given and what is allowed; "skip" leaves bad rows out and appends
    one such line each to `errors` (without a list: one warning with the count at the end). A row that holds several
    attempts is left out whole. A file cut in the middle ends there, as one more error. `knobs`: those of the format.

    Raises ValueError at once, not at the first row, for a missing file, an unknown name of file, format or knob, a knob
    that is needed, and a first row that decides nothing. Degenerate: a file without rows cannot decide "auto"; with its
    format named it gives no record.
    """
    path = Path(path)
    if on_error not in get_args(OnError):
        raise ValueError(f"on_error is {on_error!r}; allowed: {', '.join(get_args(OnError))}")
    if format != "auto":
        _known(format, tuple(FORMATS))
    _rows.rows(path, _raise).close()  # says at once what is wrong with the path
    if format == "auto":
        format = detect(path, on_error)
    _check_knobs(format, "parse", FORMATS[format].parse, knobs)
    return _records(path, FORMATS[format].parse, on_error, errors, knobs)


def write(path: str | Path, records: Iterable[Record], *, format: str = "auto", **knobs: Any) -> int:
    """Write the records, return the number of rows. All or nothing: the file appears whole, or not at all.

    `format`: a name in WRITABLE; "auto" is native, the only one that keeps everything. JSON lines (plain or .gz) or
    Parquet by the file's name. Raises ValueError for a record the format cannot hold.
    """
    path = Path(path)
    name = "native" if format == "auto" else format
    _known(name, tuple(FORMATS))
    _known(name, WRITABLE, "to write")
    _check_knobs(name, "rows", FORMATS[name].rows, knobs)
    native_parquet = name == "native" and _rows.kind_of(path) == "parquet"
    rows: Callable[..., Iterator[dict[str, Any]]] = FORMATS[name].parquet_rows if native_parquet else FORMATS[name].rows
    schema = FORMATS[name].parquet_schema() if native_parquet else None
    return _sink.write_rows(path, (row for record in records for row in rows(record, **knobs)), schema)


def _records(path: Path, parse: Callable[..., Iterator[Record]], on_error: OnError, errors: list[str] | None,
             knobs: dict[str, Any]) -> Iterator[Record]:  # fmt: skip
    listed: list[str] = [] if errors is None else errors
    num_before = len(listed)

    def note(place: str, message: str) -> None:
        listed.append(f"{place}: {message}")

    on_bad = _raise if on_error == "raise" else note
    try:
        for place, row in _rows.rows(path, on_bad):
            try:
                found = list(parse(Fields(row), **knobs))
            except ValueError as error:
                on_bad(place, str(error))
                continue
            yield from found
    except _rows.FileCutError as error:
        if on_error == "raise":
            raise
        listed.append(str(error))
    if errors is None and len(listed) > num_before:
        warnings.warn(f"{path}: {len(listed)} bad rows skipped, the first: {listed[0]}", stacklevel=2)


def _raise(place: str, message: str) -> None:
    raise ValueError(f"{place}: {message}")


def detect(path: Path, on_error: OnError) -> str:
    """The one format that the first row of a file fits. Raises ValueError where none or several do."""
    on_bad = _raise if on_error == "raise" else lambda place, message: None
    rows = _rows.rows(path, on_bad)
    try:
        place, row = next(rows, (str(path), None))
    except _rows.FileCutError:
        row = None
        if on_error == "raise":
            raise
    finally:
        rows.close()
    if row is None:
        raise ValueError(f"{path}: no readable row to tell the format from; give format=, one of: {', '.join(FORMATS)}")
    fits = [name for name, module in FORMATS.items() if module.matches(row)]
    if len(fits) == 1:
        return fits[0]
    said = f"fits {' and '.join(fits)}" if fits else "fits no known format"
    hint = "" if fits else ' (the plainest has "problem", "attempt" or "steps", and "correct")'
    raise ValueError(
        f"{place}: a row with the fields {', '.join(row) or 'none'} {said}{hint}; give format=, one of: {', '.join(fits or FORMATS)}"
    )


def _known(name: str, allowed: tuple[str, ...], what: str = "") -> None:
    if name not in allowed:
        raise ValueError(
            f"format {name!r} is not known{f' {what}' if what else ''}; allowed: auto, {', '.join(allowed)}"
        )


def _check_knobs(name: str, what: str, function: Callable[..., Any], given: dict[str, Any]) -> None:
    known = {key: p for key, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
    doing = "reading" if what == "parse" else "writing"
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{doing} {name} has no knob {', '.join(unknown)}; allowed: {', '.join(known) or 'none'}")
    hints = typing.get_type_hints(function)
    for key, parameter in known.items():
        choices = get_args(hints[key]) if typing.get_origin(hints[key]) is Literal else ()
        if key not in given and parameter.default is parameter.empty:
            why = getattr(FORMATS[name], "REQUIRED", {}).get(key, "")
            raise ValueError(f"{doing} {name} needs the choice {key}={'|'.join(choices)}: {why}")
        if key in given and choices and given[key] not in choices:
            raise ValueError(f"{name}: {key} is {given[key]!r}; allowed: {', '.join(choices)}")
        if key in given and not choices and not isinstance(given[key], get_args(hints[key]) or hints[key]):
            raise ValueError(f"{name}: {key} is {given[key]!r}; allowed: {getattr(hints[key], '__name__', hints[key])}")
    if what == "parse" and hasattr(FORMATS[name], "check"):
        FORMATS[name].check(**given)
