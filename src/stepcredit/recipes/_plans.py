"""Blocksworld attempts as records for a judge: synthetic plans, recorded plans, renamings, and two layouts.

    plain   prompt and actions as the task writes them
    state   goal c-b                                           the goal facts
            a-table b-c-clear c-table hand-empty               where each block is, before the first action ...
            unstack b c  a-table b-hand c-table-clear hand-b   ... and after each: one word a block, and the hand
        end  goal c-b                                      the goal again, beside the last state

The state is `task.observe`: relaxed bookkeeping of effects. It moves blocks at an action's word and never looks at a
precondition, so whether the action was allowed has to be judged from the state before it, which the turn before shows.
Step truth is the simulator's; it goes to `credits["truth"]` and is read by measurements and the oracle arm alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.tree import first_error, star
from stepcredit.core.types import Credit, Outcome, Problem, Record, Step
from stepcredit.data import read
from stepcredit.tasks._blocks import apply_action, blocks_of, is_action, parse_prompt

View = Literal["plain", "state"]
_WORD = re.compile(r"\b[a-z]\b")
_NEEDS = {  # what each operator needs, in the order in which a failure is named
    "pick-up": ("hand empty", "table {x}", "clear {x}"),
    "unstack": ("hand empty", "on {x} {y}", "clear {x}"),
    "put-down": ("holding {x}",),
    "stack": ("holding {x}", "clear {y}"),
}


def synthetic(num: int, task: Task, *, avoid: Collection[str], rng: Rng, max_steps: int | None = None) -> list[Record]:
    """`num` attempts of the demonstrator, one at a problem; a problem may come again, with another attempt.

    Problems whose prompt is in `avoid` are left out, and so are attempts of more than `max_steps` steps, "end" included.
    Each record has its outcome and, as "truth", its step labels.
    """
    found: list[Record] = []
    while len(found) < num:
        for problem in task.problems(min(2000, num), rng):
            if problem.prompt in avoid or len(found) == num:
                continue
            steps = task.demonstrate(problem, rng)
            if max_steps is None or len(steps) <= max_steps:
                found.append(_record(task, problem, steps, task.verify(problem, [steps])[0]))
    return found


def recorded(path: str | Path, task: Task) -> list[Record]:
    """The recorded plans, one record an attempt, with the recorded verdict as outcome and the simulator's step truth."""
    return [
        _record(task, r.tree.problem, r.tree.solution(leaf), r.tree.outcomes[leaf])
        for r in read(path)
        for leaf in r.tree.leaves
    ]


def renamed(records: Iterable[Record], num: int, task: Task, *, avoid: Collection[str], rng: Rng) -> list[Record]:
    """Each scored attempt under `num` random renamings of its blocks, but none that turns its prompt into one of `avoid`.

    A renaming changes neither the outcome nor what is sound.
    """
    found = []
    for record in records:
        problem, leaf = record.tree.problem, record.tree.leaves[0]
        outcome = record.tree.outcomes[leaf]
        if outcome is None or outcome.status != "scored":
            continue
        names = blocks_of(parse_prompt(problem.prompt)[0])
        for _ in range(num):
            to = dict(zip(names, rng.permutation(names).tolist(), strict=True))
            init, goal = (sorted(_rename(fact, to) for fact in facts) for facts in parse_prompt(problem.prompt))
            prompt = f"init: {'; '.join(init)}\ngoal: {'; '.join(goal)}"
            if prompt not in avoid:
                steps = [replace(step, text=_rename(step.text, to)) for step in record.tree.solution(leaf)]
                found.append(_record(task, replace(problem, prompt=prompt), steps, outcome))
    return found


def viewed(records: Iterable[Record], task: Task, view: View) -> list[Record]:
    """The records as a judge reads them; problem ids, outcomes and truth stay as they are."""
    return list(records) if view == "plain" else [_observed(record, task) for record in records]


def error_kind(record: Record) -> str:
    """What goes wrong first: "valid", "empty", "goal not reached", or the operator and the first need that fails."""
    problem, steps = record.tree.problem, [s for s in record.tree.solution(record.tree.leaves[0]) if s.sampled]
    if len(steps) == 1 and steps[0].kind == "answer":
        return "empty"
    first = first_error(record.credits["truth"].values_N[1:])
    if first < 0 or steps[first].kind == "answer":
        return "valid" if first < 0 else "goal not reached"
    state, _ = parse_prompt(problem.prompt)
    for step in steps[:first]:
        after = apply_action(state, step.text)
        assert after is not None
        state = after
    if not is_action(steps[first].text, blocks_of(state)):
        return "no action"
    verb, x, *rest = steps[first].text.split()
    for need in _NEEDS[verb]:
        if need.format(x=x, y=rest[0] if rest else x) not in state:
            return f"{verb}, not {need.split()[0]}{' empty' if need == 'hand empty' else ''}"
    raise AssertionError("the first wrong action has nothing wrong")


def prompts(records: Iterable[Record]) -> set[str]:
    """The distinct prompts."""
    return {record.tree.problem.prompt for record in records}


def halves(records: Sequence[Record], rng: Rng) -> tuple[set[str], set[str]]:
    """The problem ids in two random halves."""
    ids = sorted(Counter(record.tree.problem.id for record in records))
    order = [ids[i] for i in rng.permutation(len(ids))]
    return set(order[: len(ids) // 2]), set(order[len(ids) // 2 :])


def _record(task: Task, problem: Problem, steps: Solution, outcome: Outcome | None) -> Record:
    label_S = task.label_steps(problem, steps)
    value_N = np.concatenate([[np.nan], label_S])
    truth = Credit(value_N, "label", (~np.isnan(value_N)).astype(np.float64), "simulator")
    return Record(star(problem, [steps], [outcome]), {"truth": truth})


def _rename(text: str, to: dict[str, str]) -> str:
    return _WORD.sub(lambda found: to.get(found[0], found[0]), text)


def _observed(record: Record, task: Task) -> Record:
    tree, leaf = record.tree, record.tree.leaves[0]
    assert task.observe is not None
    _, goal = parse_prompt(tree.problem.prompt)
    prompt = "goal " + " ".join(_goal_word(fact) for fact in sorted(goal))
    steps: list[Step] = []
    for step in task.observe(tree.problem, tree.solution(leaf)):
        steps.append(step if step.sampled else replace(step, text=_words(step.text)))
        if step.kind == "answer":
            steps.append(Step(prompt, kind="tool_result", sampled=False))
    given = record.credits["truth"]
    at = [1 + i for i, step in enumerate(steps) if step.sampled]
    value_N, weight_N = np.full(len(steps) + 1, np.nan), np.zeros(len(steps) + 1)
    value_N[at], weight_N[at] = given.values_N[1:], given.weight_N[1:]
    seen = star(replace(tree.problem, prompt=prompt), [steps], [tree.outcomes[leaf]])
    return Record(seen, {"truth": Credit(value_N, "label", weight_N, given.method)})


def _goal_word(fact: str) -> str:
    """'on a b' as 'a-b', any other fact with its name last: 'table a' as 'a-table'."""
    name, *blocks = fact.split()
    return "-".join(blocks if name == "on" else [*blocks, name])


def _words(state: str) -> str:
    """'a:b+ b:table- hand:empty' as 'a-b-clear b-table hand-empty': one word, and so one token, a block."""
    return " ".join(word.replace(":", "-").replace("+", "-clear").removesuffix("-") for word in state.split())
