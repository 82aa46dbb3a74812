import gzip
import json
import math
import warnings

import pytest

from stepcredit import Outcome, Problem, Record, Step
from stepcredit.core.tree import star
from stepcredit.data import FORMATS, read, write

GOOD = {"problem": "p", "attempt": "a\nb", "correct": True}
STEPWISE = {"prompt": "p", "completions": ["a", "b"], "labels": [1, 0.5]}
PROCESS = {"problem": "p", "steps": ["a", "b"], "final_answer_correct": True, "label": 1}
MISTAKE = {"input": "p", "steps": ["a", "b"], "answer": "x", "target": "x", "mistake_index": 0}
FLAT = {"problem": "p", "steps": ["a", "b"], "labels": ["positive", "negative"]}
TURNS = {"query": "q", "actions": ["a"], "observations": ["b"], "rewards": [1]}


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


def bad_third_row(tmp_path, good, bad):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(good), "", json.dumps(good)]
    third = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    path.write_bytes("\n".join(lines).encode() + b"\n" + third + b"\n" + json.dumps(good).encode() + b"\n")
    return path


CASES = [
    (
        "plain",
        GOOD,
        without(GOOD, "problem"),
        "field 'problem' is missing; needed: text; the row has: attempt, correct",
    ),
    (
        "plain",
        GOOD,
        without(GOOD, "attempt"),
        "field 'attempt' is missing; needed: text in 'attempt', or a list of texts in 'steps'",
    ),
    ("plain", GOOD, without(GOOD, "correct"), "field 'correct' is missing; needed: true, false, 0, 1, or null"),
    ("plain", GOOD, GOOD | {"problem": 5}, "field 'problem': got 5; allowed: text"),
    ("plain", GOOD, GOOD | {"correct": "yes"}, "field 'correct': got 'yes'; allowed: true, false, 0, 1, or null"),
    ("plain", GOOD, GOOD | {"correct": 2}, "field 'correct': got 2"),
    ("plain", GOOD, GOOD | {"attempt": ""}, "field 'attempt': got ''; allowed: text that is not empty"),
    ("plain", GOOD, GOOD | {"attempt": " \n"}, "field 'attempt'"),
    ("plain", GOOD, GOOD | {"steps": []}, "field 'steps': got []; allowed: a list of texts with at least one entry"),
    ("plain", GOOD, GOOD | {"steps": ["a", ""]}, "field 'steps[1]': got ''; allowed: text that is not empty"),
    ("plain", GOOD, GOOD | {"steps": ["a", 5]}, "field 'steps[1]': got 5; allowed: text"),
    ("plain", GOOD, GOOD | {"correct": math.nan}, "field 'correct': got NaN; allowed: a finite number, or null"),
    ("plain", GOOD, GOOD | {"extra": {"x": [1, math.inf]}}, "field 'extra.x[1]': got Infinity"),
    ("plain", GOOD, GOOD | {"id": [1]}, "field 'id': got [1]; allowed: text or a whole number"),
    ("plain", GOOD, GOOD | {"status": "bad"}, "field 'status': got 'bad'; allowed: scored, unparsed"),
    ("plain", GOOD, b'{"problem": "\xff"}', r"byte 13 is not UTF-8 (b'\xff'); save the file as UTF-8"),
    ("plain", GOOD, b'{"problem": "p", ', "not valid JSON"),
    ("plain", GOOD, b"[" * 100_000, "not valid JSON"),
    ("plain", GOOD, [1, 2], "allowed: a JSON object; a JSON array must be rewritten with one object per line"),
    ("plain", GOOD, 5, "got 5; allowed: a JSON object"),
    ("stepwise", STEPWISE, STEPWISE | {"labels": [1]}, "one label per step: 2 completions, got 1 labels"),
    (
        "stepwise",
        STEPWISE,
        STEPWISE | {"labels": [1, 1.5]},
        "field 'labels[1]': got 1.5; allowed: true, false, a number from 0 to 1",
    ),
    ("stepwise", STEPWISE, STEPWISE | {"labels": [1, "+"]}, "field 'labels[1]': got '+'"),
    ("stepwise", STEPWISE, STEPWISE | {"labels": [math.nan, 1]}, "field 'labels[0]': got NaN"),
    ("processbench", PROCESS, PROCESS | {"label": 2}, "field 'label': got 2; allowed: a whole number from -1 to 1"),
    ("processbench", PROCESS, PROCESS | {"label": 0.5}, "field 'label': got 0.5"),
    ("processbench", PROCESS, PROCESS | {"label": True}, "field 'label': got True"),
    (
        "bigbench_mistake",
        MISTAKE,
        MISTAKE | {"mistake_index": 2},
        "field 'mistake_index': got 2; allowed: a whole number from 0 to 1",
    ),
    ("bigbench_mistake", MISTAKE, without(MISTAKE, "mistake_index"), "field 'mistake_index' is missing"),
    ("prm800k", FLAT, FLAT | {"labels": ["positive"]}, "one label per step: 2 steps, got 1 labels"),
    (
        "prm800k",
        FLAT,
        FLAT | {"labels": ["positive", "good"]},
        "field 'labels[1]': got 'good'; allowed: positive, neutral",
    ),
    ("intercode", TURNS, TURNS | {"rewards": [1, 0]}, "one reward per action: 1 actions, got 2 rewards"),
    ("intercode", TURNS, TURNS | {"observations": []}, "one observation per action"),
    ("intercode", TURNS, TURNS | {"rewards": [None]}, "field 'rewards[0]': got None; allowed: a finite number"),
]


