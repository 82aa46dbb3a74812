"""tau-bench trajectories: a tool-calling agent with a simulated user, several trials a task, 0 or 1 from the database.

A row is a trial, {"task_id", "trial", "reward", "traj", "info"}; the trials of a task are the attempts of one star once they
are grouped. Assistant text and each tool call are steps the policy wrote (`core/segment.chat_steps`), tool results and the
user's turns context in their place; the last step, where it is text, is the `answer`.
The simulated user opens every trial anew, so what a task's trials share is the system prompt alone: it is the problem's prompt
(from the row, or by the knob `system`, for files that leave it out; else empty). Each trial's first step has what stood before
it, system prompt and opening, as its `context`. The task's hidden instruction is never part of a prompt; the gold actions, as
tool calls are written, are `reference`. `meta["sources"]` has trial, messages and the place of every step (`_sources`).
A reward of null is a trial that nobody scored: it has no outcome.
arXiv:2406.12045.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepcredit.core.segment import chat_steps
from stepcredit.core.types import Outcome, Problem, Record, Step
from stepcredit.data._fields import Fields
from stepcredit.data._record import chain, identity
from stepcredit.data._sources import SOURCES, chat_places

OWN = ("task_id", "trial", "reward", "traj", "info", SOURCES)


def matches(row: dict[str, Any]) -> bool:
    """A trial of a task, with its trajectory."""
    return {"task_id", "trial", "reward", "traj"} <= row.keys()


def parse(fields: Fields, *, system: str = "") -> Iterator[Record]:
    """One Record a row. Raises ValueError where the assistant says nothing, or nothing is asked of it."""
    trial = fields.integer("trial", 0, 2**31)
    messages = [each.values for each in fields.children("traj")]
    try:
        steps, places = chat_steps(messages), chat_places(messages)
    except ValueError as error:
        raise ValueError(f"field 'traj': {error}") from error
    first = next(index for index, step in enumerate(steps) if step.sampled)
    if not first or any(step.kind != "prompt" for step in steps[:first]):
        fields.fail("traj", messages, "a user message, and no tool result, before the assistant speaks")
    told, asked = _opening(messages, steps[:first])
    prompt = told or system
    context = "\n\n".join(text for text in (prompt, asked) if text) + "\n"
    own = [replace(steps[first], context=context), *steps[first + 1 :]]
    last = max(index for index, step in enumerate(own) if step.sampled)
    if own[last].kind == "reason":
        own[last] = replace(own[last], kind="answer")
    source = {"trial": trial, "messages": messages, "places": places[first:]}
    problem = Problem(
        identity(fields, prompt, "task_id"), prompt, reference=_gold(fields),
        meta=fields.rest(*OWN) | {SOURCES: [source]},
    )  # fmt: skip
    reward = None if fields.need("reward", "a number, null where nobody scored it") is None else fields.number("reward")
    yield chain(problem, own, None if reward is None else Outcome(reward=reward, correct=reward == 1.0))


def _opening(messages: Sequence[Mapping[str, Any]], steps: Sequence[Step]) -> tuple[str, str]:
    """System text and user text that stand before the assistant; one step is one message there."""
    text_of: dict[bool, list[str]] = {True: [], False: []}
    for message, step in zip(messages, steps, strict=False):
        if step.text.strip():
            text_of[message["role"] == "user"].append(step.text)
    return "\n\n".join(text_of[False]), "\n\n".join(text_of[True])


def _gold(fields: Fields) -> tuple[str, ...] | None:
    """The task's gold actions, written as calls; None where the row does not say."""
    if not fields.has("info") or not fields.child("info").has("task"):
        return None
    task = fields.child("info").child("task")
    if not task.has("actions"):
        return None
    return tuple(_call(action) for action in task.children("actions", empty=True))


def _call(action: Fields) -> str:
    keywords = action.child("kwargs").values if action.has("kwargs") else {}
    return f"{action.text('name')}({json.dumps(keywords, ensure_ascii=False, separators=(',', ':'))})"
