"""Reading the input of a command: one set of options for all, bad rows counted and listed, no file without attempts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from stepcredit.core.segment import How
from stepcredit.core.types import Record

MAX_LISTED = 20


@dataclass(frozen=True)
class Reading:
    r"""How the input is read.

    Args:
        format: Format of the input: auto tells it from the first row.
        on_error: What a bad row does: stop, or be left out, counted and listed.
        segment: Where the steps of an attempt's text are (plain format; newline when not given).
        delimiter: Text between steps, for segment=delimiter, marker or think; \n and \t may be typed.
        neutral: What PRM800K's neutral rating means: see stepcredit.data.prm800k.
        labels: Name under which recorded step labels are kept (stepwise, Math-Shepherd, PRM800K; truth when not given).
        source_marker: Step marker in Math-Shepherd's text.
    """

    format: str = "auto"
    on_error: Literal["raise", "skip"] = "raise"
    segment: How | None = None
    delimiter: str | None = None
    neutral: str | None = None
    labels: str | None = None
    source_marker: str | None = None

    def knobs(self) -> dict[str, str]:
        """The knobs of the format that were given."""
        from stepcredit.commands._parser import unescaped

        named = {"segment": self.segment, "neutral": self.neutral, "labels": self.labels, "marker": self.source_marker,
                 "delimiter": None if self.delimiter is None else unescaped(self.delimiter)}  # fmt: skip
        return {name: value for name, value in named.items() if value is not None}


def records(path: str, reading: Reading) -> Iterator[Record]:
    """Records of a file, streaming. Mistakes in path, format and options are raised here, before the first record.

    Raises ValueError at the end where there was no attempt at all.
    """
    from stepcredit.data import read

    errors: list[str] = []
    found = read(path, format=reading.format, on_error=reading.on_error, errors=errors, **reading.knobs())
    return _checked(path, found, errors)


def _checked(path: str, found: Iterator[Record], errors: list[str]) -> Iterator[Record]:
    num = 0
    for record in found:
        num += len(record.tree.leaves)
        yield record
    if errors:
        print(f"stepcredit: {len(errors)} bad rows left out", file=sys.stderr)
        for line in errors[:MAX_LISTED]:
            print(f"  {line}", file=sys.stderr)
        if len(errors) > MAX_LISTED:
            print(f"  ... and {len(errors) - MAX_LISTED} more", file=sys.stderr)
    if not num:
        raise ValueError(f"{path}: there is no attempt in it" + (" that could be read" if errors else ""))


def hint_ids(records: Sequence[Record]) -> None:
    """Say on stderr where most problem ids have the text of another's problem: as where `id` numbers the rows."""
    text_of = {record.tree.problem.id: record.tree.problem.prompt for record in records}
    num_ids = Counter(text_of.values())
    shared = [num for num in num_ids.values() if num > 1]
    if 2 * sum(shared) > len(text_of):
        print(f"stepcredit: hint: {sum(shared)} problem ids stand for {len(shared)} problem texts; where `id` numbers the "
              "rows, leave it out, and attempts group by the text of their problem", file=sys.stderr)  # fmt: skip
