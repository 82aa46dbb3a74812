"""From records to Samples: all a trainer sees, with everything that could misalign checked by row.

A Sample has one read position per sampled step. Its labels and weights come from one Credit (none for outcome losses),
its outcome from the leaf. Refused, by row: an attempt that does not fit, labels that do not line up, a set without a
single supervised position, outcomes that are all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from stepcredit.core.layout import Encoded
from stepcredit.core.types import Problem, Record, Sample, Step

Encode = Callable[[Sequence[tuple[Problem, Sequence[Step]]]], list[Encoded]]


def samples(
    records: Iterable[Record], encode: Encode, *, credit: str | None = None, max_tokens: int = 4096,
    on_long: str = "raise", chunk: int = 1024,
) -> list[Sample]:  # fmt: skip
    """One Sample per attempt.

    `credit` names the Credit whose values become labels of channel 0. Raises ValueError naming the row for an attempt
    over `max_tokens` (or leaves it out with on_long="skip"), for a missing credit, or where nothing is supervised.
    """
    if on_long not in ("raise", "skip"):
        raise ValueError(f"on_long is {on_long!r}; allowed: raise, skip")
    found: list[Sample] = []
    flat = _attempts(records, credit)
    row = 0
    while block := list(islice(flat, chunk)):
        for encoded, (problem, _, label_S, outcome) in zip(
            encode([(p, s) for p, s, _, _ in block]), block, strict=True
        ):
            row += 1
            if len(encoded.token_ids_T) > max_tokens:
                if on_long == "skip":
                    continue
                raise ValueError(
                    f"row {row} (problem {problem.id!r}) has {len(encoded.token_ids_T)} tokens, the limit is {max_tokens}; "
                    "raise max_tokens or leave long attempts out with on_long=skip"
                )
            found.append(_sample(encoded, label_S, outcome, row, problem))
    _check(found, labelled=credit is not None)
    return found


def _attempts(
    records: Iterable[Record], credit: str | None
) -> Iterator[tuple[Problem, tuple[Step, ...], np.ndarray | None, float]]:
    for number, record in enumerate(records, start=1):
        tree = record.tree
        if credit is not None and credit not in record.credits:
            raise ValueError(
                f"record {number} (problem {tree.problem.id!r}) has no credit {credit!r}; it has: {', '.join(record.credits) or 'none'}"
            )
        reward_N = tree.reward_N
        for leaf in tree.leaves:
            path = np.array(tree.path(leaf))
            sampled = path[tree.sampled_N[path]]
            if not len(sampled):
                continue
            labels = None
            if credit is not None:
                given = record.credits[credit]
                labels = np.stack([given.values_N[sampled], given.weight_N[sampled]])
            yield tree.problem, tree.solution(leaf), labels, float(reward_N[leaf])


def _sample(encoded: Encoded, label_S: np.ndarray | None, outcome: float, row: int, problem: Problem) -> Sample:
    num = len(encoded.token_ids_T)
    mask, label, weight = np.zeros(num, dtype=np.bool_), np.full((1, num), np.nan), np.zeros((1, num))
    mask[encoded.read_S] = True
    if int(mask.sum()) != len(encoded.read_S) or np.any(np.diff(encoded.read_S) <= 0):
        raise ValueError(f"row {row} (problem {problem.id!r}): two steps are read at the same token; an empty step?")
    if label_S is not None:
        if label_S.shape[1] != len(encoded.read_S):
            raise ValueError(
                f"row {row} (problem {problem.id!r}): {label_S.shape[1]} labels for {len(encoded.read_S)} steps"
            )
        label[0, encoded.read_S], weight[0, encoded.read_S] = label_S
    return Sample(encoded.token_ids_T, mask, label, weight, outcome=outcome, key=problem.id)


def _check(found: Sequence[Sample], labelled: bool) -> None:
    if not found:
        raise ValueError("no attempt to train on")
    if labelled:
        if not any(s.weight_CT.any() for s in found):
            raise ValueError(f"none of {len(found)} attempts has a supervised position: every label is unknown")
        return
    outcomes = np.array([s.outcome for s in found])
    known = outcomes[np.isfinite(outcomes)]
    if not known.size:
        raise ValueError(f"none of {len(found)} attempts has a scored outcome; verify them first")
    if np.all(known == known[0]):
        said = "right" if known[0] > 0.5 else "wrong"
        raise ValueError(
            f"all {known.size} scored attempts are {said} (reward {known[0]:g}): outcomes that never differ carry no step "
            "signal; add harder or easier problems"
        )
    if np.any((known < 0) | (known > 1)):
        raise ValueError(f"outcome losses need rewards in [0, 1], got {known[(known < 0) | (known > 1)][0]:g}")
