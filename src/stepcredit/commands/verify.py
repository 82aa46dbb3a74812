"""`stepcredit verify`: outcomes decided anew, by a verifier or by a task that knows its domain."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from stepcredit.commands._parser import Group, peek
from stepcredit.commands._reading import Reading, records
from stepcredit.core import registry
from stepcredit.core.types import Record


def groups(arguments: list[str]) -> list[Group]:
    """The knobs of the verifier, or of the task."""
    for option, family in (("verifier", "verify"), ("task", "tasks")):
        name = peek(arguments, option)
        if name is not None:
            return [Group.of("verify", registry.get(family, name))]
    return []


def run(  # noqa: D417  # the parser fills in what is not described
    input: str,
    out: str,
    *,
    verifier: str | None = None,
    task: str | None = None,
    observe: bool = False,
    truth: bool = False,
    reading: Reading,
    knobs: Mapping[str, Mapping[str, Any]],
) -> None:
    """Decide the outcomes of attempts and count them by status.

    The knobs of the verifier, or of the task, are options --verify.<knob>. An attempt that was cut off by its length
    stays "truncated".

    Args:
        input: The file of attempts.
        out: The file to write, native JSON lines or Parquet by its name.
        verifier: exact, numeric, math or choice.
        task: A task to verify by, instead of a verifier.
        observe: Insert what the task's environment shows after each step.
        truth: Add the task's oracle labels, as credit "truth": only ever measured against, or for controls.
    """
    from stepcredit.commands import _observe, _show, _tally
    from stepcredit.core.truth import verified, with_truth
    from stepcredit.data import write

    if (verifier is None) == (task is None):
        raise ValueError(f"give either --verifier ({', '.join(registry.names('verify'))}) or --task "
                         f"({', '.join(registry.names('tasks'))})")  # fmt: skip
    given = knobs.get("verify", {})
    own = None if task is None else registry.bind("tasks", task, **given)()
    if own is None and (observe or truth):
        raise ValueError("--observe and --truth need a --task: a verifier knows answers, not steps")
    decide = own.verify if own else registry.bind("verify", str(verifier), **given)
    see = _observe.need_observe(own) if own and observe else None
    before: Counter[bool] = Counter()

    def decided() -> Iterator[Record]:
        for record in _show.progress(records(input, reading), "verifying"):
            found = verified(record, decide)
            before.update(_agreement(record, found))
            found = _observe.observed(found, see) if see else found
            yield with_truth(found, own) if own and truth else found

    tally = _tally.Tally()
    write(out, tally.counted(decided()))
    tally.show(f"wrote {out}")
    if verifier is not None and not tally.kinds["right"]:
        print(
            "stepcredit: hint: no attempt is right; --verify.extract says where in an attempt its answer stands",
            file=sys.stderr,
        )
    if before.total():
        print(f"{before[True]} of the {before.total()} outcomes recorded before agree")


def _agreement(before: Record, after: Record) -> Iterator[bool]:
    for leaf in before.tree.leaves:
        old, new = before.tree.outcomes[leaf], after.tree.outcomes[leaf]
        if old is not None and old.correct is not None and new is not None and old.status == "scored":
            yield old.correct == new.correct
