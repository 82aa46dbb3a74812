"""The threshold of a scorer that is no chain: chosen when it is trained, kept in scorer.json, used when it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepcredit.commands._reading import Reading, records
from stepcredit.core.protocols import Judge
from stepcredit.core.readout import Readout
from stepcredit.core.types import Record
from stepcredit.evaluate import Threshold, choose_threshold
from stepcredit.evaluate._attempts import attempts
from stepcredit.judge._manifest import Manifest, load_manifest


def marked(path: str | None, readout: Readout, reading: Reading) -> list[Record] | None:
    """The attempts to choose on, by problem; None where no file is given.

    Raises ValueError, before anything is trained, for a chain judge and for a file without what a choice needs.
    """
    from stepcredit.data import group

    if path is None:
        return None
    if readout.is_chain:
        raise ValueError(f"choose_on is {path}, but a chain judge is decoded without a threshold; leave it out")
    found = group(records(path, reading))
    first_errors = {attempt.first_error for attempt in attempts(found)} - {None}
    if -1 not in first_errors or len(first_errors) < 2:
        raise ValueError(f"{path}: a threshold is chosen on step truth, of attempts with and without a wrong step; it has "
                         f"{'none of one of these' if first_errors else 'no step truth'}")  # fmt: skip
    return found


def chosen(manifest: Manifest, judge: Judge, records: Sequence[Record]) -> Manifest:
    """The manifest with the threshold that has the best F1 on the step truth of these records, and their problems."""
    judged = [replace(r, judgments=tuple(judge([(r.tree.problem, r.tree.solution(leaf)) for leaf in r.tree.leaves])))
              for r in records]  # fmt: skip
    found = choose_threshold(judged, {record.tree.problem.id for record in records})
    return replace(manifest, threshold=found.value, threshold_source=found.source, threshold_problems=tuple(sorted(found.split)))  # fmt: skip


def of(folder: str) -> Threshold | None:
    """How a scorer's errors are decoded: at its threshold, or without one (None) where it is a chain."""
    manifest = load_manifest(folder)
    if manifest.readout.is_chain:
        return None
    return Threshold(manifest.threshold, manifest.threshold_source, frozenset(manifest.threshold_problems))
