"""Attempts of a small policy for `recipes/first_mistakes`: errors that nobody wrote.

    demonstrations without a slip -> language model from scratch (`train/tiny`) -> its attempts at new problems -> outcomes

The writer shows how a trace is written, never how one goes wrong: every error is the policy's own, at temperature 1. The
task's verifier decides the outcome; an attempt cut off by its length has none and teaches nothing. The oracle's labels
are attached as "truth", for measurements and the oracle arm alone. Model and attempts are cached by content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from stepcredit.core import registry
from stepcredit.core.protocols import Rng, Task
from stepcredit.core.rng import rng
from stepcredit.core.types import Cost, Problem, Record, Step
from stepcredit.data import read, write
from stepcredit.recipes._mistakes import Kind, finished
from stepcredit.recipes._pools import text_of

LINE_END = "\n"


def policy_attempts(
    num: int, kind: Kind, *, share: float, avoid: Collection[str], seed: int, cache: Path
) -> tuple[list[Record], Cost, int]:
    """`num` attempts, one a problem, of a policy taught on `share` of the kind's demonstrations and updates.

    With what they cost, and the policy's number of parameters.

    Problems whose prompt is in `avoid` are neither shown nor tried; those shown are not tried. Cached under `cache`:
    the cost is that of making them, whenever it was. Deterministic in `seed`, up to the processor's arithmetic.
    """
    school = kind.school
    task: Task = registry.get("tasks", kind.task).function(**{**kind.knobs, **school.knobs})
    draw = rng(seed, kind.task, "demonstrations")
    shown = _problems(task, max(40, int(share * school.num_demonstrations)), avoid, draw)
    texts = [text_of(p, [Step(line) for line in kind.attempt(p.prompt, draw, slip_share=0.0)], LINE_END) for p in shown]
    from stepcredit.train.tiny import train_language_model

    folder = train_language_model(
        texts,
        cache,
        hidden=school.hidden,
        num_updates=max(10, int(share * school.num_updates)),
        seed=seed,
        progress=False,
    )
    tried = _problems(task, num, {*avoid, *(p.prompt for p in shown)}, rng(seed, kind.task, "tried"))
    key = hashlib.sha256("\0".join([*(p.prompt for p in tried), str(school.max_new_tokens)]).encode()).hexdigest()[:12]
    saved = folder.parent / f"attempts-{folder.name.removeprefix('lm-')}-{key}.jsonl.gz"
    if not saved.is_file():
        write(saved, _sampled(folder, tried, task, school.max_new_tokens, seed))
    records = list(read(saved))
    made = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    cost = sum((record.tree.cost for record in records), Cost(seconds=made["seconds"]))
    return records, cost, int(made["num_parameters"])


def _problems(task: Task, num: int, avoid: Collection[str], draw: Rng) -> list[Problem]:
    found: dict[str, Problem] = {}
    while len(found) < num:
        for problem in task.problems(num - len(found), draw):
            if problem.prompt not in avoid:
                found.setdefault(problem.prompt, problem)
    return list(found.values())


def _sampled(folder: Path, problems: list[Problem], task: Task, max_new_tokens: int, seed: int) -> list[Record]:
    """One attempt a problem with its outcome, the oracle's labels, and what it cost."""
    from stepcredit.policy.hf import hf
    from stepcredit.rollout.chains import chains

    policy: Any = hf(str(folder), batch_size=256)
    trees = chains(
        problems, policy=policy, rng=rng(seed, task.name, "attempts"), num=1, delimiter=LINE_END,
        max_new_tokens=max_new_tokens,
    )  # fmt: skip
    found = []
    for tree in trees:
        leaf = tree.leaves[0]
        steps = [Step(step.text) for step in tree.solution(leaf)]
        found.append(finished(task, tree.problem, steps, cut=tree.outcomes[leaf], cost=tree.cost))
    return found
