"""From records to Samples: all a trainer sees, with everything that could misalign checked by row.

A Sample has one read position per sampled step. Its labels and weights come from one Credit (none for outcome losses),
its outcome from the leaf. Refused, by row: an attempt that does not fit, labels that do not line up. Refused as a set:
no supervised position, outcomes or labels that are all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import numpy as np

from stepcredit.core.layout import Encoded, EncodeError
from stepcredit.core.types import Credit, Floats, Problem, Record, Sample, Step

Encode = Callable[[Sequence[tuple[Problem, Sequence[Step]]]], list[Encoded]]


def samples(
    records: Iterable[Record], encode: Encode, *, credit: str | None = None, max_tokens: int = 4096,
    on_long: Literal["raise", "skip"] = "raise", chunk: int = 1024,
) -> list[Sample]:  # fmt: skip
    """One Sample per attempt with a sampled step.

    `credit` names the Credit whose values become labels of channel 0. A row is an attempt, counted from 1 over all
    records, empty ones included. Raises ValueError naming the row for an attempt over `max_tokens` (or
    leaves it out with on_long="skip"), one that cannot be encoded, or labels that do not line up; and for a credit that
    is missing or is no label or value, or where nothing is supervised.
    """
    if on_long not in get_args(Literal["raise", "skip"]):
        raise ValueError(f"on_long is {on_long!r}; allowed: raise, skip")
    found: list[Sample] = []
    flat = _attempts(records, credit)
    while block := list(islice(flat, chunk)):
        for encoded, attempt in zip(_encoded(encode, block), block, strict=True):
            if len(encoded.token_ids_T) <= max_tokens:
                found.append(_sample(encoded, attempt))
            elif on_long == "raise":
                raise ValueError(
                    f"{attempt.where} has {len(encoded.token_ids_T)} tokens, the limit is {max_tokens}; "
                    "raise max_tokens or leave long attempts out with on_long=skip"
                )
    _check(found, labelled=credit is not None)
    return found


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One attempt on its way to a Sample; `label_2S` are values and weights."""

    row: int
    problem: Problem
    steps: tuple[Step, ...]
    label_2S: Floats | None
    outcome: float

    @property
    def where(self) -> str:
        return f"row {self.row} (problem {self.problem.id!r})"


def _attempts(records: Iterable[Record], credit: str | None) -> Iterator[_Attempt]:
    row = 0
    for number, record in enumerate(records, start=1):
        tree = record.tree
        given = None if credit is None else _labels(record, number, credit)
        reward_N = tree.reward_N
        row += not tree.leaves
        for leaf in tree.leaves:
            row += 1
            path = np.array(tree.path(leaf))
            sampled = path[tree.sampled_N[path]]
            if len(sampled):
                labels = None if given is None else np.stack([given.values_N[sampled], given.weight_N[sampled]])
                yield _Attempt(row, tree.problem, tree.solution(leaf), labels, float(reward_N[leaf]))


def _labels(record: Record, number: int, credit: str) -> Credit:
    where = f"record {number} (problem {record.tree.problem.id!r})"
    if credit not in record.credits:
        raise ValueError(f"{where} has no credit {credit!r}; it has: {', '.join(record.credits) or 'none'}")
    given = record.credits[credit]
    if given.kind not in ("label", "value"):
        raise ValueError(f"{where}: credit {credit!r} is of kind {given.kind}; a judge is taught by a label or a value")
    return given


def _encoded(encode: Encode, block: Sequence[_Attempt]) -> list[Encoded]:
    try:
        return encode([(attempt.problem, attempt.steps) for attempt in block])
    except EncodeError as error:
        raise ValueError(f"{block[error.index].where}: {error.what}") from error


def _sample(encoded: Encoded, attempt: _Attempt) -> Sample:
    num, read_S = len(encoded.token_ids_T), encoded.read_S
    mask, label, weight = np.zeros(num, dtype=np.bool_), np.full((1, num), np.nan), np.zeros((1, num))
    if np.any(np.diff(read_S) <= 0):
        raise ValueError(f"{attempt.where}: read positions {read_S.tolist()} do not ascend, one per step")
    mask[read_S] = True
    if attempt.label_2S is not None:
        if attempt.label_2S.shape[1] != len(read_S):
            raise ValueError(f"{attempt.where}: {attempt.label_2S.shape[1]} labels for {len(read_S)} steps")
        label[0, read_S], weight[0, read_S] = attempt.label_2S
    return Sample(encoded.token_ids_T, mask, label, weight, outcome=attempt.outcome, key=attempt.problem.id)


def _check(found: Sequence[Sample], labelled: bool) -> None:
    if not found:
        raise ValueError("no attempt to train on")
    if labelled:
        labels = np.concatenate([s.label_CT[s.weight_CT > 0] for s in found])
        if not labels.size:
            raise ValueError(f"none of {len(found)} attempts has a supervised position: every label is unknown")
        if np.all(labels == labels[0]):
            raise ValueError(f"all {labels.size} labels are {labels[0]:g}: labels that never differ teach nothing")
        return
    outcomes = np.array([s.outcome for s in found])
    known = outcomes[np.isfinite(outcomes)]
    if not known.size:
        raise ValueError(f"none of {len(found)} attempts has a scored outcome; verify them first")
    if np.any((known < 0) | (known > 1)):
        raise ValueError(f"outcome losses need rewards in [0, 1], got {known[(known < 0) | (known > 1)][0]:g}")
    if np.all(known == known[0]):
        said = "right" if known[0] > 0.5 else "wrong"
        raise ValueError(
            f"all {known.size} scored attempts are {said} (reward {known[0]:g}): outcomes that never differ carry no step "
            "signal; add harder or easier problems"
        )
