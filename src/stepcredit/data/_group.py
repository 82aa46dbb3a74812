"""One record per problem: attempts of the same problem joined at their prompt, with all that was said of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.tree import merge
from stepcredit.core.types import Cost, Credit, Record
from stepcredit.data._sources import SOURCES, joined_sources


def group(records: Iterable[Record]) -> list[Record]:
    """Merge the records of each problem id into one, in order of first appearance; attempts keep their order.

    Needs all records in memory. The problem (with its `meta`) is that of the first record, but for `meta["sources"]`, which
    has one entry an attempt and is joined (`_sources`). Records of one id whose prompts differ (a chat that a user opens
    anew each time) stay apart, since a tree has one prompt. A credit that some of the records lack is NaN, weight 0, on
    their nodes; on the prompt it keeps its value only where all that have one agree.
    Raises ValueError where credits of one name differ in kind, and where some attempts of a problem have judgments and
    others none.
    """
    by_problem: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_problem.setdefault((record.tree.problem.id, record.tree.problem.prompt), []).append(record)
    return [_merged(same) if len(same) > 1 else same[0] for same in by_problem.values()]


def _merged(records: Sequence[Record]) -> Record:
    judged = [record for record in records if record.judgments]
    if judged and any(record.tree.leaves and not record.judgments for record in records):
        raise ValueError(
            f"problem {records[0].tree.problem.id!r}: only {len(judged)} of its {len(records)} records have judgments; "
            "judge all or none"
        )
    names = list(dict.fromkeys(name for record in records for name in record.credits))
    tree, sources = merge([record.tree for record in records]), joined_sources(records)
    if sources is not None:
        tree = replace(tree, problem=replace(tree.problem, meta={**tree.problem.meta, SOURCES: sources}))
    return Record(
        tree,
        {name: _credit(name, records) for name in names},
        tuple(judgment for record in records for judgment in record.judgments),
    )


def _credit(name: str, records: Sequence[Record]) -> Credit:
    own = [record.credits.get(name) for record in records]
    there = [credit for credit in own if credit is not None]
    if len({credit.kind for credit in there}) > 1:
        kinds = ", ".join(sorted({credit.kind for credit in there}))
        raise ValueError(f"problem {records[0].tree.problem.id!r}: credit {name!r} is of more than one kind: {kinds}")
    values, weights = [], []
    for record, credit in zip(records, own, strict=True):
        num = record.tree.num_nodes - 1
        values.append(np.full(num, np.nan) if credit is None else credit.values_N[1:])
        weights.append(np.zeros(num) if credit is None else credit.weight_N[1:])
    roots = {(float(c.values_N[0]), float(c.weight_N[0])) for c in there if c.weight_N[0] > 0}
    root_value, root_weight = roots.pop() if len(roots) == 1 else (np.nan, 0.0)
    methods = list(dict.fromkeys(credit.method for credit in there))
    return Credit(
        np.concatenate([[root_value], *values]),
        there[0].kind,
        np.concatenate([[root_weight], *weights]),
        " + ".join(methods),
        sum((credit.cost for credit in there), Cost()),
    )
