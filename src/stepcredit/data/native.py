"""The native format: a Record whole (tree, credits, judgments), exactly, as JSON lines or Parquet.

JSON has no NaN: a number that is NaN is written as null and read back as NaN, an infinity as "inf" or "-inf". Parquet
holds them itself; there, answer and metadata are columns of JSON text. Fields that hold their default are left out.
What is exact: every field of every type in `core/types`, with these words on `answer` and `meta`, which hold JSON values:
tuples come back as lists, and NaN in them is refused. Array cells keep their bits (JSON writes the shortest exact form).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np

from stepcredit.core.types import (
    Cost,
    Credit,
    CreditKind,
    Judgment,
    JudgmentStatus,
    Outcome,
    OutcomeStatus,
    Problem,
    Record,
    Step,
    StepKind,
    Tree,
)
from stepcredit.data._fields import Fields
from stepcredit.data._native_rows import VERSION, parquet_rows, parquet_schema, rows

__all__ = ["matches", "parquet_rows", "parquet_schema", "parse", "rows"]

FLOAT = "a number, null for NaN, 'inf' or '-inf'"


def matches(row: dict[str, Any]) -> bool:
    """A row that carries our version number."""
    return "stepcredit" in row


def parse(fields: Fields) -> Iterator[Record]:
    """One Record a row."""
    fields.integer("stepcredit", VERSION, VERSION)
    steps = [_step(each) for each in fields.children("steps")]
    outcomes = [
        None if each is None else _outcome(Fields(each, f"outcomes[{n}]."))
        for n, each in enumerate(_objects(fields, "outcomes"))
    ]
    tree = Tree(
        _problem(fields.child("problem")),
        tuple(steps),
        np.array(_ints(fields, "parent"), dtype=np.int64),
        tuple(outcomes),
        np.array(_ints(fields, "visits"), dtype=np.int64) if fields.has("visits") else None,
        np.array(_ints(fields, "group"), dtype=np.int64) if fields.has("group") else None,
        _cost(fields),
    )
    credits = {each.text("name", blank=True): _credit(each) for each in _optional(fields, "credits")}
    yield Record(tree, credits, tuple(_judgment(each) for each in _optional(fields, "judgments")))


def _problem(fields: Fields) -> Problem:
    if fields.has("meta_json") or fields.has("answer_json"):
        answer, meta = (_loads(fields, name) for name in ("answer_json", "meta_json"))
    else:
        answer, meta = fields.values.get("answer"), fields.values.get("meta")
    if meta is not None and not isinstance(meta, dict):
        fields.fail("meta", meta, "an object")
    reference = tuple(_strings(fields, "reference")) if fields.has("reference") else None
    return Problem(fields.text("id", blank=True), fields.text("prompt", blank=True), answer, reference, meta or {})


def _loads(fields: Fields, name: str) -> Any:
    text = fields.text(name)
    try:
        return json.loads(text)
    except ValueError:
        fields.fail(name, text, "JSON text")


def _step(fields: Fields) -> Step:
    return Step(
        fields.text("text", blank=True),
        _choice(fields, "kind", "reason", StepKind),
        fields.flag("sampled") is not False if fields.has("sampled") else True,
        tuple(_ints(fields, "token_ids")) if fields.has("token_ids") else None,
        tuple(_floats(fields, "logprobs")) if fields.has("logprobs") else None,
        fields.optional_text("context"),
    )


def _outcome(fields: Fields) -> Outcome:
    return Outcome(
        _float(fields, "reward", fields.values.get("reward")),
        fields.flag("correct") if fields.has("correct") else None,
        fields.flag("well_formed") if fields.has("well_formed") else None,
        fields.optional_text("answer"),
        _choice(fields, "status", "scored", OutcomeStatus),
        fields.optional_text("verifier") or "",
    )


def _credit(fields: Fields) -> Credit:
    kind = _choice(fields, "kind", None, CreditKind)
    values, weights = (np.array(_floats(fields, name), dtype=np.float64) for name in ("values", "weights"))
    return Credit(values, kind, weights, fields.text("method", blank=True), _cost(fields))


def _judgment(fields: Fields) -> Judgment:
    channels, parts = (fields.child(name) if fields.has(name) else Fields({}) for name in ("channels", "parts"))
    return Judgment(
        _float(fields, "score", fields.values.get("score")),
        np.array(_floats(fields, "step_scores"), dtype=np.float64),
        {name: np.array(_floats(channels, name), dtype=np.float64) for name in channels.values},
        {name: _float(parts, name, value) for name, value in parts.values.items()},
        fields.optional_text("critique"),
        _choice(fields, "status", "scored", JudgmentStatus),
        _cost(fields),
    )


def _cost(fields: Fields) -> Cost:
    if not fields.has("cost"):
        return Cost()
    cost = fields.child("cost")
    names = ("generated_tokens", "forwarded_tokens", "verifier_calls", "judge_calls")
    generated, forwarded, verified, judged = (cost.integer(name, 0, 2**63 - 1) for name in names)
    return Cost(generated, forwarded, verified, judged, _float(cost, "seconds", cost.values.get("seconds")))


def _objects(fields: Fields, name: str) -> list[Any]:
    given = fields.items(name, "a list of objects and nulls")
    for index, each in enumerate(given):
        if each is not None and not isinstance(each, dict):
            fields.fail(f"{name}[{index}]", each, "an object or null")
    return given


def _optional(fields: Fields, name: str) -> list[Fields]:
    return fields.children(name, empty=True) if fields.has(name) else []


def _strings(fields: Fields, name: str) -> list[str]:
    given = fields.items(name, "a list of texts", empty=True)
    for index, each in enumerate(given):
        if not isinstance(each, str):
            fields.fail(f"{name}[{index}]", each, "text")
    return given


def _ints(fields: Fields, name: str) -> list[int]:
    given = fields.items(name, "a list of whole numbers", empty=True)
    if not all(type(each) is int for each in given):
        fields.fail(name, given, "a list of whole numbers")
    return given


def _floats(fields: Fields, name: str) -> list[float]:
    given = fields.items(name, f"a list, each entry {FLOAT}", empty=True)
    return [each if type(each) is float else _float(fields, name, each) for each in given]


def _float(fields: Fields, name: str, given: Any) -> float:
    if given is None:
        return math.nan
    if given in ("inf", "-inf"):
        return float(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        fields.fail(name, given, FLOAT)
    return float(given)


def _choice(fields: Fields, name: str, default: Any, literal: Any) -> Any:
    given = fields.values.get(name)
    if given is None and default is not None:
        return default
    if given not in get_args(literal):
        fields.fail(name, given, ", ".join(get_args(literal)))
    return given
