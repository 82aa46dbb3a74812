"""Judges that know nothing of soundness, so that every table can print what knowing nothing scores.

Constant guesses beat published mistake finders (BIG-Bench-Mistake), and step index alone reaches high step AUROC
(Hard2Verify): a number means something only beside these. Each takes records and returns them with its judgments.
None sees an outcome's correctness or step truth, but `constant_location`, whose location is chosen on a declared split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from stepcredit.core.aggregate import vote
from stepcredit.core.protocols import Rng
from stepcredit.core.types import Floats, Judgment, Record
from stepcredit.evaluate._attempts import Attempt, NothingToMeasure, attempts, by_problem

ABSENT = float("nan")


def _judged(records: Sequence[Record], judge: Callable[[int, Attempt], tuple[float, Floats]]) -> list[Record]:
    """Records with new judgments; a NaN score abstains."""
    blank = [replace(record, judgments=()) for record in records]
    found: list[list[Judgment]] = [[] for _ in records]
    for index, attempt in enumerate(attempts(blank)):
        score, score_S = judge(index, attempt)
        status = "abstained" if np.isnan(score) else "scored"
        found[attempt.record].append(Judgment(score, score_S, status=status))  # type: ignore[arg-type]
    return [replace(record, judgments=tuple(of)) for record, of in zip(blank, found, strict=True)]


def always_correct(records: Sequence[Record]) -> list[Record]:
    """Every step sound, every attempt the same: -1 always, and a random pick."""
    return _judged(records, lambda _, a: (1.0, np.ones(len(a.steps))))


def at_location(records: Sequence[Record], location: int) -> list[Record]:
    """The first error is always step `location` (0-based; an attempt too short: its last step), -1 for none.

    All attempts get the same score, so best-of-N is a random pick. Raises ValueError for a location under -1.
    """
    if location < -1:
        raise ValueError(f"location is {location}; allowed: -1 (no error) or a 0-based step")
    if location == -1:
        return always_correct(records)

    def judge(_: int, attempt: Attempt) -> tuple[float, Floats]:
        index_S = np.arange(len(attempt.steps))
        return 0.0, (index_S < min(location, len(attempt.steps) - 1)).astype(np.float64)

    return _judged(records, judge)


def choose_location(records: Sequence[Record], split: Collection[str]) -> int:
    """The constant location with the best first-error accuracy on the step truth of the problems in `split`.

    Ties go to the smallest location. Raises ValueError where the split has no recorded step truth.
    """
    counts: Counter[int] = Counter()
    lengths: list[tuple[int, int]] = []
    for attempt in attempts([replace(record, judgments=()) for record in records]):
        first = attempt.first_error
        if attempt.problem_id in split and first is not None:
            lengths.append((first, len(attempt.steps)))
    if not lengths:
        raise NothingToMeasure("a location is chosen on recorded step truth; the split has none")
    for first, num_steps in lengths:
        counts[first] += 1
        if first == num_steps - 1:  # any later location is clipped to this last step
            for later in range(num_steps, max(n for _, n in lengths)):
                counts[later] += 1
    return min(counts, key=lambda location: (-counts[location], location))


def constant_location(records: Sequence[Record], split: Collection[str]) -> list[Record]:
    """`at_location` with the location chosen on a declared split (BIG-Bench-Mistake's constant guess)."""
    return at_location(records, choose_location(records, split))


def last_step(records: Sequence[Record]) -> list[Record]:
    """The first error is always the last step."""
    return _judged(records, lambda _, a: (0.0, np.append(np.ones(max(len(a.steps) - 1, 0)), [0.0] * bool(a.steps))))


def step_index(records: Sequence[Record]) -> list[Record]:
    """Later steps are worse: m / (m + j) at step j = 1.., m the median number of steps; the attempt has its last."""
    median = _median(records, lambda a: len(a.steps))

    def judge(_: int, attempt: Attempt) -> tuple[float, Floats]:
        score_S = median / (median + np.arange(1.0, len(attempt.steps) + 1))
        return (float(score_S[-1]) if score_S.size else ABSENT), score_S

    return _judged(records, judge)


def length(records: Sequence[Record], *, longer: bool = False) -> list[Record]:
    """Longer attempts are worse: m / (m + characters) for attempt and steps alike, m the median; or better."""
    median = _median(records, _num_characters)

    def judge(_: int, attempt: Attempt) -> tuple[float, Floats]:
        score = median / (median + _num_characters(attempt))
        score = 1.0 - score if longer else score
        return score, np.full(len(attempt.steps), score)

    return _judged(records, judge)


def random(records: Sequence[Record], *, rng: Rng) -> list[Record]:
    """Every step and every attempt a uniform number."""
    return _judged(records, lambda _, a: (float(rng.random()), rng.random(len(a.steps))))


def majority(records: Sequence[Record]) -> list[Record]:
    """The share of the problem's attempts that vote for this answer, for attempt and steps alike.

    The share is over all attempts of the problem, those without a vote included; they abstain themselves. Raises
    ValueError where no attempt has an answer.
    """
    given = attempts([replace(record, judgments=()) for record in records])
    votes = [vote(attempt.outcome) for attempt in given]
    if not any(v is not None for v in votes):
        raise NothingToMeasure("no attempt has a recorded answer: there is no majority")
    share_of: dict[int, float] = {}
    for index in by_problem(given).values():
        counts = Counter(votes[i] for i in index)
        share_of |= {i: ABSENT if votes[i] is None else counts[votes[i]] / len(index) for i in index}
    return _judged(records, lambda i, a: (share_of[i], np.full(len(a.steps), share_of[i])))


def nulls(
    records: Sequence[Record], *, rng: Rng, split: Collection[str] | None = None
) -> tuple[dict[str, list[Record]], dict[str, str]]:
    """All nulls by name, and for those that cannot be had here the reason."""
    made: dict[str, Callable[[], list[Record]]] = {
        "always_correct": lambda: always_correct(records),
        "first_step": lambda: at_location(records, 0),
        "last_step": lambda: last_step(records),
        "constant_location": lambda: constant_location(records, split or ()),
        "step_index": lambda: step_index(records),
        "length": lambda: length(records),
        "random": lambda: random(records, rng=rng),
        "majority": lambda: majority(records),
    }
    found: dict[str, list[Record]] = {}
    skipped: dict[str, str] = {}
    for name, make in made.items():
        if name == "constant_location" and split is None:
            skipped[name] = "no split declared to choose the location on"
            continue
        try:
            found[name] = make()
        except NothingToMeasure as reason:
            skipped[name] = str(reason)
    return found, skipped


def _num_characters(attempt: Attempt) -> int:
    return sum(len(step.text) for step in attempt.steps)


def _median(records: Sequence[Record], size: Callable[[Attempt], int]) -> float:
    sizes = [size(attempt) for attempt in attempts([replace(record, judgments=()) for record in records])]
    return max(1.0, float(np.median(sizes))) if sizes else 1.0