@pytest.mark.parametrize("format, good, bad, named", CASES)
def test_a_bad_row_names_file_line_field_what_was_given_and_what_is_allowed(tmp_path, format, good, bad, named):
    path = bad_third_row(tmp_path, good, bad)
    knobs = {"neutral": "right"} if format == "prm800k" else {}
    records = read(path, format=format, **knobs)
    assert next(records) and next(records)
    with pytest.raises(ValueError) as raised:
        next(records)
    assert str(raised.value).startswith(f"{path}, line 4: ") and named in str(raised.value)
    errors = []
    assert len(list(read(path, format=format, on_error="skip", errors=errors, **knobs))) == 3
    assert errors == [str(raised.value)]


def test_no_step_found_says_what_was_looked_for(tmp_path):
    path = bad_third_row(tmp_path, GOOD | {"attempt": "a#b"}, GOOD)
    with pytest.raises(
        ValueError, match="line 4: field 'attempt': no step found: looked for text before the marker '#'"
    ):
        list(read(path, segment="marker", delimiter="#"))


def test_a_wrong_delimiter_is_named(tmp_path):
    path = bad_third_row(tmp_path, GOOD, GOOD)
    with pytest.raises(ValueError, match="needs a delimiter"):
        read(path, segment="marker", on_error="skip")
    with pytest.raises(ValueError, match="takes no delimiter"):
        read(path, delimiter="#")


def test_skipping_without_a_list_warns_with_the_count(tmp_path):
    path = bad_third_row(tmp_path, GOOD, GOOD | {"problem": 5})
    with pytest.warns(UserWarning, match="1 bad rows skipped, the first: .*line 4"):
        assert len(list(read(path, on_error="skip"))) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(read(path, on_error="skip", errors=[]))


def test_a_row_of_several_attempts_is_left_out_whole(tmp_path):
    query = (
        "As initial conditions I have that, the hand is empty and the red block is clear.\n"
        "My goal is to have that the red block is on the table."
    )
    samples = [
        {"model": "m", "extracted_plan": "(x)", "correct": True},
        {"model": "m", "extracted_plan": 5, "correct": True},
    ]
    path = bad_third_row(tmp_path, {"query": query, "samples": samples[:1]}, {"query": query, "samples": samples})
    errors = []
    assert len(list(read(path, on_error="skip", errors=errors))) == 3
    assert "field 'samples[1].extracted_plan': got 5" in errors[0]


def test_a_first_bad_row_is_skipped_before_the_format_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("{\n" + json.dumps(GOOD) + "\n")
    with pytest.raises(ValueError, match="line 1: not valid JSON"):
        read(path)
    errors = []
    assert len(list(read(path, on_error="skip", errors=errors))) == 1 and len(errors) == 1


