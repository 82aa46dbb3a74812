"""Reading the input of a command: one set of options for all, bad rows counted and listed, no file without attempts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
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
        segment: Where the steps of an attempt's text are (plain format); when not given as the scorer was taught, where
            there is one that says so, else newline.
        delimiter: Text between steps, for segment=delimiter, marker or think; \n and \t may be typed.
        neutral: What PRM800K's neutral rating means: see stepcredit.data.prm800k.
        labels: Name under which recorded step labels are kept (stepwise, Math-Shepherd, PRM800K; truth when not given).
        source_marker: Step marker in Math-Shepherd's text.
        system: File of the system prompt that tau-bench trajectories leave out.
    """

    format: str = "auto"
    on_error: Literal["raise", "skip"] = "raise"
    segment: How | None = None
    delimiter: str | None = None
    neutral: str | None = None
    labels: str | None = None
    source_marker: str | None = None
    system: str | None = None

    def knobs(self) -> dict[str, str]:
        """The knobs of the format that were given."""
        from stepcredit.commands._parser import unescaped

        named = {"segment": self.segment, "neutral": self.neutral, "labels": self.labels, "marker": self.source_marker,
                 "delimiter": None if self.delimiter is None else unescaped(self.delimiter),
                 "system": None if self.system is None else _text_of(self.system)}  # fmt: skip
        return {name: value for name, value in named.items() if value is not None}


def _text_of(path: str) -> str:
    if not Path(path).is_file():
        raise ValueError(f"--system {path}: no such file; allowed: a text file with the system prompt")
    return Path(path).read_text(encoding="utf-8").strip()


@dataclass(frozen=True)
class Cut:
    """How the text of attempts was cut into steps.

    >>> str(Cut("newline")), str(Cut("delimiter", "; "))
    ('newline', "delimiter '; '")
    """

    segment: How = "newline"
    delimiter: str | None = None

    def __str__(self) -> str:
        return self.segment + (f" {self.delimiter!r}" if self.delimiter is not None else "")


def cut_of(path: str, reading: Reading) -> Cut | None:
    """How this reading cuts the attempts of a file; None for a format that says itself where its steps are."""
    from stepcredit.data._formats import detect

    name = reading.format if reading.format != "auto" else detect(Path(path), reading.on_error)
    knobs = reading.knobs()
    return Cut(reading.segment or "newline", knobs.get("delimiter")) if name == "plain" else None


def as_taught(path: str, reading: Reading, scorer: str) -> Reading:
    """The reading, cutting as the scorer's training file was cut where nothing else is given; else a line on stderr.

    Unchanged for a format that says itself where its steps are, and for a scorer that does not say how it was taught.
    """
    from stepcredit.commands import _scorer

    taught = _scorer.cut_of(scorer)
    if taught is None or cut_of(path, reading) is None:
        return reading
    segment = reading.segment or taught.segment
    same = reading.delimiter is None and segment == taught.segment
    own = replace(reading, segment=segment, delimiter=taught.delimiter if same else reading.delimiter)
    if (asked := cut_of(path, own)) != taught:
        print(f"stepcredit: warning: steps are cut by {asked}, this scorer learned on steps cut by {taught}: its scores may "
              "not hold for these", file=sys.stderr)  # fmt: skip
    return own


def records(path: str, reading: Reading, *, quiet: bool = False) -> Iterator[Record]:
    """Records of a file, streaming. Mistakes in path, format and options are raised here, before the first record.

    Bad rows left out are listed on stderr at the end, unless quiet. Raises ValueError at the end where there was no
    attempt at all.
    """
    from stepcredit.data import read

    errors: list[str] = []
    found = read(path, format=reading.format, on_error=reading.on_error, errors=errors, **reading.knobs())
    return _checked(path, found, errors, quiet)


def _checked(path: str, found: Iterator[Record], errors: list[str], quiet: bool) -> Iterator[Record]:
    num = 0
    for record in found:
        num += len(record.tree.leaves)
        yield record
    if errors and not quiet:
        print(f"stepcredit: {len(errors)} bad rows left out", file=sys.stderr)
        for line in errors[:MAX_LISTED]:
            print(f"  {line}", file=sys.stderr)
        if len(errors) > MAX_LISTED:
            print(f"  ... and {len(errors) - MAX_LISTED} more", file=sys.stderr)
    if not num:
        raise ValueError(f"{path}: there is no attempt in it" + (" that could be read" if errors else ""))


def hint_ids(problems: Iterable[tuple[str, Hashable]]) -> None:
    """Say on stderr where most problem ids have the text of another's problem: as where `id` numbers the rows.

    `problems`: id and text, or what stands for the text.
    """
    text_of = dict(iter(problems))  # of a mapping too, the keys
    num_ids = Counter(text_of.values())
    shared = [num for num in num_ids.values() if num > 1]
    if 2 * sum(shared) > len(text_of):
        print(f"stepcredit: hint: {sum(shared)} problem ids stand for {len(shared)} problem texts; where `id` numbers the "
              "rows, leave it out, and attempts group by the text of their problem", file=sys.stderr)  # fmt: skip
