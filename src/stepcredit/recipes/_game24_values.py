"""GPT-4's own values of Game of 24 states, recorded by Tree of Thoughts searches, as a judge of attempts.

GPT-4 was asked three times whether the numbers left can reach 24: 20 for "sure", 1 for "likely", .001 for "impossible"
are added up (arXiv:2305.10601, section 4.1). It saw the numbers left alone, so a value stands for all states that leave
the same numbers, in whatever puzzle they were met. A recorded 0 is a state met twice, not an answer, and is left out.

    value    (20 sure + likely) / 60: the order in which the search ranked states, at 1/2 two of three are "sure"
    allows   share of the three answers that are not "impossible"

A step scores the least of the states so far; with a state that was never valued the attempt has no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stepcredit.core.types import Floats, Judgment, Record
from stepcredit.data._fields import Fields
from stepcredit.data._rows import rows
from stepcredit.recipes._game24 import left_after, stop
from stepcredit.recipes._game24_exact import read_line

Left = tuple[str, ...]
READINGS = ("value", "allows")


def recorded_values(path: Path) -> dict[Left, float]:
    """The first recorded value of the numbers left, by the numbers as `_game24.shown` writes them, in order of size.

    Raises ValueError, naming file, line and field, for a row that does not fit.
    """
    found: dict[Left, float] = {}
    for place, row in rows(path, stop):
        try:
            for level in Fields(row).children("tree"):
                for proposal in level.children("proposals", empty=True):
                    last = read_line(proposal.text("state").strip().split("\n")[-1])
                    value = proposal.number("lm_value")
                    if last is not None and last.left and value > 0:
                        found.setdefault(left_after((), last), value)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
    return found


def readings(value: float) -> dict[str, float]:
    """A value as its two readings.

    >>> readings(22.0) == {"value": 22 / 60, "allows": 1.0}, readings(1.002)["allows"].__round__(3)
    (True, 0.333)
    """
    sure = int(value // 20)
    likely = int(value - 20 * sure + 1e-6)
    impossible = round((value - 20 * sure - likely) * 1000)
    return {
        "value": min(value / 60, 1.0),
        "allows": (sure + likely) / max(sure + likely + impossible, 1),
    }


def valued(records: Sequence[Record], values: Mapping[Left, float], reading: str) -> list[Record]:
    """The records judged by GPT-4's values; it abstains on an attempt with a state that was never valued.

    Raises ValueError for an unknown reading.
    """
    if reading not in READINGS:
        raise ValueError(f"reading is {reading!r}; allowed: {', '.join(READINGS)}")
    return [replace(record, judgments=(_judgment(record, values, reading),)) for record in records]


def _judgment(record: Record, values: Mapping[Left, float], reading: str) -> Judgment:
    value_S = _state_values(record, values)
    score_S = np.minimum.accumulate([np.nan if np.isnan(v) else readings(v)[reading] for v in value_S])
    known = not np.isnan(score_S).any()
    score = float(score_S[-1]) if known else np.nan
    return Judgment(score, score_S, status="scored" if known else "abstained")


def _state_values(record: Record, values: Mapping[Left, float]) -> Floats:
    """The value of the numbers left after each line, NaN for none."""
    before: Left = tuple(record.tree.problem.prompt.split())
    found = []
    for step in record.tree.steps[1:]:
        line = read_line(step.text)
        before = () if line is None else left_after(before, line)
        found.append(values.get(before, np.nan))
    return np.array(found)


def ends_at_24(records: Sequence[Record]) -> list[Record]:
    """A null that reads one number: every step is sound but a last one that does not make 24."""
    return [replace(record, judgments=(_at_the_end(record),)) for record in records]


def _at_the_end(record: Record) -> Judgment:
    steps = record.tree.steps[1:]
    line = read_line(steps[-1].text)
    score = float(line is not None and line.made == "24")
    return Judgment(score, np.append(np.ones(len(steps) - 1), score))
