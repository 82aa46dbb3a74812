"""`stepcredit sample`: attempts at a task's problems, by its own noisy demonstrator or grown with a language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from stepcredit import __version__
from stepcredit.commands import _rollout
from stepcredit.commands._parser import Group, peek, typed
from stepcredit.commands._reading import Reading
from stepcredit.core import registry
from stepcredit.core.protocols import Task
from stepcredit.core.types import Record

NUM_PROBLEMS, NUM_ATTEMPTS = 100, 16
KEYWORDS = {"from": "A file of attempts for the rollout to go on from, with outcomes or not."}
OF_POLICY = ("policy", "rollout", "from", "judge")


def groups(arguments: list[str]) -> list[Group]:
    """The task's knobs, and those of policy and rollout where a policy writes."""
    name = peek(arguments, "name", 0)
    found = [] if name is None else [Group.of("task", registry.get("tasks", name))]
    if peek(arguments, "source") == "policy":
        return [*found, *_rollout.groups(arguments)]
    if wrong := [each for each in typed(arguments) if each.split(".")[0] in OF_POLICY]:
        raise ValueError(f"--{wrong[0]} is for --source policy; the demonstrator writes whole attempts by itself")
    return found


def notes() -> str:
    """Which rollouts start from what."""
    entries = registry.entries("rollout")
    problems, attempts = (
        ", ".join(each.name for each in entries if _rollout.grows_attempts(each) is grows) for grows in (False, True)
    )
    judged = ", ".join(each.name for each in entries if "Judge" in _rollout.roles(each).values())
    return (
        f"Rollouts that start from problems: {problems}. Rollouts that go on from attempts: {attempts}; these are the attempts "
        f"of the --from FILE, else --num_attempts chains at each problem. With a judge: {judged}; for mcts it is the value "
        "and the process critic, for branch and episodes it needs --rollout.choose judge. Episodes are played in the "
        "environment of a task that has one. Restarts are groups of their own in the tree, as `stepcredit credit --method "
        "monte_carlo` reads them."
    )


def run(  # noqa: D417  # the parser fills in what is not described
    name: str,
    out: str,
    *,
    num_problems: int | None = None,
    num_attempts: int | None = None,
    seed: int = 0,
    source: Literal["demonstrator", "policy"] = "demonstrator",
    from_: str | None = None,
    judge: str | None = None,
    verify: bool = True,
    truth: bool = False,
    observe: bool = False,
    threads: int | None = None,
    reading: Reading,
    knobs: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
) -> None:
    """Write attempts at a task's problems, one record a problem: JSON lines (.jsonl, .jsonl.gz) or Parquet.

    The task's knobs are options --task.<knob>. With --source policy, --policy.model is a model's folder or hub name, or with
    --policy openai its name at a server, --policy.url; --rollout NAME grows trees by any registered rollout, and its
    knobs are --rollout.<knob>. Name the task before its knobs. What a policy has written is kept in OUT.partial-sample
    until all is there: the same command goes on from it after a kill.

    Args:
        name: The task.
        out: The file to write; its name says the format.
        num_problems: How many problems (100 when not given).
        num_attempts: How many attempts at each (16 when not given).
        seed: The same seed gives the same file.
        source: Who writes: the task's own noisy demonstrator, or a language model.
        judge: Folder of a trained scorer, for rollouts that ask a judge.
        verify: Decide the outcomes.
        truth: Add the oracle's step labels, as credit "truth": only ever measured against, or for controls.
        observe: Add what the task's environment shows after each step.
        threads: Processor threads for model and judge (all when not given).
    """
    from stepcredit.commands import _observe, _scorer, _show, _tally
    from stepcredit.core.truth import with_truth
    from stepcredit.data import write
    from stepcredit.rollout._verified import verified

    if 0 in (num_problems, num_attempts) or min(num_problems or 1, num_attempts or 1) < 1:
        raise ValueError(f"num_problems is {num_problems}, num_attempts {num_attempts}; allowed: 1 or more")
    task: Task = registry.bind("tasks", name, **knobs.get("task", {}))()
    see = _observe.need_observe(task) if observe else None
    num = None if from_ else num_problems or NUM_PROBLEMS
    tally = _tally.Tally()

    def finished(found: Iterator[Record]) -> Iterator[Record]:
        for record in _show.progress(found, f"sampling {task.name}", num):
            record = replace(record, tree=verified(record.tree, task.verify)) if verify else record
            record = with_truth(record, task) if truth else record
            yield _observe.observed(record, see) if see else record

    if source == "demonstrator":
        write(out, tally.counted(finished(_demonstrated(task, num or 0, num_attempts or NUM_ATTEMPTS, seed))))
    else:
        entry, own = registry.get("rollout", knobs["rollout"]["name"]), _rollout.options(knobs["rollout"])
        _rollout.check(
            entry, from_=from_, judge=judge, num_problems=num_problems, num_attempts=num_attempts, verify=verify
        )
        _rollout.check_environment(entry, task)
        with _rollout.kept_for(out, _made_from(config)) as folder:
            policy = _rollout.policy_of(knobs["policy"], threads)
            asked = None if judge is None else _scorer.load(judge, threads=threads)
            writer = _rollout.Writer(task, policy, asked, seed, folder)
            if from_ is None:
                found = writer.sampled(entry, num or 0, num_attempts or NUM_ATTEMPTS, own, verify)
            else:
                found = writer.read(from_, reading, entry, own, verify)
            write(out, tally.counted(finished(found)))
    tally.show(f"wrote {out}")


def _demonstrated(task: Task, num_problems: int, num_attempts: int, seed: int) -> Iterator[Record]:
    from stepcredit.core.rng import rng
    from stepcredit.core.tree import star

    for problem in task.problems(num_problems, rng(seed, "problems")):
        stream = rng(seed, "attempts", problem.id)
        yield Record(star(problem, [task.demonstrate(problem, stream) for _ in range(num_attempts)]))


def _made_from(config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one command's answers from another's: version, options, and the files they name as they are now.

    The key to a server is no part of it: it decides nothing that is written, and belongs on no disk.
    """
    own = {name: value for name, value in config.items() if name not in ("out", "threads")}
    own["policy"] = {name: value for name, value in config["policy"].items() if name != "api_key"}
    named = {"model": config["policy"].get("model"), "judge": config["judge"], "from": config["from"]}
    return {"version": __version__, "options": own, **{what: _rollout.files_of(name) for what, name in named.items()}}
