"""PRM800K: human ratings of steps, in the original nested schema or flat (`problem`, `steps`, `labels`).

Nested: `label.steps[].completions[].{text, rating}` with rating 1, 0, -1 or null. A row becomes a tree: every
completion is a sampled node under the chosen step before it; a human-written replacement is a node with `sampled=False`.
Flat: labels "positive", "neutral", "negative" or null, one chain a row.

What *neutral* means is an explicit choice: OpenAI counts it as right, TRL's script as wrong, "unknown" leaves it out.
No outcome is recorded: the annotation stops at the first bad step, and comparing answer texts is a verifier's work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

from stepcredit.core.tree import prompt_step
from stepcredit.core.types import Problem, Record, Step, Tree
from stepcredit.data._fields import Fields
from stepcredit.data._record import TRUTH, as_steps, chain, identity, label_credit

Neutral = Literal["right", "wrong", "unknown"]
REQUIRED = {
    "neutral": "the publishers count a neutral rating as right, TRL's script counts it as wrong, and unknown leaves it out"
}
MEANING = {"right": 1.0, "wrong": 0.0, "unknown": math.nan}
RATINGS = "1, 0, -1, or null where nobody rated"
WORDS = "positive, neutral, negative, or null where nobody rated"
FLAT = ("problem_id", "problem", "steps", "labels")


def matches(row: dict[str, Any]) -> bool:
    """Nested `question` and `label`, or flat steps with word labels and no `correct`."""
    nested = isinstance(row.get("question"), dict) and isinstance(row.get("label"), dict)
    return nested or ({"problem", "steps", "labels"} <= row.keys() and "correct" not in row)


def parse(fields: Fields, *, neutral: Neutral, labels: str = TRUTH) -> Iterator[Record]:
    """One Record a row."""
    yield (
        _nested(fields, MEANING[neutral], labels) if fields.has("question") else _flat(fields, MEANING[neutral], labels)
    )


def _flat(fields: Fields, neutral: float, labels: str) -> Record:
    prompt, texts = fields.text("problem"), fields.texts("steps")
    given = fields.items("labels", f"a list, each entry {WORDS}")
    if len(given) != len(texts):
        fields.fail("labels", given, f"one label per step: {len(texts)} steps, got {len(given)} labels")
    meaning = {"positive": 1.0, "neutral": neutral, "negative": 0.0, None: math.nan}
    for index, word in enumerate(given):
        if word is not None and (not isinstance(word, str) or word not in meaning):
            fields.fail(f"labels[{index}]", word, WORDS)
    problem = Problem(identity(fields, prompt, "problem_id"), prompt, meta=fields.rest(*FLAT))
    return chain(problem, as_steps(texts), None, [meaning[word] for word in given], labels)


def _nested(fields: Fields, neutral: float, labels: str) -> Record:
    question, label = fields.child("question"), fields.child("label")
    prompt = question.text("problem")
    meta = fields.rest("question", "label") | question.rest("problem", "ground_truth_answer") | label.rest("steps")
    problem = Problem(
        identity(question, prompt, "problem_id"), prompt, question.values.get("ground_truth_answer"), meta=meta
    )
    nodes: list[Step] = [prompt_step(problem)]
    parents, values, last = [-1], [math.nan], 0
    for step in label.children("steps"):
        first = len(nodes)
        completions = step.children("completions", empty=True) if step.has("completions") else []
        for completion in completions:
            nodes.append(Step(completion.text("text")))
            parents.append(last)
            values.append(_rating(completion, neutral))
        human = step.child("human_completion").text("text") if isinstance(step.values.get("human_completion"), dict) else step.optional_text("human_completion")  # fmt: skip
        chosen = step.integer("chosen_completion", 0, len(completions) - 1) if step.has("chosen_completion") else None
        if human is not None and chosen is None:
            nodes.append(Step(human, sampled=False))
            parents.append(last)
            values.append(math.nan)
            last = len(nodes) - 1
        elif chosen is not None:
            last = first + chosen
        elif len(completions) == 1:  # the annotation stops here, or goes on from the only completion
            last = first
    if not any(node.sampled for node in nodes):
        label.fail("steps", label.values["steps"], "at least one step with a completion")
    tree = Tree(problem, tuple(nodes), parents, (None,) * len(nodes))  # type: ignore[arg-type]  # made an array
    return Record(tree, {labels: label_credit(values)})


def _rating(completion: Fields, neutral: float) -> float:
    rating = completion.values.get("rating")
    if rating is None:
        return math.nan
    if isinstance(rating, bool) or rating not in (1, 0, -1):
        completion.fail("rating", rating, RATINGS)
    return {1: 1.0, 0: neutral, -1: 0.0}[int(rating)]
