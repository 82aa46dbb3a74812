"""What `stepcredit credit --write_as advantages` writes: an attempt a row, its text, and what every step of it is worth.

    text = (step + step_end) * S            step n: text[start:end], advantage A_n, weight w_n            A_t = A_n w_n

The rules are those of `train/policy_samples`, by which a trainer of ours trains: a reward is an advantage before it is
written, what the policy did not write is never trained, a step that attempts share is trained in the first row that holds
it, and a step that was sampled behind another text than its path (`Step.context`) opens a row, with that text as its prompt.
So an attempt has one row, `part` 0, and one more for each such step after its first. Null is never assigned, 0 assigned 0.
Attempts are compared as there, too: with those of the same start alone, and with what was cut off as wrong (`_starts`).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepcredit.commands._starts import Start
from stepcredit.core.log_ratios import encode
from stepcredit.core.types import NO_ANSWER, Record
from stepcredit.data._sources import Place, sources_of
from stepcredit.train import policy_samples
from stepcredit.train.policy_samples import Row, Rules, weights, without_signal
from stepcredit.train.step_advantages import step_advantages

if TYPE_CHECKING:
    import pyarrow

KINDS = ("advantage", "reward")


def rows(start: Start, name: str, rules: Rules, tokenizer: Any = None, *, as_json: bool = False) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of the attempts of a start by their credit of this name, with tokens where a tokenizer is given.

    `as_json` writes what has no fixed columns (messages, source) as JSON text, as Parquet needs it.
    Raises ValueError for a credit that is no advantage or reward.
    """
    tree, credit = start.record.tree, start.record.credits[name]
    advantage_N = step_advantages(tree, credit, returns=rules.returns)
    weight_N = weights(tree, credit, rules.shared)
    sources = sources_of(start.whole) or [{} for _ in start.whole.tree.leaves]
    attempt_of = dict(zip(tree.leaves, start.attempts, strict=True))
    found = policy_samples.rows(tree, credit, rules)
    for leaf, parts in itertools.groupby(found, lambda row: row.leaf):
        attempt = attempt_of[leaf]
        place_of = _places(tree.path(leaf), sources[attempt])
        for part, row in enumerate(parts):
            text, spans = _text(row)
            steps = [
                {"start": first, "end": end, "kind": step.kind, "sampled": step.sampled, "trained": not np.isnan(value),
                 "advantage": _number(advantage_N[node]), "weight": float(weight_N[node]),
                 "reward": _number(credit.values_N[node]) if credit.kind == "reward" else None, "node": start.nodes[node],
                 "message": place_of[node][0], "call": place_of[node][1]}
                for node, step, value, (first, end) in zip(row.nodes, row.steps, row.advantage_S, spans, strict=True)
            ]  # fmt: skip
            source = sources[attempt]
            yield {
                "problem_id": tree.problem.id, "group": start.number, "attempt": attempt, "part": part, "prompt": row.prompt,
                "text": text, "steps": steps, **_outcome(start, leaf, attempt), "credit": name, "kind": credit.kind,
                "ratio": row.ratio, "messages": _open(source.get("messages"), as_json),
                "source": _open({key: each for key, each in source.items() if key not in ("messages", "places")} or None, as_json),
                **({} if tokenizer is None else _tokens(row, tokenizer)),
            }  # fmt: skip


def write(
    out: str, starts: Iterable[Start], name: str, rules: Rules, tokenizer: str | None, *, joined: bool = True
) -> str:
    """Write the rows of all starts, streaming, by the name of `out`; returns what is said at the end.

    `joined`: whether the attempts of a problem were put together, which the hint about groups of one says.
    Raises ValueError, and writes nothing, where no step of any attempt has an advantage.
    """
    from stepcredit.data._rows import kind_of
    from stepcredit.data._sink import write_rows

    loaded = None
    if tokenizer is not None:
        from stepcredit.train._tokenizer import load

        loaded = load(tokenizer)
    parquet = kind_of(Path(out)) == "parquet"
    counts = _Counts()

    def written() -> Iterator[dict[str, Any]]:
        for start in starts:
            counts.add(start.record, name, rules)
            yield from rows(start, name, rules, loaded, as_json=parquet)
        if not counts.num_known:
            raise ValueError(f"there is nothing to train by: {name} is on no step, and {counts.num_scored} of {counts.num_attempts} "
                             f"attempts have an outcome{counts.remedy()}")  # fmt: skip

    num = write_rows(Path(out), written(), schema(loaded is not None) if parquet else None)
    if 2 * counts.num_single > counts.num_groups:
        why = "of one problem id and prompt" if joined else "of one row of the input, as --group is false,"
        print(f"stepcredit: hint: {counts.num_single} of {counts.num_groups} groups are a single attempt, with nothing to compare it "
              f"with; a group is the attempts {why} that begin with the same given steps", file=sys.stderr)  # fmt: skip
    return f"; {num} rows, {counts.num_silent} of {counts.num_known} groups without any signal"


