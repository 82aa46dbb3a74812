"""Where each attempt came from: `problem.meta["sources"]`, one mapping an attempt, in the order of the tree's leaves.

A tree has one problem and may hold many attempts; what a file says of one attempt (its trial, its run, its messages) would
be lost where records are grouped. `places`, where it is there, has [message, call] for each step of the attempt: the message
it stands in, counted from 0 over the attempt's own `messages`, and the tool call within that message, null for text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepcredit.core.segment import _message_steps
from stepcredit.core.types import Record

SOURCES = "sources"

Place = list[int | None]


def chat_places(messages: Sequence[Mapping[str, Any]]) -> list[Place]:
    """[message, call] of every step that `core/segment.chat_steps` makes of the messages, in its order.

    >>> calls = [{"function": {"name": "f"}}, {"function": {"name": "g"}}]
    >>> chat_places([{"role": "user", "content": "?"}, {"role": "assistant", "content": "so", "tool_calls": calls}])
    [[0, None], [1, None], [1, 0], [1, 1]]
    """
    found: list[Place] = []
    for index, message in enumerate(messages):
        num_calls = 0
        for step in _message_steps(index, message):
            is_call = step.kind == "tool_call"
            found.append([index, num_calls if is_call else None])
            num_calls += is_call
    return found


def sources_of(record: Record) -> list[Mapping[str, Any]] | None:
    """One mapping an attempt; None where the record has none, or something else under that name."""
    given = record.tree.problem.meta.get(SOURCES)
    if not isinstance(given, Sequence) or len(given) != len(record.tree.leaves):
        return None
    return list(given) if all(isinstance(each, Mapping) for each in given) else None


def joined_sources(records: Sequence[Record]) -> list[Mapping[str, Any]] | None:
    """The records' sources one after the other, {} for attempts without; None where no record has any."""
    own = [sources_of(record) for record in records]
    if all(each is None for each in own):
        return None
    empty: Mapping[str, Any] = {}
    return [one for record, each in zip(records, own, strict=True)
            for one in ([empty] * len(record.tree.leaves) if each is None else each)]  # fmt: skip
