"""The report page: complete, escaped, self-contained, repeatable."""

import copy
import re
from html.parser import HTMLParser

import pytest

from stepcredit.report import write_report

RUN = {
    "title": "a small run",
    "version": "0.1.0",
    "seeds": [1, 2],
    "config": {"task": {"name": "chain", "modulus": 5}},
    "expectation": "The label-free arm beats majority.",
    "summary": ["It did."],
    "cost": {"generated_tokens": 48000, "seconds": 12.5},
    "results": [{"name": "f1", "value": 0.7914, "low": 0.772, "high": 0.81, "n": 500, "unit": "F1", "control": False}],
    "table": {
        "columns": ["F1", "best of 16"],
        "rows": [
            {
                "arm": "latent_chain",
                "kind": "label-free",
                "cells": {
                    "F1": {"value": 0.7914, "low": 0.772, "high": 0.81, "n": 500},
                    "best of 16": {"value": float("nan"), "low": None, "high": None, "n": 500},
                },
                "cost": {"forwarded_tokens": 96_000_000, "judge_calls": 0},
            },
            {"arm": "majority", "kind": "control", "cells": {"best of 16": {"value": 0.59, "low": 0.55, "high": 0.63}}},
            {"arm": "length", "kind": "null", "cells": {}},
            {"arm": "gold", "kind": "oracle", "cells": {"F1": None}, "note": "sees step labels"},
        ],
    },
    "curves": {
        "best_of_n": {
            "x": [1, 2, 4],
            "series": [
                {"name": "latent_chain", "y": [0.5, 0.6, 0.7], "low": [0.4, 0.5, 0.6], "high": [0.6, 0.7, 0.8]},
                {"name": "length", "y": [0.5, None, 0.5], "style": "null"},
            ],
        }
    },
    "reliability": [
        {
            "name": "latent_chain",
            "bins": [
                {"low": 0.0, "high": 0.5, "mean_score": 0.2, "rate": 0.25, "n": 40},
                {"low": 0.5, "high": 1.0, "mean_score": None, "rate": None, "n": 0},
            ],
        }
    ],
    "attempts": [
        {
            "problem": "2+3+4=?",
            "arm": "latent_chain",
            "outcome": {"correct": False, "status": "scored", "answer": "8"},
            "score": 0.1,
            "steps": [
                {"text": "2+3=5", "score": 0.95, "truth": 1, "kind": "reason"},
                {"text": "5", "score": None, "truth": None, "kind": "tool_result"},
                {"text": "<script>alert(1)</script>", "score": 0.10, "truth": 0, "kind": "reason"},
            ],
            "first_error_truth": 2,
            "first_error_predicted": 0,
        }
    ],
    "diagnostics": [
        {"arm": "latent_chain", "lines": ["Blame on the last step: 0.31."], "warnings": ["Seeds disagree."]}
    ],
}


def page(run, tmp_path):
    path = tmp_path / "report.html"
    write_report(run, path)
    return path.read_text(encoding="utf-8")


def headings(html):
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_every_part_of_a_run_is_on_its_page(tmp_path):
    html = page(RUN, tmp_path)
    assert headings(html) == [
        "Methods", "Results", "Curves", "Reliability of step scores", "Attempts, step by step", "Diagnostics", "Configuration",
    ]  # fmt: skip
    for text in (
        "a small run",
        "seeds 1, 2",
        "48.0k generated tokens",
        "The label-free arm beats majority.",
        "It did.",
    ):
        assert text in html
    assert html.count("0.791 [0.772, 0.810]") == 2  # in the method table and among the results
    assert "96.0M" in html and "judge calls" not in html  # a cost nobody paid has no column
    assert "Seeds disagree." in html and "(1 warning)" in html


def test_a_page_is_well_formed(tmp_path):
    open_tags = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br", "wbr"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    html = page(RUN, tmp_path)
    Check().feed(html)
    assert open_tags == []
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:href="|url\()#([^")]*)', html):
        assert target in ids


def test_step_text_is_escaped(tmp_path):
    html = page(RUN, tmp_path)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_what_was_not_computed_is_a_dash_and_never_zero(tmp_path):
    html = page(RUN, tmp_path)
    assert not re.search(r">\s*nan\b|>\s*None\b|\bNaN\b", html)
    table = html[html.index('<table class="methods">') : html.index("</table>")]
    # NaN cell; no F1 for majority, no cost twice; length: two cells and a cost; gold: two cells and a cost
    assert table.count(">–<") == 1 + 2 + 3 + 3
    tool_result = re.search(r'<li class="step ([^"]*)"[^>]*>\s*<span class="at">2</span>\s*<span[^>]*>([^<]*)<', html)
    assert tool_result and tool_result.groups() == ("unscored", "–")


