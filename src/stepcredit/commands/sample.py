"""`stepcredit sample`: attempts at a task's problems, by its own noisy demonstrator or by a language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from stepcredit.commands._parser import Group, peek
from stepcredit.core import registry
from stepcredit.core.protocols import Task
from stepcredit.core.types import Record

CHUNK = 64  # problems given to a policy at once


def groups(arguments: list[str]) -> list[Group]:
    """The task's knobs, and those of policy and rollout where a policy writes."""
    name = peek(arguments, "name", 0)
    found = [] if name is None else [Group.of("task", registry.get("tasks", name))]
    if peek(arguments, "source") == "policy":
        policy, rollout = registry.get("policy", "hf"), registry.get("rollout", "chains")
        found.append(Group("policy", policy.function, ["model", *policy.knobs]))
        found.append(Group.of("rollout", rollout, leave_out=["num"]))
    return found


def run(  # noqa: D417  # the parser fills in what is not described
    name: str,
    out: str,
    *,
    num_problems: int = 100,
    num_attempts: int = 16,
    seed: int = 0,
    source: Literal["demonstrator", "policy"] = "demonstrator",
    verify: bool = True,
    truth: bool = False,
    observe: bool = False,
    threads: int | None = None,
    knobs: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write attempts at a task's problems, one record a problem: JSON lines (.jsonl, .jsonl.gz) or Parquet.

    The task's knobs are options --task.<knob>; with --source policy, --policy.model is a model's folder or hub name, and
    the other knobs are --policy.<knob> and --rollout.<knob>. Name the task before its knobs.

    Args:
        name: The task.
        out: The file to write; its name says the format.
        num_problems: How many problems.
        num_attempts: How many attempts at each.
        seed: The same seed gives the same file.
        source: Who writes: the task's own noisy demonstrator, or a language model.
        verify: Decide the outcomes.
        truth: Add the oracle's step labels, as credit "truth": only ever measured against, or for controls.
        observe: Add what the task's environment shows after each step.
        threads: Processor threads for the model (all when not given).
    """
    from stepcredit.commands import _observe, _tally
    from stepcredit.core.truth import verified, with_truth
    from stepcredit.data import write

    if num_problems < 1 or num_attempts < 1:
        raise ValueError(f"num_problems is {num_problems}, num_attempts {num_attempts}; allowed: 1 or more")
    task: Task = registry.bind("tasks", name, **knobs.get("task", {}))()
    see = _observe.need_observe(task) if observe else None
    if source == "policy":
        from stepcredit.commands import _torch

        _torch.prepare(threads)
        found = _from_policy(task, num_problems, num_attempts, seed, knobs)
    else:
        found = _demonstrated(task, num_problems, num_attempts, seed)

    def finished() -> Iterator[Record]:
        for record in found:
            record = verified(record, task.verify) if verify else record
            record = with_truth(record, task) if truth else record
            yield _observe.observed(record, see) if see else record

    tally = _tally.Tally()
    write(out, tally.counted(finished()))
    tally.show(f"wrote {out}")


def _demonstrated(task: Task, num_problems: int, num_attempts: int, seed: int) -> Iterator[Record]:
    from stepcredit.commands import _show
    from stepcredit.core.rng import rng
    from stepcredit.core.tree import star

    problems = task.problems(num_problems, rng(seed, "problems"))
    for problem in _show.progress(problems, f"sampling {task.name}", num_problems):
        stream = rng(seed, "attempts", problem.id)
        yield Record(star(problem, [task.demonstrate(problem, stream) for _ in range(num_attempts)]))


def _from_policy(
    task: Task, num_problems: int, num_attempts: int, seed: int, knobs: Mapping[str, Mapping[str, Any]]
) -> Iterator[Record]:
    from stepcredit.commands import _show, _torch
    from stepcredit.commands._parser import unescaped
    from stepcredit.core.rng import rng

    given = dict(knobs["policy"])
    with _torch.weights_of(given["model"]):
        policy = registry.get("policy", "hf").function(given.pop("model"), **given)
    options = {name: unescaped(value) if isinstance(value, str) else value for name, value in knobs["rollout"].items()}
    chains = registry.bind("rollout", "chains", policy=policy, rng=rng(seed, "attempts"), num=num_attempts, **options)
    problems = task.problems(num_problems, rng(seed, "problems"))
    with _show.bar(f"sampling {task.name}", num_problems) as advance:
        for start in range(0, num_problems, CHUNK):
            for tree in chains(problems[start : start + CHUNK]):
                yield Record(tree)
                advance(1)
