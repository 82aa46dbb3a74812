"""What `stepcredit credit --write_as advantages` writes: an attempt a row, its text, and what every step of it is worth.

    text = (step + step_end) * S            step n: text[start:end], advantage A_n, weight w_n            A_t = A_n w_n

The rules are those of `train/policy_samples`, by which a trainer of ours trains: a reward is an advantage before it is
written, what the policy did not write is never trained, a step that attempts share is trained in the first row that holds
it, and a step that was sampled behind another text than its path (`Step.context`) opens a row, with that text as its prompt.
So an attempt has one row, `part` 0, and one more for each such step after its first. Null is never assigned, 0 assigned 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepcredit.core.log_ratios import encode
from stepcredit.core.types import Record, Tree
from stepcredit.data._sources import Place, sources_of
from stepcredit.train.policy_samples import Rules, _Row, _segments, _weight, without_signal
from stepcredit.train.step_advantages import step_advantages

if TYPE_CHECKING:
    import pyarrow

KINDS = ("advantage", "reward")


def rows(record: Record, name: str, rules: Rules, tokenizer: Any = None, *, as_json: bool = False) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of a record by its credit of this name, with tokens where a tokenizer is given.

    `as_json` writes what has no fixed columns (messages, source) as JSON text, as Parquet needs it.
    Raises ValueError for a credit that is no advantage or reward.
    """
    tree, credit = record.tree, record.credits[name]
    advantage_N = step_advantages(tree, credit, returns=rules.returns)
    weight_N = _weight(tree, credit, rules.shared)
    total_N = advantage_N * weight_N
    sources = sources_of(record) or [{} for _ in tree.leaves]
    trained: set[int] = set()
    for attempt, (leaf, source) in enumerate(zip(tree.leaves, sources, strict=True)):
        path = tree.path(leaf)
        place_of = _places(path, source)
        for part, (prompt, nodes, ratio) in enumerate(_segments(tree, path, rules)):
            new = [
                node
                for node in nodes
                if tree.steps[node].sampled and not np.isnan(advantage_N[node]) and node not in trained
            ]
            trained.update(new)
            values = tuple((tree.steps[node], float(total_N[node]) if node in new else np.nan) for node in nodes)
            text, spans = _text(tree, nodes, rules.delimiter)
            steps = [
                {"start": start, "end": end, "kind": tree.steps[node].kind, "sampled": tree.steps[node].sampled,
                 "trained": node in new, "advantage": _number(advantage_N[node]), "weight": float(weight_N[node]),
                 "reward": _number(credit.values_N[node]) if credit.kind == "reward" else None, "node": node,
                 "message": place_of[node][0], "call": place_of[node][1]}
                for node, (start, end) in zip(nodes, spans, strict=True)
            ]  # fmt: skip
            yield {
                "problem_id": tree.problem.id, "attempt": attempt, "part": part, "prompt": prompt, "text": text,
                "steps": steps, **_outcome(tree, leaf), "credit": name, "kind": credit.kind, "ratio": ratio,
                "messages": _open(source.get("messages"), as_json),
                "source": _open({key: each for key, each in source.items() if key not in ("messages", "places")} or None, as_json),
                **({} if tokenizer is None else _tokens(_Row(prompt, values, rules, ratio, tree.problem.id), tokenizer)),
            }  # fmt: skip


def write(out: str, records: Iterable[Record], name: str, rules: Rules, tokenizer: str | None) -> str:
    """Write the rows of all records, streaming, by the name of `out`; returns what is said at the end."""
    from stepcredit.data._rows import kind_of
    from stepcredit.data._sink import write_rows

    loaded = None
    if tokenizer is not None:
        from stepcredit.train._tokenizer import load

        loaded = load(tokenizer)
    parquet = kind_of(Path(out)) == "parquet"
    silent, known = 0, 0

    def written() -> Iterator[dict[str, Any]]:
        nonlocal silent, known
        for record in records:
            num_silent, num_known = without_signal([record.tree], [record.credits[name]], rules.returns)
            silent, known = silent + num_silent, known + num_known
            yield from rows(record, name, rules, loaded, as_json=parquet)

    num = write_rows(Path(out), written(), schema(loaded is not None) if parquet else None)
    return f"; {num} rows, {silent} of {known} groups without any signal"


