import json
import math

import numpy as np
import pytest

from stepcredit import Cost, Credit, Judgment, Outcome, Problem, Record, Step, Tree
from stepcredit.data import read, write

NAN = math.nan
PATHS = ["a.jsonl", "a.jsonl.gz", "a.ndjson", "a.json", "a.parquet"]


def full_record():
    problem = Problem("p1", "2+3=?\n", {"value": [5, None]}, ("2+3=5",), {"k": 0.1, "é": [1, {"x": None}]})
    steps = (
        Step("2+3=?\n", kind="prompt", sampled=False),
        Step("2+3=5", token_ids=(1, 2), logprobs=(-0.1, -math.inf)),
        Step("", kind="tool_result", sampled=False, context=""),
        Step("5 \U0001f600\u2028", kind="answer", token_ids=(), logprobs=()),
    )
    outcomes = (None, Outcome(0.3, None, False, "5", verifier=""), None, Outcome(status="timeout", correct=False))
    tree = Tree(problem, steps, [-1, 0, 0, 2], outcomes, [4, 2, 1, 0], [0, 0, 1, 1], Cost(1, 2, 3, 4, 0.1))
    credits = {
        "truth": Credit([NAN, 0.1 + 0.2, NAN, 1.0], "label", [0, 1, 0, 0.5], "recorded"),
        "": Credit([-0.0, math.inf, 5e-324, -1e300], "advantage", [1, 1, 1, 1], "m", Cost(seconds=0.7)),
    }
    judgments = (
        Judgment(0.9, [NAN], {"keep": [0.1]}, {"style": NAN, "fit": 1 / 3}, "fine", cost=Cost(judge_calls=1)),
        Judgment(NAN, [], status="abstained"),
    )
    return Record(tree, credits, judgments)


def bare_record():
    return Record(Tree(Problem("q", "?"), (Step("?", kind="prompt", sampled=False), Step("x")), [-1, 0], (None, None)))


def same(a, b):
    """Equal, NaN equal to NaN, arrays bit by bit."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(same(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)
    if hasattr(a, "keys"):
        return list(a.keys()) == list(b.keys()) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("name", PATHS)
def test_records_round_trip_exactly(tmp_path, name):
    given = [full_record(), bare_record(), full_record()]
    assert write(tmp_path / name, given) == 3
    found = list(read(tmp_path / name))
    assert len(found) == 3 and all(map(same, given, found))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", PATHS)
def test_a_second_round_trip_writes_the_same_bytes(tmp_path, name):
    first, second = tmp_path / name, tmp_path / f"again-{name}"
    write(first, [full_record(), bare_record()])
    write(second, read(first))
    assert first.read_bytes() == second.read_bytes()


def test_more_rows_than_one_row_group_round_trip(tmp_path):
    given = [full_record() if n % 1000 == 999 else bare_record() for n in range(2500)]
    assert write(tmp_path / "a.parquet", given) == 2500
    found = list(read(tmp_path / "a.parquet"))
    assert same(found[999], given[999]) and same(found[2499], given[2499]) and len(found) == 2500


def test_no_records_make_an_empty_file_that_reads_as_none(tmp_path):
    for name in ("a.jsonl", "a.parquet"):
        assert write(tmp_path / name, []) == 0
        assert list(read(tmp_path / name, format="native")) == []


def test_half_a_surrogate_pair_survives(tmp_path):
    record = Record(Tree(Problem("\ud83d", "?"), bare_record().tree.steps, [-1, 0], (None, None)))
    write(tmp_path / "a.jsonl", [record])
    assert next(read(tmp_path / "a.jsonl")).tree.problem.id == "\ud83d"


def test_tuples_in_metadata_come_back_as_lists_and_numpy_scalars_as_numbers(tmp_path):
    problem = Problem("p", "?", (1, np.int64(2)), meta={"x": np.float64(0.5)})
    tree = Tree(problem, bare_record().tree.steps, [-1, 0], (None, None))
    write(tmp_path / "a.jsonl", [Record(tree)])
    found = next(read(tmp_path / "a.jsonl")).tree.problem
    assert found.answer == [1, 2] and found.meta == {"x": 0.5}


@pytest.mark.parametrize("meta", [{"x": NAN}, {"x": object()}])
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_metadata_json_cannot_hold_is_refused_and_nothing_is_left(tmp_path, meta, name):
    tree = Tree(Problem("p", "?", meta=meta), bare_record().tree.steps, [-1, 0], (None, None))
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        write(tmp_path / name, [bare_record(), Record(tree)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change, named",
    [
        ({"stepcredit": 2}, "'stepcredit': got 2"),
        ({"problem": 5}, "'problem': got 5"),
        ({"problem": {"id": "p"}}, "'problem.prompt' is missing"),
        ({"problem": {"id": "p", "prompt": "?", "meta": 5}}, "'problem.meta': got 5"),
        ({"steps": [{"text": "?", "kind": "prompt", "sampled": False}, {"text": 5}]}, r"'steps\[1\].text'"),
        (
            {"steps": [{"text": "?", "kind": "prompt", "sampled": False}, {"text": "x", "kind": "y"}]},
            r"'steps\[1\].kind'",
        ),
        ({"parent": [-1, "0"]}, "'parent'"),
        ({"parent": [-1, 5]}, "parents come first"),
        ({"outcomes": [None, 5]}, r"'outcomes\[1\]'"),
        ({"outcomes": [None, {"reward": None, "status": "scored"}]}, "scored exactly when"),
        (
            {"credits": [{"name": "c", "kind": "label", "method": "m", "values": ["x", 1], "weights": [0, 1]}]},
            "'credits",
        ),
        (
            {"credits": [{"name": "c", "kind": "label", "method": "m", "values": [None, 2], "weights": [0, 1]}]},
            "lies in",
        ),
        ({"judgments": [{"score": 0.5, "step_scores": "x"}]}, r"'judgments\[0\].step_scores'"),
        ({"cost": {"generated_tokens": -1}}, "'cost.generated_tokens'"),
    ],
)
def test_a_damaged_row_names_line_and_field(tmp_path, change, named):
    path = tmp_path / "a.jsonl"
    write(path, [bare_record()])
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | change) + "\n")
    with pytest.raises(ValueError, match=named) as raised:
        list(read(path))
    assert f"{path}, line 1: " in str(raised.value)
