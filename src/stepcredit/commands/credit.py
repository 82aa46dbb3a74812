"""`stepcredit credit`: a method's numbers on every step, kept in the file under the method's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from stepcredit.commands._parser import Group, peek
from stepcredit.commands._reading import Reading, hint_ids, records
from stepcredit.core import registry
from stepcredit.core.registry import Entry
from stepcredit.core.types import Credit, Record

JUDGED = "judgments"  # as the name of a Credit resource: the step scores of the file's judgments


def groups(arguments: list[str]) -> list[Group]:
    """The method's knobs."""
    method = peek(arguments, "method")
    return [] if method is None else [Group.of("credit", registry.get("credit", method))]


def run(  # noqa: D417  # the parser fills in what is not described
    input: str,
    out: str,
    *,
    method: str,
    name: str | None = None,
    judge: str | None = None,
    source: str | None = None,
    group: bool = True,
    write_as: Literal["native", "stepwise"] = "native",
    seed: int = 0,
    threads: int | None = None,
    reading: Reading,
    knobs: Mapping[str, Mapping[str, Any]],
) -> None:
    """Put credit on the steps of attempts, and write the records with it.

    The method's knobs are options --credit.<knob>; `stepcredit list credit` names the methods.

    Args:
        input: The file of attempts.
        out: The file to write, JSON lines or Parquet by its name.
        method: The credit method.
        name: Name of the credit in the file; the method's when not given.
        judge: Folder of a scorer, for methods that need a judge.
        source: For methods that need another credit, its name in the file; "judgments" reads the step scores of the
            file's judgments. When not given, the credit is named as the method asks for it ("truth" for the oracle).
        group: Join the attempts of each problem first, as methods that compare them need.
        write_as: stepwise writes what TRL reads, prompt, completions and labels, an attempt a row: labels are this credit,
            null where it has none; the methods' weights, other credits and judgments are left behind.
        seed: For methods that draw.
        threads: Processor threads for the judge (all when not given).
    """
    from stepcredit.commands import _show
    from stepcredit.data import group as joined
    from stepcredit.data import write

    entry = registry.get("credit", method)
    given = list(_show.progress(records(input, reading), "reading"))
    hint_ids(given)
    given = joined(given) if group else given
    resources = {each: _resource(each, what, entry, given, judge, source, seed, threads)
                 for each, what in entry.resources.items()}  # fmt: skip
    credits = registry.bind("credit", method, **resources, **knobs.get("credit", {}))([r.tree for r in given])
    key = name or method
    write(out, (replace(r, credits={**r.credits, key: c}) for r, c in zip(given, credits, strict=True)), format=write_as,
          **({"credit": key} if write_as == "stepwise" else {}))  # fmt: skip
    _say(out, key, given, credits)


def _resource(
    name: str, what: str, entry: Entry, given: Sequence[Record], judge: str | None, source: str | None, seed: int,
    threads: int | None,
) -> Any:  # fmt: skip
    if what == "Judge":
        if judge is None:
            raise ValueError(f"{entry.name} needs a judge: give --judge FOLDER, a trained scorer")
        from stepcredit.commands import _scorer

        return _scorer.load(judge, threads=threads)
    if what in ("Credit", "Sequence[Credit]"):
        return [_credit(number, record, source or name, entry) for number, record in enumerate(given, start=1)]
    if what == "Rng":
        from stepcredit.core.rng import rng

        return rng(seed, entry.name)
    raise ValueError(f"{entry.name} needs a {what}, which no file provides: call it from Python")


def _credit(number: int, record: Record, name: str, entry: Entry) -> Credit:
    where = f"record {number} (problem {record.tree.problem.id!r})"
    if name == JUDGED and name not in record.credits:
        if not record.judgments:
            raise ValueError(f"{where} has no judgments: score the file first")
        return _judged(record)
    if name not in record.credits:
        have = ", ".join(record.credits) or "none"
        raise ValueError(f"{entry.name} needs a credit, and {where} has no {name!r}; it has: {have}; name one with --source, "
                         f"or take the judgments' step scores with --source {JUDGED}")  # fmt: skip
    return record.credits[name]


def _judged(record: Record) -> Credit:
    """Step scores as a value credit; a step that attempts share has the mean of its scores."""
    tree = record.tree
    sum_N, num_N = np.zeros(tree.num_nodes), np.zeros(tree.num_nodes)
    for leaf, judgment in zip(tree.leaves, record.judgments, strict=True):
        nodes = np.array([node for node in tree.path(leaf) if tree.steps[node].sampled], dtype=np.int64)
        if judgment.status == "scored" and len(nodes) == judgment.step_scores_S.size:
            known_S = ~np.isnan(judgment.step_scores_S)
            sum_N[nodes[known_S]] += judgment.step_scores_S[known_S]
            num_N[nodes[known_S]] += 1
    return Credit(np.where(num_N > 0, sum_N / np.maximum(num_N, 1), np.nan), "value", (num_N > 0).astype(float), JUDGED)


def _say(out: str, name: str, given: Sequence[Record], credits: Sequence[Credit]) -> None:
    values = np.concatenate([c.values_N[r.tree.sampled_N] for r, c in zip(given, credits, strict=True)])
    known = values[~np.isnan(values)]
    print(f"wrote {out}: {name} ({credits[0].kind}) on {known.size} of {values.size} steps in {len(given)} records"
          + (f", mean {known.mean():.3f}, from {known.min():.3f} to {known.max():.3f}" if known.size else ""))  # fmt: skip
