"""`stepcredit score`: a trained scorer's judgment of every attempt, streaming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from stepcredit.commands._reading import Reading, records
from stepcredit.core.types import Cost, Record


def run(  # noqa: D417  # the parser fills in what is not described
    input: str,
    out: str,
    *,
    scorer: str,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    device: str | None = None,
    token_budget: int | None = None,
    chunk: int = 4096,
    threads: int | None = None,
    reading: Reading,
) -> None:
    """Judge the steps of attempts and write the records with the judgments; judgments from before are replaced.

    Args:
        input: The file of attempts, in any format.
        out: The file to write, native JSON lines or Parquet by its name.
        scorer: Folder of a trained scorer.
        dtype: What the network computes in (float32 when not given).
        device: Where it computes (cpu when not given).
        token_budget: Tokens of a batch (16384 when not given).
        chunk: Attempts judged at once; memory is for this many.
        threads: Processor threads (all when not given).
    """
    from stepcredit.commands import _scorer, _show
    from stepcredit.data import write

    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; allowed: 1 or more")
    found = records(input, reading)
    judge = _scorer.load(scorer, threads=threads, dtype=dtype, device=device, token_budget=token_budget)
    statuses: Counter[str] = Counter()
    cost = Cost()

    def judged(waiting: list[Record]) -> Iterator[Record]:
        nonlocal cost
        pairs = [(r.tree.problem, r.tree.solution(leaf)) for r in waiting for leaf in r.tree.leaves]
        judgments = iter(judge(pairs))
        for record in waiting:
            own = tuple(next(judgments) for _ in record.tree.leaves)
            statuses.update(each.status for each in own)
            cost = sum((each.cost for each in own), cost)
            yield replace(record, judgments=own)

    def all_judged() -> Iterator[Record]:
        waiting: list[Record] = []
        num_waiting = 0
        for record in _show.progress(found, "scoring"):
            waiting.append(record)
            num_waiting += len(record.tree.leaves)
            if num_waiting >= chunk:
                yield from judged(waiting)
                waiting, num_waiting = [], 0
        yield from judged(waiting)

    num_records = write(out, all_judged())
    said = ", ".join(f"{num} {status}" for status, num in statuses.most_common())
    print(f"wrote {out}: {num_records} records, {statuses.total()} attempts ({said}); "
          f"{cost.forwarded_tokens} tokens read in {cost.seconds:.1f} s")  # fmt: skip
