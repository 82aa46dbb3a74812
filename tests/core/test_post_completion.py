"""What is read behind the end of completion, and what is not."""

import ast
from pathlib import Path

import pytest

import stepcredit
from stepcredit import Outcome, Problem, Step
from stepcredit.core.post_completion import Evaluation, completed, evaluation_of, marked, read_evaluation
from stepcredit.core.tree import star

SOURCE = Path(stepcredit.__file__).parent


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["1 0 1", "0 1"], Evaluation((1, 0, 1), (0.0, 1.0))),
        (["1", "[0.7, 1]"], Evaluation((1,), (0.7, 1.0))),
        (["[0,1]"], Evaluation((), (0.0, 1.0))),
        ([".25"], Evaluation((), (0.25,))),
        (["1.0"], Evaluation((), (1.0,))),
    ],
)
def test_predicted_rewards_are_read(lines, said):
    assert read_evaluation(lines) == said


@pytest.mark.parametrize(
    "lines",
    [[], ["1", "1", "1"], ["2"], ["-1"], ["1.5"], ["10"], ["[1"], ["1]"], ["1 1 1"], ["1 2", "1"], ["", "1"], ["1 ", "1"],
     ["nan"], ["[1,1][1,1]"], ["1\n1"], ["__import__('os').getcwd()"], ["1 if True else 0"]],
)  # fmt: skip
def test_anything_else_is_no_evaluation(lines):
    assert read_evaluation(lines) is None


def test_model_text_is_never_run():
    """The release gives what a model wrote to Python's eval (released code defect D10)."""
    for name in ("core/post_completion.py", "credit/post_completion.py", "judge/post_completion.py", "recipes/pcl.py",
                 "recipes/_pcl_world.py", "recipes/_pcl_arms.py"):  # fmt: skip
        calls = {node.func.id for node in ast.walk(ast.parse((SOURCE / name).read_text()))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        assert not calls & {"eval", "exec", "compile", "__import__"}, name


def test_steps_behind_the_marker_evaluate_and_inference_has_those_before():
    tree = star(Problem("p", "2+3"), [[Step("2+3=5"), Step("<eoc>"), Step("1"), Step("1 1")], [Step("2+3=4")]],
                [Outcome(1.0), Outcome(0.0)])  # fmt: skip
    found = marked(tree)
    assert [step.kind for step in found.steps[1:]] == ["reason", "reason", "evaluation", "evaluation", "reason"]
    first, second = (found.solution(leaf) for leaf in found.leaves)
    assert [step.text for step in completed(first)] == ["2+3=5"] and completed(second) == second
    assert evaluation_of(first) == Evaluation((1,), (1.0, 1.0)) and evaluation_of(second) is None
    assert [step.kind for step in tree.steps[1:]] == ["reason"] * 5


def test_a_marker_inside_a_line_ends_the_attempt_there():
    steps = [Step("2+3=5<eoc>", token_ids=(1, 2)), Step("1", kind="evaluation")]
    assert [(step.text, step.token_ids) for step in completed(steps)] == [("2+3=5", None)]
