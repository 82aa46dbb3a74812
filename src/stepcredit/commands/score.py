"""`stepcredit score`: a trained scorer's judgment of every attempt, streaming; a killed run goes on where it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from stepcredit.commands._reading import Reading, as_taught, records
from stepcredit.core.types import Cost, Record


def run(  # noqa: D417  # the parser fills in what is not described
    input: str,
    out: str,
    *,
    scorer: str,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    device: str | None = None,
    token_budget: int | None = None,
    chunk: int = 1024,
    threads: int | None = None,
    reading: Reading,
) -> None:
    """Judge the steps of attempts and write the records with the judgments; judgments from before are replaced.

    Plain text is cut into steps as the scorer's training file was. A killed run goes on where it was when the same
    command is given again: what is judged is kept in OUT.partial-score, each chunk under the hash of its attempts, the
    scorer and the options. The same command gives the same bytes, killed or not: seconds are printed, not written.

    Args:
        input: The file of attempts, in any format.
        out: The file to write, native JSON lines or Parquet by its name.
        scorer: Folder of a trained scorer.
        dtype: What the network computes in (float32 when not given).
        device: Where it computes (cpu when not given).
        token_budget: Tokens of a batch (16384 when not given).
        chunk: Attempts judged and kept at once: memory is for this many, and a killed run loses at most as many.
        threads: Processor threads (all when not given).
    """
    from stepcredit.commands import _scorer, _shards, _show

    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; allowed: 1 or more")
    with _shards.folder_for(out) as folder:
        found = records(input, as_taught(input, reading, scorer))
        options = {"dtype": dtype, "device": device, "token_budget": token_budget}
        judge = _scorer.load(scorer, threads=threads, **options)
        made_with = _shards.made_with(scorer, options)
        num_judged, cost = 0, Cost()

        def judged(waiting: Sequence[Record]) -> Iterator[Record]:
            nonlocal num_judged, cost
            given = judge([(r.tree.problem, r.tree.solution(leaf)) for r in waiting for leaf in r.tree.leaves])
            num_judged, cost = num_judged + len(given), sum((each.cost for each in given), cost)
            timeless = (replace(each, cost=replace(each.cost, seconds=float("nan"))) for each in given)
            for record in waiting:
                yield replace(record, judgments=tuple(next(timeless) for _ in record.tree.leaves))

        shards = [_shards.shard_of(folder, waiting, made_with, judged)
                  for waiting in _chunks(_show.progress(found, "scoring"), chunk)]  # fmt: skip
        statuses: Counter[str] = Counter()

        def count(record: Record) -> None:
            statuses.update(each.status for each in record.judgments)

        num_records = _shards.assemble(folder, shards, out, count)
    said = ", ".join(f"{num} {status}" for status, num in statuses.most_common())
    before = statuses.total() - num_judged
    print(f"wrote {out}: {num_records} records, {statuses.total()} attempts ({said}); "
          f"{cost.forwarded_tokens} tokens read in {cost.seconds:.1f} s" + (f", {before} attempts judged before" if before else ""))  # fmt: skip


def _chunks(found: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Records in lists of at least `size` attempts, the last one shorter."""
    waiting: list[Record] = []
    num_waiting = 0
    for record in found:
        waiting.append(record)
        num_waiting += len(record.tree.leaves)
        if num_waiting >= size:
            yield waiting
            waiting, num_waiting = [], 0
    if waiting:
        yield waiting