def test_a_byte_order_mark_and_blank_lines_are_no_errors(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n" + json.dumps(GOOD).encode())
    assert len(list(read(path))) == 2


@pytest.mark.parametrize("cut", [20, -5])
def test_a_truncated_gzip_says_so_and_ends_there(tmp_path, cut):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress("".join(json.dumps(GOOD | {"n": str(n) * 50}) + "\n" for n in range(2000)).encode())
    path.write_bytes(whole[:cut])
    with pytest.raises(ValueError, match="not a complete gzip file") as raised:
        list(read(path, format="plain"))
    assert str(raised.value).startswith(f"{path}, after line ")
    errors = []
    records = list(read(path, format="plain", on_error="skip", errors=errors))
    assert len(errors) == 1 and f"after line {len(records)}:" in errors[0]
    assert len(records) == 0 if cut == 20 else len(records) > 1000


def test_a_gzip_that_is_none_and_a_parquet_that_is_none_say_so(tmp_path):
    (tmp_path / "a.jsonl.gz").write_text(json.dumps(GOOD))
    with pytest.raises(ValueError, match="not a complete gzip file"):
        read(tmp_path / "a.jsonl.gz")
    (tmp_path / "a.parquet").write_text("PAR1")
    with pytest.raises(ValueError, match="not a complete Parquet file"):
        read(tmp_path / "a.parquet")


def test_parquet_rows_are_numbered_and_nan_is_refused(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"problem": "p", "attempt": "a", "correct": value} for value in (1.0, None, math.nan)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    records = read(tmp_path / "a.parquet")
    assert next(records).tree.outcomes[-1].correct is True and next(records).tree.outcomes[-1] is None
    with pytest.raises(ValueError, match=r"row 3: field 'correct': got nan"):
        next(records)


def test_what_is_wrong_before_the_first_row_is_said_at_once(tmp_path):
    path = tmp_path / "a.jsonl"
    with pytest.raises(ValueError, match="no such file"):
        read(path)
    with pytest.raises(ValueError, match="is a folder"):
        (tmp_path / "b.jsonl").mkdir()
        read(tmp_path / "b.jsonl")
    path.write_text(json.dumps(GOOD) + "\n")
    with pytest.raises(ValueError, match="format 'plian' is not known; allowed: auto, bigbench_mistake, chat"):
        read(path, format="plian")
    with pytest.raises(ValueError, match="on_error is 'ignore'; allowed: raise, skip"):
        read(path, on_error="ignore")
    with pytest.raises(ValueError, match="reading plain has no knob labels; allowed: segment, delimiter"):
        read(path, labels="x")
    with pytest.raises(ValueError, match="segment is 'lines'; allowed: newline, blank_line"):
        read(path, segment="lines")
    with pytest.raises(ValueError, match="delimiter is 5"):
        read(path, delimiter=5)
    with pytest.raises(ValueError, match=r"the name does not say what the file holds; allowed: \.jsonl"):
        (tmp_path / "a.txt").write_text("x")
        read(tmp_path / "a.txt")


def test_a_row_that_decides_nothing_says_what_was_seen(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "q", "response": "r"}) + "\n")
    with pytest.raises(
        ValueError, match=r"line 1: a row with the fields question, response fits no known format .the plainest"
    ):
        read(path)
    path.write_text(json.dumps(PROCESS | {"correct": True}) + "\n")
    with pytest.raises(ValueError, match="fits plain and processbench; give format=, one of: plain, processbench"):
        read(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="no readable row to tell the format from"):
        read(path)


def test_every_format_is_told_by_its_own_rows_alone():
    rows = {
        "plain": GOOD, "stepwise": STEPWISE, "processbench": PROCESS, "bigbench_mistake": MISTAKE, "prm800k": FLAT, "intercode": TURNS,
        "math_shepherd": {"input": "", "label": ""}, "native": {"stepcredit": 1}, "chat": {"messages": [{"role": "user"}]},
        "planbench": {"query": "", "samples": [{"extracted_plan": ""}]},
        "tau_bench": {"task_id": 1, "trial": 0, "reward": 0, "traj": [{"role": "user"}]},
    }  # fmt: skip
    assert rows.keys() == FORMATS.keys()
    for name, row in rows.items():
        assert [other for other, module in FORMATS.items() if module.matches(row)] == [name]


# writing


def record(text="a"):
    return Record(star(Problem("p", "?"), [[Step(text)]], [Outcome(reward=1.0, correct=True)]))


def broken():
    yield from [record(), record()]
    raise ValueError("the source broke")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ValueError, match="the source broke"):
        write(path, broken())
    assert list(tmp_path.iterdir()) == []
    write(path, [record()])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="the source broke"):
        write(path, broken())
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == [name]


def test_a_file_may_be_rewritten_from_its_own_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, [record(str(n)) for n in range(5)])
    before = path.read_bytes()
    assert write(path, read(path)) == 5 and path.read_bytes() == before


def test_wrong_targets_are_named(tmp_path):
    with pytest.raises(ValueError, match="the name does not say"):
        write(tmp_path / "a.csv", [])
    with pytest.raises(ValueError, match=r"the folder .* does not exist"):
        write(tmp_path / "no" / "a.jsonl", [])
    with pytest.raises(ValueError, match="format 'intercode' is not known to write; allowed: auto, native, plain"):
        write(tmp_path / "a.jsonl", [], format="intercode")
    with pytest.raises(ValueError, match="writing plain has no knob credit; allowed: none"):
        write(tmp_path / "a.jsonl", [], format="plain", credit="x")
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        write(tmp_path / "d.jsonl", [])


def test_parquet_rows_that_differ_in_columns_are_refused(tmp_path):
    records = [Record(star(Problem("p", "?", meta={"k": 1} if n == 1500 else {}), [[Step("a")]])) for n in range(1501)]
    with pytest.raises(ValueError, match="rows 1025 to 1501 have columns the first rows lack: k"):
        write(tmp_path / "a.parquet", records, format="plain")
    assert list(tmp_path.iterdir()) == []
