"""`stepcredit credit`: a method's numbers on every step, kept in the file under the method's name."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from stepcredit.commands import _advantages
from stepcredit.commands._parser import Group, peek, unescaped
from stepcredit.commands._reading import Reading, as_taught, hint_ids, records
from stepcredit.commands._starts import Start, starts, undivided
from stepcredit.core import registry
from stepcredit.core.registry import Entry
from stepcredit.core.types import NO_ANSWER, Credit, OutcomeStatus, Record, Tree
from stepcredit.train.policy_samples import Rules, Spread

TRUTH = "truth"
JUDGED = "judgments"  # as the name of a Credit resource: the step scores of the file's judgments
WRONG = ",".join(NO_ANSWER)  # as `train/grpo.Settings.wrong`
PROVIDED = {"Judge", "Rng", "Credit", "Sequence[Credit]"}  # resources that a command can give a method
CHUNK = 32  # records in memory, for methods that look at one tree at a time


def groups(arguments: list[str]) -> list[Group]:
    """The method's knobs."""
    method = peek(arguments, "method")
    return [] if method is None else [Group.of("credit", registry.get("credit", method))]


def notes() -> str:
    """Which methods do not stream."""
    whole = [entry.name for entry in registry.entries("credit") if not is_per_tree(entry)]
    return f"These methods learn from all attempts at once and hold the whole file in memory: {', '.join(whole)}."


def run(  # noqa: D417  # the parser fills in what is not described
    input: str,
    out: str,
    *,
    method: str,
    name: str | None = None,
    judge: str | None = None,
    source: str | None = None,
    group: bool = True,
    write_as: Literal["native", "stepwise", "advantages"] = "native",
    tokenizer: str | None = None,
    spread: Spread = "same",
    prompt_end: str = "\n",
    step_end: str = "\n",
    wrong: str = WRONG,
    seed: int = 0,
    threads: int | None = None,
    reading: Reading,
    knobs: Mapping[str, Mapping[str, Any]],
) -> None:
    r"""Put credit on the steps of attempts, and write the records with it.

    The method's knobs are options --credit.<knob>; `stepcredit list credit` names the methods. A method that looks
    at one problem at a time streams: it holds a problem's attempts from the first to the last of them in the file, which
    is read twice for that.

    Args:
        input: The file of attempts.
        out: The file to write, JSON lines or Parquet by its name.
        method: The credit method.
        name: Name of the credit in the file; the method's when not given.
        judge: Folder of a scorer, for methods that need a judge.
        source: For methods that need another credit, its name in the file; "judgments" reads the step scores of the
            file's judgments. When not given, the credit is named as the method asks for it ("truth" for the oracle).
        group: Join the attempts of each problem first, as methods that compare them need.
        write_as: stepwise writes what TRL reads, prompt, completions and labels, an attempt a row: labels are this credit,
            null where it has none; the methods' weights, other credits and judgments are left behind. advantages writes
            what a policy trainer needs, an attempt a row: its text, the characters and the advantage of every step.
        tokenizer: With --write_as advantages, the folder of a tokenizer: rows get token ids, loss mask, token advantages.
        spread: Whether all tokens of a step carry its advantage (same), which is the policy gradient, or share it evenly
            (split) or by their surprise, which needs the log-probabilities they were sampled with.
        prompt_end: With --write_as advantages, what stands between prompt and first step; \n and \t may be typed.
        step_end: What closes every step there.
        wrong: Statuses of outcomes that count as wrong answers there, reward 0, with commas between them, as train/grpo has
            it; none for none: such attempts then take no part.
        seed: For methods that draw.
        threads: Processor threads for the judge (all when not given).
    """
    from stepcredit.commands._steps import Steps
    from stepcredit.data import write

    entry = registry.get("credit", method)
    _check(input, out, write_as, entry, name=name, judge=judge, source=source)
    if write_as == "advantages":
        _advantages.check_kind(method, entry.properties.get("kind"), _trains())
        if spread != "same" and tokenizer is None:
            raise ValueError(f"--spread {spread} says what the tokens of a step carry: it needs --tokenizer FOLDER")
    else:
        given = {
            "tokenizer": tokenizer,
            "spread": spread,
            "prompt_end": prompt_end,
            "step_end": step_end,
            "wrong": wrong,
        }
        _refuse(write_as, given)
    if judge is not None:
        reading = as_taught(input, reading, judge)
    shared = {each: _resource(each, what, entry, judge, seed, threads) for each, what in entry.resources.items()
              if what not in ("Credit", "Sequence[Credit]")}  # fmt: skip
    other = [each for each in entry.resources if each not in shared]
    key, seen, num = name or method, Steps(), 0
    as_rows, statuses, numbers = write_as == "advantages", _statuses(wrong), itertools.count()

    def credited() -> Iterator[Start]:
        nonlocal num
        for given in _batches(input, reading, entry, group):
            numbered = [(num + place, start) for place, record in enumerate(given, start=1)
                        for start in (starts(record, statuses) if as_rows else [undivided(record)])]  # fmt: skip
            num += len(given)
            named = {each: [_credit(number, start.record, source or each, entry) for number, start in numbered]
                     for each in other}  # fmt: skip
            credits = registry.bind("credit", method, **shared, **named, **knobs.get("credit", {}))(
                [start.record.tree for _, start in numbered]
            )
            for (_, start), credit in zip(numbered, credits, strict=True):
                seen.add(start.record, credit)
                own = replace(start.record, credits={**start.record.credits, key: credit})
                yield replace(start, record=own, number=next(numbers))

    if as_rows:
        rules = Rules(spread=spread, prompt_end=unescaped(prompt_end), delimiter=unescaped(step_end))
        said = _advantages.write(out, credited(), key, rules, tokenizer, joined=group)
    else:
        found = (start.record for start in credited())
        write(out, found, format=write_as, **({"credit": key} if write_as == "stepwise" else {}))
        said = ""
    print(f"wrote {out}: {key} {replace(seen, num_records=num).line()}{said}")


