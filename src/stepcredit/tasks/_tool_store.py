"""The key-value store of `tasks/tool_use`: get and put, the one tool whose calls change what later calls find.

    prompt   from 7 get get put 3         look up what 7 holds, then what that holds, and put it under 3
    calls    get 7 / get 12 / put 3 5     at the end 3 must hold the answer

The state after some calls is worked out from the store as it was at the start, each time anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from stepcredit.core.protocols import Rng
from stepcredit.tasks._tool import OK, Meta, Tool, ToolError, other

_GET, _PUT = re.compile(r"get (\d+)"), re.compile(r"put (\d+) (\d+)")


def held(meta: Meta, calls: Sequence[str]) -> dict[str, str]:
    """What the store holds after these calls, from its state at the start; texts that put nothing change nothing."""
    store = {str(key + 1): str(value) for key, value in enumerate(meta["store"])}
    for call in calls:
        if (put := _PUT.fullmatch(call)) is not None and put[1] in store:
            store[put[1]] = put[2]
    return store


def _run(meta: Meta, before: Sequence[str], text: str) -> str:
    get, put = _GET.fullmatch(text), _PUT.fullmatch(text)
    asked = get or put
    if asked is None:
        raise ToolError("cannot be read")
    store = held(meta, before)
    if asked[1] not in store:
        raise ToolError("no such key")
    return OK if get is None else store[asked[1]]


def _draw(num_calls: int, size: int, rng: Rng) -> tuple[str, dict[str, Any]]:
    store = rng.integers(size, size=size) + 1
    at = start = int(rng.integers(size)) + 1
    path = [start]
    for _ in range(num_calls - 1):
        at = int(store[at - 1])
        path.append(at)
    free = [key for key in range(1, size + 1) if key not in path]  # the target is not read on the way
    target = free[int(rng.integers(len(free)))]
    plan = [*([["get"]] * (num_calls - 1)), ["put", target]]
    prompt = " ".join(["from", str(start), *["get"] * (num_calls - 1), "put", str(target)])
    return prompt, {"store": store.tolist(), "plan": plan, "start": start}


def _write(meta: Meta, place: int, value: str) -> str:
    step = meta["plan"][place]
    return f"get {value}" if step[0] == "get" else f"put {step[1]} {value}"


def _slip(meta: Meta, place: int, value: str, rng: Rng) -> str:
    """Another key, or where something is put, another key or another value, a half each."""
    step, size = meta["plan"][place], len(meta["store"])
    if step[0] == "get":
        return f"get {other(int(value), 1, size, rng)}"
    if rng.random() < 0.5:
        return f"put {other(step[1], 1, size, rng)} {value}"
    return f"put {step[1]} {other(int(value), 1, size, rng)}"


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


STORE = Tool(_draw, _write, _slip, _run, _plain)
