"""Counts over attempts as they stream by: how many, by status, how many right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from stepcredit.commands import _show
from stepcredit.core.types import Outcome, Record


class Tally:
    """Counts what passes through; a second look at the same records is never needed."""

    def __init__(self) -> None:
        self.num_records = 0
        self.kinds: Counter[str] = Counter()

    @property
    def num_attempts(self) -> int:
        """Attempts seen."""
        return self.kinds.total()

    def counted(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records, counted."""
        for record in records:
            self.num_records += 1
            self.kinds.update(kind_of(record.tree.outcomes[leaf]) for leaf in record.tree.leaves)
            yield record

    def show(self, what: str) -> None:
        """Print the counts."""
        print(f"{what}: {self.num_attempts} attempts in {self.num_records} records")
        shares = [[kind, str(num), f"{num / self.num_attempts:.3f}"] for kind, num in self.kinds.most_common()]
        _show.table(["outcome", "attempts", "share"], shares)


def kind_of(outcome: Outcome | None) -> str:
    """What an outcome says in one or two words: right, wrong, a reward, its status, or that nobody looked."""
    if outcome is None:
        return "not verified"
    if outcome.status != "scored":
        return outcome.status
    if outcome.correct is None:
        return "reward only"
    return "right" if outcome.correct else "wrong"