def _check(input: str, out: str, write_as: str, entry: Entry, *, name: str | None, judge: str | None, source: str | None) -> None:  # fmt: skip
    """Raise ValueError for an option that the method has no use for, and for files that would be lost."""
    if write_as != "native" and Path(input).exists() and Path(out).exists() and Path(input).samefile(out):
        raise ValueError(f"{out} is the input, and {write_as} leaves most of it behind; name another file to write")
    if name == TRUTH:
        raise ValueError(
            f"--name {TRUTH}: the name is kept for recorded step truth, which is measured against; take another"
        )
    needed = entry.resources.values()
    if judge is not None and "Judge" not in needed:
        raise ValueError(f"--judge {judge}: {entry.name} needs no judge; leave it out")
    if source is not None and not {"Credit", "Sequence[Credit]"} & set(needed):
        raise ValueError(f"--source {source}: {entry.name} needs no other credit; leave it out")


def _refuse(write_as: str, given: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of rows of advantages where none are written."""
    for name, value in given.items():
        if value != inspect.signature(run).parameters[name].default:
            raise ValueError(f"--{name} goes with --write_as advantages; this writes {write_as}")


def _statuses(wrong: str) -> tuple[OutcomeStatus, ...]:
    """The statuses of --wrong. Raises ValueError for one there is not, and for one that has a reward of its own."""
    allowed = [each for each in get_args(OutcomeStatus) if each != "scored"]
    found = [] if wrong.strip() == "none" else [each.strip() for each in wrong.split(",")]
    if unknown := [each for each in found if each not in allowed]:
        raise ValueError(
            f"--wrong has {unknown[0]!r}; allowed: {', '.join(allowed)}, with commas between them, or none"
        )
    return tuple(found)  # type: ignore[arg-type]


def _trains() -> list[str]:
    """The methods whose credit a policy is trained by, and that need nothing no file provides."""
    return [each.name for each in registry.entries("credit") if each.properties.get("kind") in _advantages.KINDS
            and set(each.resources.values()) <= PROVIDED]  # fmt: skip


def is_per_tree(entry: Entry) -> bool:
    """Whether a method looks at one tree at a time: its first argument is a Tree."""
    first = next(iter(inspect.signature(entry.function).parameters.values()))
    return first.annotation in ("Tree", Tree)


def _batches(source: str, reading: Reading, entry: Entry, group: bool) -> Iterator[list[Record]]:
    """The records a method is given at once: all, or a few where it looks at one tree at a time."""
    from stepcredit.commands import _show
    from stepcredit.commands._joined import joined, starts_at_prompt
    from stepcredit.data import group as all_joined

    if is_per_tree(entry):
        found = joined(source, reading) if group else _show.progress(records(source, reading), "reading")
        while batch := list(itertools.islice(found, CHUNK)):
            yield batch
        return
    given = list(_show.progress(records(source, reading), "reading"))
    hint_ids((record.tree.problem.id, record.tree.problem.prompt) for record in given if starts_at_prompt(record))
    yield all_joined(given) if group else given


def _resource(name: str, what: str, entry: Entry, judge: str | None, seed: int, threads: int | None) -> Any:
    if what == "Judge":
        if judge is None:
            raise ValueError(f"{entry.name} needs a judge: give --judge FOLDER, a trained scorer")
        from stepcredit.commands import _scorer

        return _scorer.load(judge, threads=threads)
    if what == "Rng":
        from stepcredit.core.rng import rng

        return rng(seed, entry.name)
    raise ValueError(f"{entry.name} needs a {what}, which no file provides: call it from Python")


def _credit(number: int, record: Record, name: str, entry: Entry) -> Credit:
    where = f"record {number} (problem {record.tree.problem.id!r})"
    if name == JUDGED and name not in record.credits:
        if not record.judgments:
            raise ValueError(f"{where} has no judgments: score the file first")
        return _judged(record)
    if name not in record.credits:
        have = ", ".join(record.credits) or "none"
        raise ValueError(f"{entry.name} needs a credit, and {where} has no {name!r}; it has: {have}; name one with --source, "
                         f"or take the judgments' step scores with --source {JUDGED}")  # fmt: skip
    return record.credits[name]


def _judged(record: Record) -> Credit:
    """Step scores as a value credit; a step that attempts share has the mean of its scores."""
    tree = record.tree
    sum_N, num_N = np.zeros(tree.num_nodes), np.zeros(tree.num_nodes)
    for leaf, judgment in zip(tree.leaves, record.judgments, strict=True):
        nodes = np.array([node for node in tree.path(leaf) if tree.steps[node].sampled], dtype=np.int64)
        if judgment.status == "scored" and len(nodes) == judgment.step_scores_S.size:
            known_S = ~np.isnan(judgment.step_scores_S)
            sum_N[nodes[known_S]] += judgment.step_scores_S[known_S]
            num_N[nodes[known_S]] += 1
    return Credit(np.where(num_N > 0, sum_N / np.maximum(num_N, 1), np.nan), "value", (num_N > 0).astype(float), JUDGED)
