"""InterCode trajectories: an action and an observation per turn, and the environment's reward at every turn.

Each turn is a `tool_call` step the policy wrote (its thought first, where there is one) and a `tool_result` step it did
not. The outcome is the reward of the *last* turn, right iff it is 1. The rewards of the turns go to `credits["truth"]`
alone (1 where the reward is 1, else 0): hidden in training, measured against. Success ends an episode, so a truth of 1
can only stand on a last turn.

A last action "blocked" without an observation is the source's note that the model's reply was filtered: it never ran and
is dropped; a trajectory that is nothing else has no step and is an error, as are the source's rows without actions.
An action may be empty: it did run, and has its reward. Problems are told apart by environment and query, runs of one by
`meta["sources"]` (`_sources`), which says of each attempt whose it is.
arXiv:2306.14898.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepcredit.core.types import Outcome, Problem, Record, Step
from stepcredit.data._fields import Fields, finite
from stepcredit.data._record import chain, text_id
from stepcredit.data._sources import SOURCES

OWN = ("query", "thoughts", "actions", "observations", "rewards", "valid_action", "max_reward", "turns_taken", SOURCES)


def matches(row: dict[str, Any]) -> bool:
    """Actions, observations and rewards in parallel."""
    return {"query", "actions", "observations", "rewards"} <= row.keys()


def parse(fields: Fields) -> Iterator[Record]:
    """One Record a row."""
    if not fields.has("actions") and not fields.has("rewards"):
        raise ValueError("the row holds no trajectory: actions and rewards are null or missing")
    query = fields.text("query")
    actions = _strings(fields, "actions")
    observations = _strings(fields, "observations")
    rewards = fields.items("rewards", "a list of numbers, one per action")
    thoughts = _strings(fields, "thoughts") if fields.has("thoughts") else []
    if len(rewards) != len(actions):
        fields.fail("rewards", rewards, f"one reward per action: {len(actions)} actions, got {len(rewards)} rewards")
    if len(observations) == len(actions) - 1 and actions[-1] == "blocked":
        actions, rewards, thoughts = actions[:-1], rewards[:-1], thoughts[: len(actions) - 1]
    if not actions:
        fields.fail("actions", ["blocked"], "at least one action that ran")
    if len(observations) != len(actions):
        fields.fail(
            "observations", observations, f"one observation per action: {len(actions)} actions, got {len(observations)}"
        )
    if thoughts and len(thoughts) != len(actions):
        fields.fail("thoughts", thoughts, f"one thought per action: {len(actions)} actions, got {len(thoughts)}")
    rewards_S = [finite(fields, f"rewards[{turn}]", reward) for turn, reward in enumerate(rewards)]
    steps: list[Step] = []
    for turn, action in enumerate(actions):
        thought = thoughts[turn] + "\n" if thoughts and thoughts[turn] else ""
        steps += [Step(thought + action, kind="tool_call"), Step(observations[turn], kind="tool_result", sampled=False)]
    environment = fields.optional_text("env") or "intercode"
    source = {name: fields.values[name] for name in ("run", "task_id") if fields.has(name)}
    meta = fields.rest(*OWN) | ({SOURCES: [source]} if source else {})
    problem = Problem(f"{environment}-{text_id(query)}", query, meta=meta)
    outcome = Outcome(reward=rewards_S[-1], correct=rewards_S[-1] == 1.0)
    yield chain(problem, steps, outcome, [float(reward == 1.0) for reward in rewards_S])


def _strings(fields: Fields, name: str) -> list[str]:
    given = fields.items(name, "a list of texts", empty=name == "observations")
    for index, text in enumerate(given):
        if not isinstance(text, str):
            fields.fail(f"{name}[{index}]", text, "text")
    return given