def test_kinds_of_rows_are_told_apart(tmp_path):
    html = page(RUN, tmp_path)
    assert re.findall(r'<tbody class="([^"]*)">', html) == ["label-free", "control", "null", "oracle"]


def test_wrong_and_predicted_steps_are_marked(tmp_path):
    html = page(RUN, tmp_path)
    steps = re.findall(r'<li class="step ([^"]*)"', html)
    assert steps == ["scored predicted", "unscored", "scored first-wrong"]
    assert html.count(">first wrong step</span>") == 1
    assert html.count(">judge's first error</span>") == 1
    assert "Step 3 is the first wrong one; the judge&#39;s first error is step 1." in html


def test_text_that_is_not_unicode_does_not_lose_the_page(tmp_path):
    assert "a?b" in page({"attempts": [{"steps": [{"text": "a\ud800b"}]}]}, tmp_path)


def test_an_unparsed_attempt_is_not_called_wrong(tmp_path):
    attempt = {"outcome": {"correct": False, "status": "unparsed"}, "steps": [{"text": "?"}]}
    html = page({"attempts": [attempt]}, tmp_path)
    assert ">unparsed</span>" in html and "✗ wrong" not in html


def test_an_absent_part_leaves_no_heading(tmp_path):
    assert headings(page({}, tmp_path)) == []
    for key, heading in (
        ("table", "Methods"),
        ("results", "Results"),
        ("curves", "Curves"),
        ("config", "Configuration"),
    ):
        rest = {name: part for name, part in RUN.items() if name != key}
        assert heading not in headings(page(rest, tmp_path))
        assert headings(page({key: RUN[key]}, tmp_path)) == [heading]
    assert headings(page({"results": [], "attempts": [], "curves": {}, "diagnostics": []}, tmp_path)) == []


def test_the_same_run_gives_the_same_bytes_and_is_not_touched(tmp_path):
    before = copy.deepcopy({key: part for key, part in RUN.items() if key != "table"})
    assert page(RUN, tmp_path) == page(copy.deepcopy(RUN), tmp_path)
    assert before == {key: part for key, part in RUN.items() if key != "table"}


def test_a_page_asks_nothing_of_the_network(tmp_path):
    html = page(RUN, tmp_path)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", html)
    assert not re.search(r"<(script|link|img|iframe)|@import|url\((?!#)", html)
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http://" not in without_names and "https://" not in without_names


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"results": [{"name": "f1"}]}, r"results\[0\] \('f1'\) has no 'value'"),
        ({"results": [{"name": "f1", "value": "high"}]}, r"results\[0\] \('f1'\).value is 'high'"),
        ({"table": {"columns": ["F1"]}}, r"table has no 'rows'"),
        ({"table": {"columns": [], "rows": [{"arm": "a", "kind": "best", "cells": {}}]}}, r"rows\[0\].kind is 'best'"),
        (
            {"table": {"columns": [], "rows": [{"arm": "a", "kind": "null", "cells": {"F1": {}}}]}},
            r"has 'F1', not among",
        ),
        (
            {"curves": {"learning": {"x": [1, 2], "series": [{"name": "a", "y": [1]}]}}},
            r"y: expected \[2\] as x, got \[1\]",
        ),
        ({"attempts": [{"steps": [{"score": 0.5}]}]}, r"attempts\[0\].steps\[0\] has no 'text'"),
        ({"attempts": [{"steps": [{"text": "a", "score": 1.5}]}]}, r"steps\[0\].score is 1.5"),
        ({"attempts": [{"steps": [{"text": "a"}], "first_error_truth": 1}]}, r"first_error_truth is 1; allowed"),
        ({"diagnostics": "none"}, r"diagnostics: expected a list, got str"),
    ],
)
def test_a_malformed_run_is_refused_by_key_and_nothing_is_written(run, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_report(run, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_page_stays_small_and_says_what_it_left_out(tmp_path):
    attempt = {"problem": "p", "steps": [{"text": "7" * 5000, "score": 0.5}] * 20}
    html = page({"attempts": [attempt] * 200}, tmp_path)
    assert len(html.encode()) <= 2_000_000
    shown = html.count('<article class="attempt">')
    assert shown == 50 and f"{shown} of 200 attempts fit on this page" in html  # 200 and 100 are over 2 MB
    assert "3,500 more characters in run.json" in html
    with pytest.raises(ValueError, match="allowed: 2,000,000"):
        write_report({"summary": ["x" * 3_000_000]}, tmp_path / "other.html")
