"""A Record as one row of the native format, for JSON lines and for Parquet; `native.py` says what the fields mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stepcredit.core.types import Cost, Credit, Judgment, Outcome, Record, Step
from stepcredit.data._sink import to_json

if TYPE_CHECKING:
    import pyarrow

VERSION = 1
Number = Callable[[float], Any]


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """One JSON row a Record."""
    yield _row(record, _json_number, {"answer": record.tree.problem.answer, "meta": record.tree.problem.meta or None})


def parquet_rows(record: Record) -> Iterator[dict[str, Any]]:
    """One Parquet row a Record, to fit `parquet_schema`."""
    problem = record.tree.problem
    answer, meta = to_json(problem.answer, "problem.answer").decode(), to_json(problem.meta, "problem.meta").decode()
    yield _row(record, float, {"answer_json": answer, "meta_json": meta})


def parquet_schema() -> pyarrow.Schema:
    """Columns of the native Parquet file."""
    import pyarrow as pa

    text, real, whole, flag = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    cost = pa.struct(
        [(n, whole) for n in ("generated_tokens", "forwarded_tokens", "verifier_calls", "judge_calls")]
        + [("seconds", real)]
    )
    problem = pa.struct(
        [("id", text), ("prompt", text), ("answer_json", text), ("reference", pa.list_(text)), ("meta_json", text)]
    )
    step = pa.struct([("text", text), ("kind", text), ("sampled", flag), ("token_ids", pa.list_(whole)), ("logprobs", pa.list_(real)), ("context", text)])  # fmt: skip
    outcome = pa.struct(
        [
            ("reward", real),
            ("correct", flag),
            ("well_formed", flag),
            ("answer", text),
            ("status", text),
            ("verifier", text),
        ]
    )
    credit = pa.struct(
        [
            ("name", text),
            ("kind", text),
            ("method", text),
            ("values", pa.list_(real)),
            ("weights", pa.list_(real)),
            ("cost", cost),
        ]
    )
    judgment = pa.struct([("score", real), ("step_scores", pa.list_(real)), ("channels", pa.map_(text, pa.list_(real))),
                          ("parts", pa.map_(text, real)), ("critique", text), ("status", text), ("cost", cost)])  # fmt: skip
    return pa.schema([("stepcredit", whole), ("problem", problem), ("steps", pa.list_(step)), ("parent", pa.list_(whole)),
                      ("outcomes", pa.list_(outcome)), ("visits", pa.list_(whole)), ("group", pa.list_(whole)), ("cost", cost),
                      ("credits", pa.list_(credit)), ("judgments", pa.list_(judgment))])  # fmt: skip


def _json_number(value: float) -> Any:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else "inf" if value > 0 else "-inf"


def _row(record: Record, number: Number, json_fields: dict[str, Any]) -> dict[str, Any]:
    tree, problem = record.tree, record.tree.problem
    return _without_none(
        {
            "stepcredit": VERSION,
            "problem": _without_none(
                {"id": problem.id, "prompt": problem.prompt, "reference": _listed(problem.reference), **json_fields}
            ),
            "steps": [_step_row(step, number) for step in tree.steps],
            "parent": tree.parent_N.tolist(),
            "outcomes": [None if each is None else _outcome_row(each, number) for each in tree.outcomes],
            "visits": None if tree.visits_N is None else tree.visits_N.tolist(),
            "group": None if tree.group_N is None else tree.group_N.tolist(),
            "cost": _cost_row(tree.cost, number),
            "credits": [_credit_row(name, credit, number) for name, credit in record.credits.items()] or None,
            "judgments": [_judgment_row(judgment, number) for judgment in record.judgments] or None,
        }
    )


def _step_row(step: Step, number: Number) -> dict[str, Any]:
    return _without_none(
        {
            "text": step.text,
            "kind": None if step.kind == "reason" else step.kind,
            "sampled": None if step.sampled else False,
            "token_ids": _listed(step.token_ids),
            "logprobs": None if step.logprobs is None else [number(float(each)) for each in step.logprobs],
            "context": step.context,
        }
    )


def _outcome_row(outcome: Outcome, number: Number) -> dict[str, Any]:
    return {
        "reward": number(float(outcome.reward)),
        **_without_none({"correct": outcome.correct, "well_formed": outcome.well_formed, "answer": outcome.answer}),
        "status": outcome.status,
        "verifier": outcome.verifier,
    }


def _credit_row(name: str, credit: Credit, number: Number) -> dict[str, Any]:
    return _without_none(
        {
            "name": name,
            "kind": credit.kind,
            "method": credit.method,
            "values": [number(each) for each in credit.values_N.tolist()],
            "weights": credit.weight_N.tolist(),
            "cost": _cost_row(credit.cost, number),
        }
    )


def _judgment_row(judgment: Judgment, number: Number) -> dict[str, Any]:
    channels = {name: [number(each) for each in values.tolist()] for name, values in judgment.channels.items()}
    return _without_none(
        {
            "score": number(float(judgment.score)),
            "step_scores": [number(each) for each in judgment.step_scores_S.tolist()],
            "channels": channels or None,
            "parts": {name: number(float(each)) for name, each in judgment.parts.items()} or None,
            "critique": judgment.critique,
            "status": judgment.status,
            "cost": _cost_row(judgment.cost, number),
        }
    )


def _cost_row(cost: Cost, number: Number) -> dict[str, Any] | None:
    return None if cost == Cost() else {**vars(cost), "seconds": number(cost.seconds)}


def _without_none(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _listed(values: tuple[Any, ...] | None) -> list[Any] | None:
    return None if values is None else list(values)
