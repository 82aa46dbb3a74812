"""Documentation that can drift is generated or executed: this is where."""

import ast
import importlib
import importlib.util
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from stepcredit.commands import _catalog, _parser
from stepcredit.core import registry
from stepcredit.core.rng import rng

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(path, language):
    """The fenced blocks of a page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(path):
    """The arguments of each stepcredit line of a page's bash blocks."""
    lines = (line for block in blocks(path, "bash") for line in block.splitlines())
    return [shlex.split(line)[1:] for line in lines if line.startswith("stepcredit ")]


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """mine.jsonl and new.jsonl as the README describes them, 200 lines each, in the working directory."""
    task = registry.bind("tasks", "chain")()
    for seed, name in enumerate(("mine.jsonl", "new.jsonl")):
        rows = []
        for problem in task.problems(25, rng(seed, "problems")):
            for number in range(8):
                steps = task.demonstrate(problem, rng(seed, "attempts", problem.id, number))
                right = task.verify(problem, [steps])[0].correct
                text = "\n".join(step.text for step in steps)
                rows.append({"problem": problem.prompt, "attempt": text, "correct": right})
        assert len(rows) == 200
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def generated():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


@pytest.mark.parametrize(("path", "text"), generated().items(), ids=lambda value: getattr(value, "name", ""))
def test_generated_pages_are_what_the_source_says(path, text):
    assert path.read_text(encoding="utf-8") == text, f"{path.name} has drifted: run `make docs`"


def test_the_method_table_has_every_method():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for family in registry.FAMILIES:
        for name in registry.names(family):
            assert f"| {family} | [`{name}`]" in readme


def test_the_example_of_the_readme_prints_what_it_says(capsys):
    (code,) = blocks(ROOT / "README.md", "python")
    assert len(code.splitlines()) <= 12
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == blocks(ROOT / "README.md", "text")[0]


def test_the_method_of_contributing_passes_the_conformance_suite(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "conformance"))
    monkeypatch.syspath_prepend(str(tmp_path))
    checks = importlib.import_module("credit_checks")
    (code,) = blocks(ROOT / "CONTRIBUTING.md", "python")
    (tmp_path / "prefix_success.py").write_text(code, encoding="utf-8")
    try:
        importlib.import_module("prefix_success")
        entry = registry._ENTRIES["credit", "prefix_success"]
        for method in checks.variants(entry):
            for check in checks.due(method):
                checks.CHECKS[check](method)
    finally:
        registry._ENTRIES.pop(("credit", "prefix_success"), None)
        sys.modules.pop("prefix_success", None)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_parse(path):
    for command, *arguments in commands(path):
        module = importlib.import_module(f"stepcredit.commands.{command}")
        _parser.build(module, command, arguments).parse_args(arguments)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_named_in_the_text_exist(path):
    from stepcredit.cli import COMMANDS

    named = set(re.findall(r"`stepcredit (\w+)", path.read_text(encoding="utf-8")))
    assert named <= {*COMMANDS, "COMMAND"}, f"{path.name} names {named - set(COMMANDS)}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_resolve(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "http://", "#")):
            assert (path.parent / target.split("#")[0]).exists(), f"{path.name} links to {target}, which is not there"


TRAINS = "train_with_step_credit"  # a minute as it stands; run below, smaller


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.stem != TRAINS], ids=lambda path: path.stem)
def test_examples_run_and_are_short(path, own_files, monkeypatch, capsys):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40, f"{path.name} has {len(lines)} lines"
    given = {"score_your_file": ["mine.jsonl", "new.jsonl"], "export_for_trl": ["mine.jsonl", "rows.jsonl"]}
    monkeypatch.setattr(sys, "argv", [str(path), *given.get(path.stem, [])])
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    assert {
        "advantages_of_tool_calls": 'cancel({"id": 1})        -0.33',  # 0 - 1/3
        "credit_from_outcomes": "5*4=25          -0.58   0.44    1.00",  # the right attempt clears the step before
        "custom_verifier": "1 2 3      unparsed  nan",
        "export_for_trl": "200 rows in rows.jsonl",
        "score_your_file": "(best of 8, P(right) ",
    }[path.stem] in said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed")
def test_the_example_of_reinforcement_learning_runs_and_is_short(own_files, capsys):
    path = ROOT / "examples" / f"{TRAINS}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    runpy.run_path(str(path))["main"](num_updates=2, num_demonstrations=60, policy_updates=10)
    assert "share of right attempts" in capsys.readouterr().out
    assert Path("runs/example/trained/model.safetensors").is_file()


def test_exported_labels_stop_at_the_first_break(own_files):
    runpy.run_path(str(ROOT / "examples" / "export_for_trl.py"))["main"]("mine.jsonl", "rows.jsonl")
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert all(len(row["completions"]) == len(row["labels"]) > 0 for row in rows)
    assert {False, True} == {label for row in rows for label in row["labels"]}
    assert all(all(row["labels"][:-1]) for row in rows)  # a step asked after a likely break would weigh under one half


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_docstrings_name_the_paper_they_are_registered_with(family):
    for row in _catalog.catalog(family):
        path = Path(importlib.util.find_spec(f"{registry.FAMILIES[family]}.{row.name}").origin)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [tree, *(node for node in tree.body if isinstance(node, ast.FunctionDef))]
        said = " ".join(" ".join((ast.get_docstring(node) or "").split()) for node in nodes).casefold()
        needed = re.findall(r"\d{4}\.\d{5}|(?<=OpenReview:)\w+|(?<=github\.com/)\S+", row.paper)
        if not needed and row.paper != "ours":
            needed = [row.paper.split(",")[0]]  # a citation: its authors
        for name in needed:
            assert name.rsplit("/", 1)[-1].casefold() in said, f"{family}/{row.name}: no docstring names {row.paper}"


@pytest.mark.slow
def test_three_commands_score_a_users_file_and_the_scorer_reads_the_same_elsewhere(own_files, capsys):
    from stepcredit import Problem, Step
    from stepcredit.cli import main
    from stepcredit.judge.head import head

    given = commands(ROOT / "README.md")
    assert [each[0] for each in given] == ["train", "score", "evaluate"]
    for command in given:
        assert main([*command, *(["--updates", "20", "--threads", "1"] if command[0] == "train" else [])]) == 0
    assert "best_of_8" in capsys.readouterr().out
    assert len(Path("scored.jsonl").read_text().splitlines()) == 200

    found = {}
    exec(compile(blocks(ROOT / "docs" / "scorer-format.md", "python")[0], "scorer-format.md", "exec"), found)
    ours = head("scorer")([(Problem("p", found["problem"]), [Step(text) for text in found["steps"]])])[0]
    assert np.allclose(found["step_scores"].numpy(), ours.step_scores_S, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_the_traced_example_of_the_pipeline_runs(tmp_path, monkeypatch):
    from stepcredit.cli import main

    monkeypatch.chdir(tmp_path)
    for command in commands(ROOT / "docs" / "pipeline.md"):
        assert main(command) == 0
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
