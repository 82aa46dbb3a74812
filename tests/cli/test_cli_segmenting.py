"""A scorer remembers how the text of its training file was cut into steps, and scoring cuts new text the same way."""

import json
import shutil

import pytest
from cli_options import TINY

from stepcredit.cli import main
from stepcredit.data import read

WARNING = "stepcredit: warning: steps are cut by "


@pytest.fixture(scope="module")
def paragraphs(tmp_path_factory):
    """Two paragraphs of two lines each: two steps by blank_line, four by newline."""
    rows = [
        {"problem": f"{n} + 1", "attempt": f"take {n}\nadd 1\n\nget {n + 1}\ndone", "correct": n % 3 == 0}
        for n in range(12)
    ]
    path = tmp_path_factory.mktemp("paragraphs") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def taught(paragraphs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "scorer"
    assert main(["train", str(paragraphs), str(folder), "--judge", "linear", "--segment", "blank_line"]) == 0
    return folder


def cut(folder):
    manifest = json.loads((folder / "scorer.json").read_text())
    return manifest["segment"], manifest["delimiter"]


def num_steps(path):
    return {len(judgment.step_scores_S) for record in read(path) for judgment in record.judgments}


def test_plain_text_is_cut_as_the_scorer_was_taught(paragraphs, taught, tmp_path, capsys):
    assert cut(taught) == ("blank_line", None)
    out = tmp_path / "o.jsonl"
    for more in ([], ["--segment", "blank_line"]):
        assert main(["score", str(paragraphs), str(out), "--scorer", str(taught), *more]) == 0
        assert num_steps(out) == {2} and capsys.readouterr().err == ""


def test_another_cut_is_used_when_asked_for_and_said_in_one_line(paragraphs, taught, tmp_path, capsys):
    out = tmp_path / "o.jsonl"
    given = ["score", str(paragraphs), str(out), "--scorer", str(taught), "--segment"]
    for more, said in ((["newline"], "newline"), (["delimiter", "--delimiter", "\\n"], "delimiter '\\n'")):
        assert main([*given, *more]) == 0
        said = WARNING + f"{said}, this scorer learned on steps cut by blank_line: its scores may not hold for these\n"
        assert num_steps(out) == {4} and capsys.readouterr().err == said


def test_a_delimiter_is_remembered_and_can_be_replaced_alone(paragraphs, tmp_path, capsys):
    folder, out = tmp_path / "s", tmp_path / "o.jsonl"
    knobs = ["--segment", "delimiter", "--delimiter", "\\n\\n"]
    assert main(["train", str(paragraphs), str(folder), "--judge", "linear", *knobs]) == 0
    assert cut(folder) == ("delimiter", "\n\n")
    for more, num in (([], 2), (["--segment", "delimiter"], 2), (["--delimiter", "\\n"], 4)):
        assert main(["score", str(paragraphs), str(out), "--scorer", str(folder), *more]) == 0
        assert num_steps(out) == {num} and capsys.readouterr().err.startswith(WARNING) == (num == 4)
    assert main(["score", str(paragraphs), str(out), "--scorer", str(folder), "--segment", "blank_line"]) == 0
    assert num_steps(out) == {2} and capsys.readouterr().err.startswith(WARNING + "blank_line, this scorer learned")


def test_a_folder_from_before_says_nothing_and_text_is_cut_by_lines(paragraphs, taught, tmp_path, capsys):
    folder, out = shutil.copytree(taught, tmp_path / "old"), tmp_path / "o.jsonl"
    manifest = json.loads((folder / "scorer.json").read_text())
    for name in ("segment", "delimiter", "threshold_problems"):
        del manifest[name]
    (folder / "scorer.json").write_text(json.dumps(manifest))
    assert main(["score", str(paragraphs), str(out), "--scorer", str(folder)]) == 0
    assert num_steps(out) == {4} and capsys.readouterr().err == ""


def test_a_file_that_comes_in_steps_is_never_cut(sampled, paragraphs, scorer, taught, tmp_path, capsys):
    assert cut(scorer) == (None, None)  # trained on records
    out = tmp_path / "o.jsonl"
    assert main(["score", str(sampled), str(out), "--scorer", str(taught)]) == 0
    assert [r.tree.num_nodes for r in read(out)] == [r.tree.num_nodes for r in read(sampled)]
    assert main(["score", str(sampled), str(out), "--scorer", str(taught), "--segment", "newline"]) == 2
    assert "reading native has no knob segment" in capsys.readouterr().err


def test_a_network_remembers_too_and_credit_cuts_as_its_judge_was_taught(paragraphs, tmp_path, capsys):
    folder, out = tmp_path / "s", tmp_path / "o.jsonl"
    assert main(["train", str(paragraphs), str(folder), *TINY]) == 0
    assert cut(folder) == ("newline", None)
    given = ["credit", str(paragraphs), str(out), "--method", "latent_chain", "--judge", str(folder)]
    assert main(given) == 0 and capsys.readouterr().err == ""
    assert {record.tree.num_nodes for record in read(out)} == {5}
    assert main([*given, "--segment", "blank_line"]) == 0 and capsys.readouterr().err.startswith(WARNING)
    assert {record.tree.num_nodes for record in read(out)} == {3}
