"""The threshold of a scorer that is no chain: chosen on step truth when it is trained, used when it is measured."""

import json

import pytest

from stepcredit.cli import main
from stepcredit.data import read

FEW = ["--num_list", "[1,2]", "--num_resamples", "20"]


@pytest.fixture(scope="module")
def labelled(sampled, tmp_path_factory):
    """The sampled attempts with the labels of a credit; 12 problems."""
    path = tmp_path_factory.mktemp("labelled") / "c.jsonl"
    assert main(["credit", str(sampled), str(path), "--method", "prefix_chain"]) == 0
    return path


def train(labelled, folder, *more):
    given = ["train", str(labelled), str(folder), "--judge", "linear", "--credit", "prefix_chain", *more]
    assert main(given) == 0
    return json.loads((folder / "scorer.json").read_text())


def test_a_chosen_threshold_is_kept_and_its_problems_are_left_out(labelled, tmp_path, capsys):
    marked, folder, out = tmp_path / "marked.jsonl", tmp_path / "s", tmp_path / "o.jsonl"
    lines = labelled.read_text().splitlines(keepends=True)
    marked.write_text("".join(lines[:5]))
    manifest = train(labelled, folder, "--choose_on", str(marked))
    assert manifest["threshold_source"] == "chosen" and len(manifest["threshold_problems"]) == 5
    assert main(["score", str(labelled), str(out), "--scorer", str(folder)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out), "--scorer", str(folder), "--out", str(tmp_path / "run"), *FEW]) == 0
    expected = f"threshold {manifest['threshold']:g}, chosen on the step truth of 5 problems (step supervision)"
    assert expected in capsys.readouterr().out
    # The same as choosing here, on the same problems: the same threshold, and 7 of the 12 problems are measured.
    judged = tmp_path / "judged.jsonl"
    judged.write_text("".join(out.read_text().splitlines(keepends=True)[:5]))
    assert main(["evaluate", str(out), "--choose_on", str(judged), "--out", str(tmp_path / "again"), *FEW]) == 0
    assert expected in capsys.readouterr().out
    runs = [json.loads((tmp_path / name / "run.json").read_text())["results"] for name in ("run", "again")]
    assert runs[0] == runs[1] and {r["n"] for r in runs[0] if r["name"] == "best_of_1"} == {7}


def test_without_a_choice_the_threshold_is_one_half_beforehand(labelled, tmp_path, capsys):
    manifest = train(labelled, tmp_path / "s")
    assert (manifest["threshold"], manifest["threshold_source"], manifest["threshold_problems"]) == (0.5, "fixed", [])
    out = tmp_path / "o.jsonl"
    assert main(["score", str(labelled), str(out), "--scorer", str(tmp_path / "s")]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out), "--scorer", str(tmp_path / "s"), *FEW]) == 0
    assert "threshold 0.5, fixed beforehand" in capsys.readouterr().out


def test_a_chain_is_decoded_without_a_threshold(scored, scorer, capsys):
    assert main(["evaluate", str(scored), "--scorer", str(scorer), *FEW]) == 0
    assert "no threshold: decoded from keep" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "marks", "said"),
    [([], True, "but a chain judge is decoded without a threshold"),
     (["--credit", "prefix_chain"], False, "on step truth, of attempts with and without a wrong step; it has no step truth"),
     (["--judge", "linear", "--credit", "prefix_chain"], False, "it has no step truth")],
)  # fmt: skip
def test_what_a_threshold_cannot_be_chosen_on_is_said_before_anything_is_trained(
    labelled, tmp_path, capsys, more, marks, said
):
    marked = tmp_path / "marked.jsonl"
    rows = [json.loads(line) for line in labelled.read_text().splitlines()]
    marked.write_text("".join(json.dumps(row if marks else {**row, "credits": None}) + "\n" for row in rows))
    assert main(["train", str(labelled), str(tmp_path / "s"), *more, "--choose_on", str(marked)]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "s").exists()
    assert all("truth" in record.credits for record in read(marked)) == marks


def test_one_way_to_decode_at_a_time(scored, scorer, capsys):
    assert main(["evaluate", str(scored), "--scorer", str(scorer), "--threshold", "0.5"]) == 2
    assert "give one of --threshold, --choose_on and --scorer" in capsys.readouterr().err
