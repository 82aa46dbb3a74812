"""`stepcredit credit` streams what it can: the same credits and order as with the whole file in memory."""

import numpy as np
import pytest

from stepcredit.cli import main
from stepcredit.commands import credit as command
from stepcredit.commands._joined import joined
from stepcredit.commands._reading import Reading
from stepcredit.core import registry
from stepcredit.data import group, read


def scattered(num_problems, num_attempts):
    """Attempts of all problems in turn: no problem is complete before the last round."""
    return [{"problem": f"{p} + 1", "attempt": f"take {p}\nadd {a}", "correct": (p + a) % 3 == 0}
            for a in range(num_attempts) for p in range(num_problems)]  # fmt: skip


def same(one, other):
    assert one.tree.problem.prompt == other.tree.problem.prompt
    assert one.tree.steps == other.tree.steps and one.credits.keys() == other.credits.keys()
    np.testing.assert_array_equal(one.tree.parent_N, other.tree.parent_N)
    for name, credit in one.credits.items():
        np.testing.assert_array_equal(credit.values_N, other.credits[name].values_N)
        np.testing.assert_array_equal(credit.weight_N, other.credits[name].weight_N)


@pytest.mark.parametrize("by_problem", [True, False])
def test_joining_while_streaming_gives_what_grouping_gives(write_lines, by_problem):
    rows = scattered(7, 3)
    path = str(write_lines(sorted(rows, key=lambda row: row["problem"]) if by_problem else rows))
    for one, other in zip(joined(path, Reading()), group(read(path)), strict=True):
        same(one, other)


def test_a_problem_is_handed_on_as_soon_as_its_last_attempt_is_read(write_lines, monkeypatch):
    read_so_far = []

    def watched(*given, **knobs):
        for record in records(*given, **knobs):
            if not knobs.get("quiet"):
                read_so_far.append(record)
            yield record

    from stepcredit.commands import _joined

    records = _joined.records
    monkeypatch.setattr(_joined, "records", watched)
    rows = [{"problem": p, "attempt": "a", "correct": True} for p in "aabcbdd"]
    got = [(record.tree.problem.prompt, len(read_so_far)) for record in joined(str(write_lines(rows)), Reading())]
    # b is complete with row 5; c, complete with row 4, waits for b, which came first
    assert got == [("a", 2), ("b", 5), ("c", 5), ("d", 7)]


@pytest.mark.parametrize("method", ["group_mean", "outcome_broadcast", "prefix_chain"])
@pytest.mark.parametrize("grouped", [True, False])
def test_credit_over_many_batches_is_that_of_the_method_on_all_records(
    write_lines, tmp_path, monkeypatch, method, grouped
):
    monkeypatch.setattr(command, "CHUNK", 3)
    path, out = write_lines(scattered(7, 3)), tmp_path / "c.jsonl"
    assert main(["credit", str(path), str(out), "--method", method, "--group", str(grouped).lower()]) == 0
    given = group(read(path)) if grouped else list(read(path))
    expected = registry.bind("credit", method)([record.tree for record in given])
    for record, credit in zip(read(out), expected, strict=True):
        np.testing.assert_array_equal(record.credits[method].values_N, credit.values_N)


def test_another_credit_is_found_in_every_batch_and_a_missing_one_is_numbered(sampled, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "CHUNK", 5)
    out = tmp_path / "c.jsonl"
    assert main(["credit", str(sampled), str(out), "--method", "oracle", "--credit.so_far", "false"]) == 0
    for record in read(out):
        np.testing.assert_array_equal(record.credits["oracle"].values_N[1:], record.credits["truth"].values_N[1:])
    lines = sampled.read_text().splitlines(keepends=True)
    lines[6] = lines[6].replace('"name": "truth"', '"name": "other"')
    (tmp_path / "lacks.jsonl").write_text("".join(lines))
    capsys.readouterr()
    assert main(["credit", str(tmp_path / "lacks.jsonl"), str(tmp_path / "d.jsonl"), "--method", "oracle"]) == 2
    said = capsys.readouterr().err
    assert "record 7 (problem " in said and "has no 'truth'; it has: other" in said
    assert not (tmp_path / "d.jsonl").exists()


def test_what_is_said_at_the_end_is_of_all_steps(write_lines, tmp_path, capsys):
    # Rewards 1, 0, 0 of three attempts of two steps: 6 steps, mean 1/3.
    rows = [{"problem": "p", "attempt": f"a{n}\nb", "correct": n == 0} for n in range(3)]
    assert main(["credit", str(write_lines(rows)), str(tmp_path / "c.jsonl"), "--method", "outcome_broadcast"]) == 0
    assert (
        "outcome_broadcast (label) on 6 of 6 steps in 1 records, mean 0.333, from 0.000 to 1.000"
        in capsys.readouterr().out
    )


def test_bad_rows_are_listed_once_though_the_file_is_read_twice(write_lines, tmp_path, capsys):
    path = write_lines([*scattered(2, 2), {"problem": "p"}])
    given = ["credit", str(path), str(tmp_path / "c.jsonl"), "--method", "group_mean"]
    assert main([*given, "--on_error", "skip"]) == 0
    assert capsys.readouterr().err.count("line 5:") == 1
    assert main(given) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_help_names_the_methods_that_need_the_whole_file(capsys):
    assert main(["credit", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    named = said.split("hold the whole file in memory: ")[1].split(".")[0].split(", ")
    assert {"prefix_chain", "self_supervised"} <= set(named)  # batch statistics, a hazard fitted on all attempts
    assert not {"group_mean", "latent_chain", "monte_carlo", "outcome_broadcast", "oracle"} & set(named)


def test_the_file_to_write_may_be_named_by_an_option(write_lines, tmp_path):
    """`-o FILE` in place of the second position, as other tools have it."""
    path, ends = str(write_lines(scattered(3, 2))), [tmp_path / name for name in ("a.parquet", "b.parquet")]
    assert main(["credit", path, str(ends[0]), "--method", "group_mean", "--write_as", "advantages"]) == 0
    assert main(["credit", path, "--method", "group_mean", "-o", str(ends[1]), "--write_as", "advantages"]) == 0
    assert ends[0].read_bytes() == ends[1].read_bytes()
