"""Math-Shepherd: `input` = question and steps, each step ending in a marker; `label` = the same text with + or -.

The question ends where the last "Step 1:" before the first marker begins. The labels are Monte Carlo estimates, not
human truth; the knob `labels` names the credit they go to ("truth": measured against only; another name: may be trained
on). Text after the last marker is an error: it would be a step without a label. arXiv:2312.08935.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepcredit.core.types import Problem, Record
from stepcredit.data._fields import Fields
from stepcredit.data._record import TRUTH, as_steps, chain, identity

OWN = ("problem_id", "input", "label")
FIRST = "Step 1:"


def matches(row: dict[str, Any]) -> bool:
    """Two texts of the same shape."""
    return isinstance(row.get("input"), str) and isinstance(row.get("label"), str)


def parse(fields: Fields, *, labels: str = TRUTH, marker: str = "ки") -> Iterator[Record]:
    """One Record a row. Raises ValueError where no marker stands, or `label` departs from `input`."""
    text, label = fields.text("input"), fields.text("label")
    pieces = text.split(marker)
    if len(pieces) == 1:
        fields.fail("input", text, f"text whose steps end in the marker {marker!r}")
    if pieces[-1].strip():
        fields.fail("input", pieces[-1].strip(), f"nothing after the last marker {marker!r}")
    begin = pieces[0].rfind(FIRST)
    if begin < 0:
        fields.fail("input", pieces[0], f"a question, then {FIRST!r}")
    if not (prompt := pieces[0][:begin].strip()):
        fields.fail("input", text, f"a question before {FIRST!r}")
    labels_S = _signs(fields, label, pieces[:-1])
    steps = [pieces[0][begin:].strip(), *(piece.strip() for piece in pieces[1:-1])]
    if "" in steps:
        fields.fail("input", f"step {steps.index('') + 1} is empty", f"text before each marker {marker!r}")
    problem = Problem(identity(fields, prompt, "problem_id"), prompt, meta=fields.rest(*OWN))
    yield chain(problem, as_steps(steps), None, labels_S, labels)


def _signs(fields: Fields, label: str, pieces: list[str]) -> list[float]:
    position, found = 0, []
    for index, piece in enumerate(pieces):
        sign = label[position + len(piece) : position + len(piece) + 1]
        if label[position : position + len(piece)] != piece or sign not in ("+", "-"):
            fields.fail("label", label[position:], f"the text of 'input' with + or - for each of its {len(pieces)} markers "
                                                   f"(departs in step {index + 1})")  # fmt: skip
        found.append(float(sign == "+"))
        position += len(piece) + 1
    if label[position:].strip():
        fields.fail("label", label[position:], "nothing after the last + or -")
    return found
