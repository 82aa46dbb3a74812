"""Conversations with tool calls: {"messages": [...], "correct" or "reward"}, one conversation a row.

The messages before the assistant first speaks are the prompt (joined by blank lines); after that, assistant text and tool
calls are steps the policy wrote, everything else is context in its place (`core/segment.chat_steps`). A numeric `reward` is
kept as it is, right iff it is 1; `correct` wins where both are there. `messages` may also be called `traj`. Optional:
`problem_id`, `id` or `task_id` (of the *problem*), `answer`. Further fields are kept in the problem's `meta`, the messages and
the place of every step in `meta["sources"]` (`_sources`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepcredit.core.segment import chat_steps
from stepcredit.core.types import Outcome, Problem, Record
from stepcredit.data import tau_bench
from stepcredit.data._fields import Fields
from stepcredit.data._record import chain, identity, recorded
from stepcredit.data._sources import SOURCES, chat_places

OWN = ("problem_id", "id", "task_id", "messages", "traj", "correct", "reward", "answer", SOURCES)


def matches(row: dict[str, Any]) -> bool:
    """A list of messages, each with a role, and no trial of a tau-bench task."""
    given = row.get("messages", row.get("traj"))
    return (
        isinstance(given, list)
        and bool(given)
        and isinstance(given[0], dict)
        and "role" in given[0]
        and not tau_bench.matches(row)
    )


def parse(fields: Fields) -> Iterator[Record]:
    """One Record a row. Raises ValueError where the assistant says nothing, or nothing is asked of it."""
    name = "traj" if "traj" in fields.values and "messages" not in fields.values else "messages"
    messages = [each.values for each in fields.children(name)]
    try:
        steps, places = chat_steps(messages), chat_places(messages)
    except ValueError as error:
        raise ValueError(f"field {name!r}: {error}") from error
    first = next(index for index, step in enumerate(steps) if step.kind != "prompt")
    prompt = "\n\n".join(step.text for step in steps[:first] if step.text.strip())
    if not prompt:
        fields.fail(name, messages, "a system or user message before the assistant speaks")
    if first == len(steps) or not steps[first].sampled:
        fields.fail(name, messages, "an assistant message before the first tool result")
    problem = Problem(
        identity(fields, prompt, "problem_id", "id", "task_id"),
        prompt,
        fields.values.get("answer"),
        meta=fields.rest(*OWN) | {SOURCES: [{"messages": messages, "places": places[first:]}]},
    )
    yield chain(problem, steps[first:], _outcome(fields))


def _outcome(fields: Fields) -> Outcome | None:
    if not {"correct", "reward"} & fields.values.keys():
        fields.need("correct", "true or false here, or a number in 'reward'; null where it is not known")
    if fields.has("correct"):
        return recorded(fields.flag("correct"))
    if not fields.has("reward"):
        return None
    reward = fields.number("reward")
    return Outcome(reward=reward, correct=reward == 1.0)
