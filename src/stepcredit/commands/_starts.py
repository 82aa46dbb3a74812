"""The attempts of a record as a trainer compares them: those that begin with the same given steps, what was cut off called wrong.

    record -> one record a start (`train/groups`), its outcomes by `core/truth.judged_wrong`, its credits and judgments cut to it

A success from late on a demonstration is no baseline for an attempt from the prompt, so `train/grpo` takes them apart and so do
files of advantages. Each start knows what its attempts and nodes are in the record that was read.
Degenerate: a record whose attempts all start at the prompt is one start, itself; one without attempts has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepcredit.core.truth import judged_wrong
from stepcredit.core.types import OutcomeStatus, Record
from stepcredit.train.groups import apart


@dataclass(frozen=True, eq=False)
class Start:
    """Attempts that begin alike, as a record; `attempts` and `nodes` are the places they have in the `whole` record."""

    record: Record
    whole: Record
    number: int
    attempts: tuple[int, ...]
    nodes: tuple[int, ...]


def undivided(record: Record) -> Start:
    """The record as it is."""
    return Start(record, record, 0, tuple(range(len(record.tree.leaves))), tuple(range(record.tree.num_nodes)))


def starts(record: Record, wrong: Sequence[OutcomeStatus]) -> list[Start]:
    """One record a start, in the order in which starts are met; outcomes with a status in `wrong` have reward 0."""
    place = {leaf: at for at, leaf in enumerate(record.tree.leaves)}
    found = []
    for number, (tree, was_N) in enumerate(apart(record.tree)):
        attempts = tuple(place[int(was_N[leaf])] for leaf in tree.leaves)
        credits = {name: replace(credit, values_N=credit.values_N[was_N], weight_N=credit.weight_N[was_N])
                   for name, credit in record.credits.items()}  # fmt: skip
        judgments = tuple(record.judgments[at] for at in attempts) if record.judgments else ()
        own = Record(judged_wrong(tree, wrong), credits, judgments)
        found.append(Start(own, record, number, attempts, tuple(was_N.tolist())))
    return found
