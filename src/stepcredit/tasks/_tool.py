"""What a tool of `tasks/tool_use` is: how its problems are drawn, how a call is written and slips, and what it does.

A problem is a plan: calls that each take the value which the one before has found. `meta`, which JSON can hold, has the
`plan`, the `start` value, and whatever the tool keeps (tables, a store).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcredit.core.protocols import Rng

Meta = Mapping[str, Any]
OK, NOTHING = "ok", "none"  # results without a value: it is done; there is nothing
_NUMBER = re.compile(r"-?\d+")


class ToolError(ValueError):
    """What a tool says of a call that failed."""


@dataclass(frozen=True)
class Tool:
    """A tool. In `write` and `slip` a call is known by its place in the plan and the value that it starts from.

    `draw(num_calls, size, rng)`: a prompt and its meta. `write`, `slip`: the right call, and a wrong one instead.
    `run(meta, before, call)`: the result of a call after these, which were carried out; ToolError where it fails.
    `plain(call)`: the call without differences that mean nothing.
    """

    draw: Callable[[int, int, Rng], tuple[str, dict[str, Any]]]
    write: Callable[[Meta, int, str], str]
    slip: Callable[[Meta, int, str, Rng], str]
    run: Callable[[Meta, Sequence[str], str], str]
    plain: Callable[[str], str]


def value_of(result: str) -> str | None:
    """The number in a result, whatever stands around it.

    >>> value_of("( 12 )"), value_of("= ok")
    ('12', None)
    """
    found = _NUMBER.search(result)
    return None if found is None else found[0]


def gold_calls(tool: Tool, meta: Meta) -> tuple[list[str], list[str], str]:
    """The right calls of a plan, their results, and the value they end with."""
    value, calls, results = str(meta["start"]), list[str](), list[str]()
    for place in range(len(meta["plan"])):
        call = tool.write(meta, place, value)
        results.append(tool.run(meta, calls, call))
        calls.append(call)
        value = value_of(results[-1]) or value
    return calls, results, value


def other(given: int, low: int, high: int, rng: Rng) -> int:
    """One of low..high, uniformly, but not the given one."""
    drawn = int(rng.integers(low, high))
    return drawn + (drawn >= given)
