"""An attempt as the heat map takes it: positions among all steps, scores and truth on those that have them."""

import numpy as np
import pytest

from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Judgment, Outcome, Problem, Record, Step
from stepcredit.report import write_report
from stepcredit.report._attempt import attempt_entry

STEPS = [
    Step("a", kind="tool_call"),
    Step("seen", kind="tool_result", sampled=False),
    Step("b"),
    Step("c", kind="answer"),
]
JUDGED = Judgment(0.2, [0.9, 0.3, 0.2])


def record_of(truth=None, outcome=None):
    credits = {} if truth is None else {"truth": Credit(truth, "label", (~np.isnan(truth)).astype(float), "recorded")}
    return Record(star(Problem("p", "?"), [[Step("x")], STEPS], [None, outcome]), credits)


def test_errors_count_sampled_steps_and_become_positions_among_all():
    truth = np.array([np.nan, 1, 1, np.nan, 0, np.nan])  # prompt; x; a, seen, b, c
    outcome = Outcome(0.0, False, answer="7")
    found = attempt_entry(record_of(truth, outcome), 5, JUDGED, arm="retry", predicted=2, first_error=1)
    assert found == {
        "problem": "?", "arm": "retry", "score": 0.2,
        "outcome": {"correct": False, "status": "scored", "answer": "7"},
        "steps": [
            {"text": "a", "kind": "tool_call", "score": 0.9, "truth": 1},
            {"text": "seen", "kind": "tool_result", "score": None, "truth": None},
            {"text": "b", "kind": "reason", "score": 0.3, "truth": 0},
            {"text": "c", "kind": "answer", "score": 0.2, "truth": None},
        ],
        "first_error_truth": 2, "first_error_predicted": 3,
    }  # fmt: skip


def test_no_error_stays_no_error_and_unknown_stays_unknown(tmp_path):
    found = attempt_entry(record_of(), 5, JUDGED, predicted=-1)
    assert (found["first_error_truth"], found["first_error_predicted"], found["outcome"]) == (None, -1, None)
    assert [step["truth"] for step in found["steps"]] == [None] * 4
    write_report({"attempts": [found]}, tmp_path / "report.html")
    assert "The judge finds no error." in (tmp_path / "report.html").read_text()


def test_a_judgment_of_other_steps_is_refused():
    with pytest.raises(ValueError, match="problem 'p': 3 sampled steps, but 2 step scores"):
        attempt_entry(record_of(), 5, Judgment(0.9, [0.9, 0.9]))
