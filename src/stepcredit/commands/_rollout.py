"""What `stepcredit sample --source policy` writes with: a policy, a registered rollout, and what it is given to grow.

A rollout whose first argument is `trees` grows attempts: those of a file, or else plain ones that are sampled first. What
is written is kept in OUT.partial-sample until the output is there, so that a killed command goes on where it was.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.commands._joined import joined
from stepcredit.commands._parser import Group, peek, unescaped
from stepcredit.commands._reading import Reading
from stepcredit.commands._shards import beside
from stepcredit.core import registry
from stepcredit.core.protocols import Judge, Policy, Task
from stepcredit.core.registry import Entry
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Problem, Record, Tree
from stepcredit.rollout._verified import verified

CHUNK = 64  # problems given to a rollout at once
WRITING = ("delimiter", "prompt_end", "stop", "max_new_tokens")  # knobs that all rollouts have


def groups(arguments: Sequence[str]) -> list[Group]:
    """The options of the policy and of the rollout, each chosen by its name."""
    policy = registry.get("policy", peek(arguments, "policy") or peek(arguments, "policy.name") or "hf")
    rollout = registry.get("rollout", peek(arguments, "rollout") or peek(arguments, "rollout.name") or "chains")
    taken = {"folder", *roles(rollout), *(["num"] if rollout.name == "chains" else [])}  # --num_attempts
    parameters = inspect.signature(rollout.function).parameters
    taken |= {name for name, p in parameters.items() if "Sequence[int]" in str(p.annotation)}  # nodes of each tree
    needed = [name for name, p in inspect.signature(policy.function).parameters.items() if p.default is p.empty]
    return [
        Group("policy", policy.function, [*needed, *policy.knobs], policy.name),
        Group("rollout", rollout.function, [name for name in rollout.knobs if name not in taken], rollout.name),
    ]


def roles(entry: Entry) -> dict[str, str]:
    """The arguments that are a policy, a verifier, a judge or the like, given or not, by what they are."""
    parameters = inspect.signature(entry.function).parameters
    found = {name: str(p.annotation).removesuffix(" | None") for name, p in parameters.items()}
    return {name: what for name, what in found.items() if what in registry.RESOURCES}


def grows_attempts(entry: Entry) -> bool:
    """Whether a rollout goes on from attempts: its first argument is `trees`."""
    return next(iter(inspect.signature(entry.function).parameters)) == "trees"


def check_environment(entry: Entry, task: Task) -> None:
    """Raises ValueError for a rollout that plays in an environment and a task that has none."""
    if "Environment" in roles(entry).values() and task.environment is None:
        raise ValueError(f"--rollout {entry.name}: the task {task.name} has no environment that answers calls; allowed with "
                         "tasks that have one, such as kg_hop, tool_use")  # fmt: skip


def check(entry: Entry, *, from_: str | None, judge: str | None, num_problems: int | None, num_attempts: int | None,
          verify: bool) -> None:  # fmt: skip
    """Raises ValueError for options that do not go with the rollout, or with each other."""
    if from_ is not None and not grows_attempts(entry):
        others = [each.name for each in registry.entries("rollout") if grows_attempts(each)]
        raise ValueError(f"--from: {entry.name} starts from problems; allowed with {', '.join(others)}")
    if from_ is not None and (num_problems is not None or num_attempts is not None):
        raise ValueError(
            f"--from: problems and attempts are those of {from_}; leave out --num_problems, --num_attempts"
        )
    if num_attempts is not None and not grows_attempts(entry) and entry.name != "chains":
        raise ValueError(f"--num_attempts is for chains and what grows them; how many {entry.name} writes is up to its "
                         "knobs, --rollout.<knob>")  # fmt: skip
    if judge is not None and "Judge" not in roles(entry).values():
        raise ValueError(f"--judge: {entry.name} asks no judge; leave it out")
    if not verify and "Verifier" in roles(entry).values():
        raise ValueError(f"--verify false: {entry.name} decides outcomes while it grows; leave it out")


@dataclass(frozen=True)
class Writer:
    """Who writes, decides and judges attempts at a task, and where what they said is kept."""

    task: Task
    policy: Policy
    judge: Judge | None
    seed: int
    folder: str

    def grown(self, given: Iterator[Record], entry: Entry, knobs: Mapping[str, Any]) -> Iterator[Record]:
        """What a rollout makes of records, `CHUNK` at a time; credits stay, where new nodes have none."""
        stream = rng(self.seed, "restarts" if grows_attempts(entry) else "attempts")
        of = {"Policy": self.policy, "Verifier": self.task.verify, "Judge": self.judge, "Rng": stream,
              "Environment": self.task.environment}  # fmt: skip
        filled = {name: of[what] for name, what in roles(entry).items() if name in entry.resources or what == "Judge"}
        while batch := list(itertools.islice(given, CHUNK)):
            trees = [record.tree for record in batch]
            data: Sequence[Tree | Problem] = trees if grows_attempts(entry) else [tree.problem for tree in trees]
            made = entry.function(data, **filled, **knobs, folder=self.folder)
            for record, tree in zip(batch, made, strict=True):
                yield Record(tree, {name: _padded(credit, tree) for name, credit in record.credits.items()})

    def sampled(
        self, entry: Entry, num_problems: int, num_attempts: int, knobs: Mapping[str, Any], verify: bool
    ) -> Iterator[Record]:
        """A rollout over the task's problems; one that goes on from attempts is given plain ones, verified."""
        problems = self.task.problems(num_problems, rng(self.seed, "problems"))
        given = (Record(star(problem, [])) for problem in problems)
        chains = registry.get("rollout", "chains")
        if entry is not chains and not grows_attempts(entry):
            return self.grown(given, entry, knobs)
        plain = self.grown(given, chains, {**{name: knobs[name] for name in WRITING}, "num": num_attempts})
        return plain if entry is chains else self.grown(self._decided(plain, verify), entry, knobs)

    def read(
        self, path: str, reading: Reading, entry: Entry, knobs: Mapping[str, Any], verify: bool
    ) -> Iterator[Record]:
        """A rollout over the attempts of a file, by problem; outcomes are decided where there are none."""
        return self.grown(self._decided(joined(path, reading), verify), entry, knobs)

    def _decided(self, found: Iterator[Record], verify: bool) -> Iterator[Record]:
        for record in found:
            yield replace(record, judgments=(), tree=verified(record.tree, self.task.verify) if verify else record.tree)