def schema(tokens: bool) -> pyarrow.Schema:
    """Columns of the Parquet file; the last four with a tokenizer only."""
    import pyarrow as pa

    text, real, whole, flag = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    step = pa.struct([("start", whole), ("end", whole), ("kind", text), ("sampled", flag), ("trained", flag), ("advantage", real),
                      ("weight", real), ("reward", real), ("node", whole), ("message", whole), ("call", whole)])  # fmt: skip
    columns = [("problem_id", text), ("attempt", whole), ("part", whole), ("prompt", text), ("text", text),
               ("steps", pa.list_(step)), ("reward", real), ("correct", flag), ("status", text), ("credit", text),
               ("kind", text), ("ratio", text), ("messages", text), ("source", text)]  # fmt: skip
    more = [("token_ids", pa.list_(whole)), ("loss_mask", pa.list_(flag)), ("token_advantages", pa.list_(real)),
            ("old_logprobs", pa.list_(real))]  # fmt: skip
    return pa.schema([*columns, *(more if tokens else [])])


def _text(tree: Tree, nodes: Sequence[int], step_end: str) -> tuple[str, list[tuple[int, int]]]:
    """The steps' texts, each closed by `step_end`, and the characters [start, end) of each without it."""
    pieces, spans, start = [], [], 0
    for node in nodes:
        piece = tree.steps[node].text
        pieces.append(piece + step_end)
        spans.append((start, start + len(piece)))
        start += len(pieces[-1])
    return "".join(pieces), spans


def _tokens(row: _Row, tokenizer: Any) -> dict[str, Any]:
    """Prompt and steps in tokens, as our own trainer has them."""
    pieces = row.pieces()
    plain = dict(zip(pieces, tokenizer(pieces, add_special_tokens=False, verbose=False)["input_ids"], strict=True)) if pieces else {}  # fmt: skip
    sample = row.sample(encode(tokenizer, [row.prompt])[0], plain)
    assert sample.advantage_T is not None and sample.old_logprob_T is not None
    return {"token_ids": sample.token_ids_T.tolist(), "loss_mask": sample.loss_mask_T.tolist(),
            "token_advantages": sample.advantage_T.tolist(), "old_logprobs": [_number(each) for each in sample.old_logprob_T]}  # fmt: skip


def _places(path: Sequence[int], source: Mapping[str, Any]) -> dict[int, Place]:
    """[message, call] of each node, [null, null] where the file did not say."""
    given = source.get("places")
    if not isinstance(given, Sequence) or len(given) != len(path):
        given = [[None, None]] * len(path)
    return dict(zip(path, given, strict=True))


def _outcome(tree: Tree, leaf: int) -> dict[str, Any]:
    outcome = tree.outcomes[leaf]
    if outcome is None:
        return {"reward": None, "correct": None, "status": None}
    return {"reward": _number(outcome.reward), "correct": outcome.correct, "status": outcome.status}


def _open(value: Any, as_json: bool) -> Any:
    from stepcredit.data._sink import to_json

    return to_json(value, "a source").decode() if as_json and value is not None else value


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def check_kind(method: str, kind: str | None, others: Sequence[str]) -> None:
    """Raise ValueError, saying what to do, for a method whose credit no policy is trained by."""
    if kind is None or kind in KINDS:
        return
    instead = {
        "value": "turn it into an advantage from Python (credit/_transforms.value_to_advantage) or into labels for a judge "
        "(--method relative_progress)",
        "label": "teach a judge with it (stepcredit train --credit) or write it with --write_as stepwise",
    }
    raise ValueError(f"{method} puts a {kind} on steps, and a policy is trained by an advantage or a reward: {instead[kind]}, "
                     f"or take a method that gives one: {', '.join(others)}")  # fmt: skip