@dataclass
class _Counts:
    """Groups and attempts, counted while their rows stream by; known: with an advantage anywhere, silent: 0 everywhere."""

    num_groups: int = 0
    num_known: int = 0
    num_silent: int = 0
    num_single: int = 0
    num_attempts: int = 0
    num_scored: int = 0
    cut: set[str] = field(default_factory=set)  # statuses of what a verifier will not decide

    def add(self, record: Record, name: str, rules: Rules) -> None:
        """Count a group."""
        silent, known = without_signal([record.tree], [record.credits[name]], rules.returns)
        leaves = list(record.tree.leaves)
        self.num_groups += 1
        self.num_known += known
        self.num_silent += silent
        self.num_single += len(leaves) == 1
        self.num_attempts += len(leaves)
        self.num_scored += int(np.isfinite(record.tree.reward_N[leaves]).sum())
        met = {outcome.status for leaf in leaves if (outcome := record.tree.outcomes[leaf]) is not None}
        self.cut |= met & set(NO_ANSWER)

    def remedy(self) -> str:
        """What to do where nothing is scored."""
        if self.num_scored:
            return ""
        if self.cut:
            return f" ({' and '.join(sorted(self.cut))} attempts take no part; --wrong {','.join(sorted(self.cut))} calls them wrong)"
        return " (stepcredit verify decides them)"


def schema(tokens: bool) -> pyarrow.Schema:
    """Columns of the Parquet file; the last four with a tokenizer only."""
    import pyarrow as pa

    text, real, whole, flag = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    step = pa.struct([("start", whole), ("end", whole), ("kind", text), ("sampled", flag), ("trained", flag), ("advantage", real),
                      ("weight", real), ("reward", real), ("node", whole), ("message", whole), ("call", whole)])  # fmt: skip
    columns = [("problem_id", text), ("group", whole), ("attempt", whole), ("part", whole), ("prompt", text), ("text", text),
               ("steps", pa.list_(step)), ("reward", real), ("correct", flag), ("status", text), ("credit", text),
               ("kind", text), ("ratio", text), ("messages", text), ("source", text)]  # fmt: skip
    more = [("token_ids", pa.list_(whole)), ("loss_mask", pa.list_(flag)), ("token_advantages", pa.list_(real)),
            ("old_logprobs", pa.list_(real))]  # fmt: skip
    return pa.schema([*columns, *(more if tokens else [])])


def _text(row: Row) -> tuple[str, list[tuple[int, int]]]:
    """The steps' texts, each closed by the delimiter, and the characters [start, end) of each without it."""
    pieces, spans, start = [], [], 0
    for step in row.steps:
        pieces.append(step.text + row.rules.delimiter)
        spans.append((start, start + len(step.text)))
        start += len(pieces[-1])
    return "".join(pieces), spans


def _tokens(row: Row, tokenizer: Any) -> dict[str, Any]:
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


def _outcome(start: Start, leaf: int, attempt: int) -> dict[str, Any]:
    """What the credit is of; the status is the verifier's, also where it was called wrong."""
    outcome, whole = start.record.tree.outcomes[leaf], start.whole.tree
    if outcome is None:
        return {"reward": None, "correct": None, "status": None}
    recorded = whole.outcomes[whole.leaves[attempt]] or outcome
    return {"reward": _number(outcome.reward), "correct": outcome.correct, "status": recorded.status}


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
