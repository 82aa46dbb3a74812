"""What a correct call is, in three ways, for methods that pay for calls; ToolPO (arXiv:2510.21618) leaves it open.

matches_gold   it is one of the problem's right calls: `meta["calls"]`, else `reference`; spaces, case and JSON's order aside
no_error       the result behind it does not begin with "error", however written; a call without a result has shown nothing,
               and is not
schema_valid   JSON {"name", "arguments"}: a tool of `meta["tools"]` (name: JSON schema), what it requires and no more, by type
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from stepcredit.core.environment import FAILED, results
from stepcredit.core.types import Problem, Tree

Correct = Literal["matches_gold", "no_error", "schema_valid"]
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,), "array": (list,), "object": (dict,),
    "null": (type(None),),
}  # fmt: skip


def calls_of(tree: Tree, path: Sequence[int]) -> list[int]:
    """The calls on a path that the policy wrote."""
    return [node for node in path if _is_call(tree, node)]


def is_correct(tree: Tree, path: Sequence[int], node: int, correct: Correct) -> bool:
    """Whether the call at a node of this path is correct. Raises ValueError where the problem lacks what that takes."""
    text = tree.steps[node].text
    if correct == "matches_gold":
        return plain(text) in gold_of(tree.problem)
    if correct == "no_error":
        return result_of(tree, path, node) is not None and not failed(tree, path, node)
    tools = tree.problem.meta.get("tools")
    if tools is None:
        raise ValueError(
            f"problem {tree.problem.id!r} has no schemas in meta['tools'], which correct='schema_valid' needs"
        )
    return fits(text, tools)


def gold_of(problem: Problem) -> Counter[str]:
    """The right calls, plainly written, and how often each is due. Raises ValueError for a problem without any."""
    calls = problem.meta.get("calls", problem.reference)
    if not calls:
        raise ValueError(f"problem {problem.id!r} has no right calls in meta['calls'] or reference; allowed without: "
                         "correct='no_error' or 'schema_valid', with count='sum' or 'distinct'")  # fmt: skip
    return Counter(plain(str(call)) for call in calls)


def plain(call: str) -> str:
    """A call without differences that mean nothing.

    >>> plain('{"b": 1,  "a": 2}') == plain('{"a": 2, "b": 1}'), plain("Count  a")
    (True, 'count a')
    """
    try:
        return json.dumps(json.loads(call), sort_keys=True)
    except ValueError:
        return " ".join(call.split()).casefold()


def result_of(tree: Tree, path: Sequence[int], node: int) -> str | None:
    """What the environment wrote behind a call of a path, None for nothing (`core.environment.results`)."""
    return results([tree.steps[other] for other in path])[path.index(node)]


def failed(tree: Tree, path: Sequence[int], node: int) -> bool:
    """Whether the environment said that a call was not carried out, in capitals or not."""
    return (result_of(tree, path, node) or "").lstrip().casefold().startswith(FAILED.casefold())


def _is_call(tree: Tree, node: int) -> bool:
    return tree.steps[node].kind == "tool_call" and tree.steps[node].sampled


def fits(call: str, tools: Any) -> bool:
    """Whether a call is one of these tools', with the arguments that it takes.

    >>> fits('{"name": "count", "arguments": {"table": "a"}}', {"count": {"properties": {"table": {"type": "string"}}}})
    True
    """
    try:
        said = json.loads(call)
    except ValueError:
        return False
    if not isinstance(said, dict) or not isinstance(said.get("arguments"), dict) or said.get("name") not in tools:
        return False
    schema, given = tools[said["name"]], said["arguments"]
    known = schema.get("properties", {})
    return set(schema.get("required", ())) <= set(given) <= set(known) and all(
        _is(value, known[name].get("type")) for name, value in given.items()
    )


def _is(value: Any, kind: str | None) -> bool:
    """By the name of a JSON type; one that is not named is any."""
    if isinstance(value, bool) and kind in ("number", "integer"):
        return False
    return kind not in TYPES or isinstance(value, TYPES[kind])
