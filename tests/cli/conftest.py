"""One sampled file and one scorer of five updates, shared by all tests of the command line."""

import json

import pytest
from cli_options import TINY

from stepcredit.cli import main


@pytest.fixture(scope="session")
def sampled(tmp_path_factory):
    """Attempts at the chain task with outcomes and step truth, one record a problem."""
    path = tmp_path_factory.mktemp("sampled") / "attempts.jsonl"
    assert main(["sample", "chain", str(path), "--num_problems", "12", "--num_attempts", "4", "--truth", "true"]) == 0
    return path


@pytest.fixture(scope="session")
def scorer(sampled, tmp_path_factory):
    """A scorer that has learned next to nothing."""
    folder = tmp_path_factory.mktemp("scorer") / "head"
    assert main(["train", str(sampled), str(folder), *TINY]) == 0
    return folder


@pytest.fixture(scope="session")
def scored(sampled, scorer, tmp_path_factory):
    """The sampled file, judged."""
    path = tmp_path_factory.mktemp("scored") / "scored.jsonl"
    assert main(["score", str(sampled), str(path), "--scorer", str(scorer)]) == 0
    return path


@pytest.fixture
def plain_rows():
    """What a user has: a problem, an attempt, and whether it was right."""
    return [
        {
            "problem": f"{a} + {b} + 1 = ?",
            "attempt": f"{a} + {b} = {a + b}\n{a + b} + 1 = {a + b + 1 + c}",
            "correct": not c,
        }
        for a in range(3)
        for b in range(2)
        for c in range(2)
    ]


@pytest.fixture
def write_lines(tmp_path):
    """Writes rows as JSON lines and returns the path."""

    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