def policy_of(knobs: Mapping[str, Any], threads: int | None) -> Policy:
    """The policy that was chosen, ready."""
    from stepcredit.commands import _torch

    given = {name: value for name, value in knobs.items() if name != "name"}
    function = registry.get("policy", knobs["name"]).function
    if knobs["name"] != "hf":
        found: Policy = function(**given)
        return found
    _torch.prepare(threads)
    with _torch.weights_of(given["model"]):
        found = function(**given)
    return found


def options(knobs: Mapping[str, Any]) -> dict[str, Any]:
    r"""The rollout's knobs as given, \n and \t read."""
    return {
        name: unescaped(value) if isinstance(value, str) else value for name, value in knobs.items() if name != "name"
    }


def _padded(credit: Credit, tree: Tree) -> Credit:
    """A credit of the tree before it grew: old nodes keep their numbers, new ones have none."""
    new = tree.num_nodes - len(credit.values_N)
    return replace(credit, values_N=np.pad(credit.values_N, (0, new), constant_values=np.nan),
                   weight_N=np.pad(credit.weight_N, (0, new)))  # fmt: skip


@contextmanager
def kept_for(out: str, made_from: Mapping[str, Any]) -> Iterator[str]:
    """OUT.partial-sample, emptied unless it was made from the same, removed when the block ends without an error.

    Raises ValueError at once for an `out` that cannot be written.
    """
    folder = beside(out, ".partial-sample")
    note, text = folder / "made_from.json", json.dumps(made_from, sort_keys=True, default=str)
    if not (note.is_file() and note.read_text(encoding="utf-8") == text):
        _clear(folder)
    folder.mkdir(exist_ok=True)
    note.write_text(text, encoding="utf-8")
    done = False
    try:
        yield str(folder)
        done = True
    finally:
        if done or not any(folder.glob("*.jsonl")):
            _clear(folder)


def files_of(name: str | None) -> list[tuple[str, int, int]]:
    """Name, size and time of a file, or of each in a folder: whether it is still the one it was; none for neither."""
    place = Path(name or "").expanduser()
    if name is None or not place.exists():
        return []
    files = sorted(each for each in place.rglob("*") if each.is_file()) if place.is_dir() else [place]
    found = [(each, each.stat()) for each in files]
    return [(each.relative_to(place).as_posix(), about.st_size, about.st_mtime_ns) for each, about in found]


def _clear(folder: Path) -> None:
    for made in [*folder.glob("*-*.jsonl"), folder / "made_from.json"]:
        made.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or it holds what is not ours
        folder.rmdir()
