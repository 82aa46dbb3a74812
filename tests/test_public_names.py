"""Names a user meets: whole standard words, counts that start with num_, every one of them with a docstring."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from stepcredit.core import registry

SOURCE = Path(__file__).resolve().parents[1] / "src" / "stepcredit"

VAGUE = {"manager", "managers", "helper", "helpers", "util", "utils", "misc", "common", "stuff"}
CLIPPED = {
    "acc", "arr", "avg", "cfg", "cnt", "coef", "ctx", "curr", "dct", "desc", "dist", "elem", "env", "esc",
    "idx", "impl", "lbl", "lst", "mgr", "msg", "msgs", "obj", "outs", "param", "params", "pred", "preds", "prob",
    "probs", "prop", "ptr", "rec", "res", "resp", "ret", "samp", "sol", "sols", "str", "tmp", "tok", "toks", "traj",
    "trajs", "val", "vals", "var", "vec",
}  # fmt: skip
COUNTS = re.compile(r"^(n|nb|number_of)_\w+$|_(count|cnt|num|total_count)$|^(count)_\w+$")
FIXED = {"Estimate.n"}  # given by the data model


def words(name):
    """max_new_tokens -> max new tokens; LastStepBlame -> last step blame; axes such as _N and _GT are dropped."""
    parts = [part for part in name.strip("_").split("_") if not re.fullmatch(r"[A-Z]\w?|[A-Z]{2,3}", part)]
    return [word.lower() for part in parts for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", part)]


def arguments(function):
    found = function.args
    return [a.arg for a in (*found.posonlyargs, *found.args, *found.kwonlyargs) if a.arg not in ("self", "cls")]


def public(tree):
    """(qualified name, node or None) of a module's public functions, classes, methods, arguments and fields."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node.name, node
            yield from ((f"{node.name}({argument})", None) for argument in arguments(node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            for child in node.body:
                if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith("_"):
                    yield f"{node.name}.{child.name}", child
                    yield from ((f"{node.name}.{child.name}({a})", None) for a in arguments(child))
                elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                    yield f"{node.name}.{child.target.id}", None


def faults(module, text):
    """What a module's public names do against the rules, in sentences."""
    tree = ast.parse(text)
    found = [] if ast.get_docstring(tree) or not tree.body else [f"{module} has no docstring"]
    names = [(part, None) for part in module.split(".") if not part.startswith("_")]
    for qualified, node in (*names, *public(tree)):
        last = re.split(r"[.(]", qualified.rstrip(")"))[-1]
        if last.startswith("_") or qualified in FIXED:
            continue
        where = f"{module}: {qualified}"
        if node is not None and not ast.get_docstring(node) and not _is_overload(node):
            found.append(f"{where} has no docstring")
        if VAGUE & set(words(last)):
            found.append(f"{where} says manager, helper or util")
        if clipped := CLIPPED & set(words(last)):
            found.append(f"{where} clips a word: {', '.join(sorted(clipped))}")
        if COUNTS.search(last):
            found.append(f"{where} is a count: it starts with num_")
    return found


def _is_overload(node):
    return any("overload" in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ()))


def test_public_names_follow_the_rules():
    found = [
        fault
        for path in sorted(SOURCE.rglob("*.py"))
        for fault in faults(".".join(path.relative_to(SOURCE).with_suffix("").parts), path.read_text())
    ]
    assert not found, "\n".join(found)


def test_every_registered_method_names_its_source_and_is_named_as_its_file():
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(("stepcredit", *path.relative_to(SOURCE).with_suffix("").parts))
        family = next((f for f, package in registry.FAMILIES.items() if module.rpartition(".")[0] == package), None)
        if family is None or path.stem.startswith("_"):
            continue
        calls = [
            (node.name, decorator)
            for node in ast.parse(path.read_text()).body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] == "register"
        ]
        assert len(calls) == 1, (
            f"{module}: a public module of {family} registers exactly one method, found {len(calls)}"
        )
        name, call = calls[0]
        assert ast.literal_eval(call.args[0]) == family, f"{module} registers under {ast.unparse(call.args[0])}"
        papers = [keyword.value for keyword in call.keywords if keyword.arg == "paper"]
        assert papers and ast.literal_eval(papers[0]).strip(), f"{module}: {name} names no paper"


def test_families_that_exist_can_be_listed():
    for family, package in registry.FAMILIES.items():
        if (SOURCE.parent / package.replace(".", "/") / "__init__.py").exists():
            assert importlib.util.find_spec(package) and isinstance(registry.names(family), list)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"""D."""\ndef f():\n    return 1', "f has no docstring"),
        ("X = 1", "has no docstring"),
        ('"""D."""\nclass StepManager:\n    """D."""', "manager, helper or util"),
        ('"""D."""\ndef load_cfg():\n    """D."""', "clips a word: cfg"),
        ('"""D."""\ndef f(step_count):\n    """D."""', "f(step_count) is a count"),
        ('"""D."""\ndef f(*, n_steps=1):\n    """D."""', "f(n_steps) is a count"),
        ('"""D."""\nclass A:\n    """D."""\n    prob_N: int', "A.prob_N clips a word: prob"),
        ('"""D."""\nclass A:\n    """D."""\n    def g(self):\n        return 1', "A.g has no docstring"),
    ],
)
def test_a_planted_fault_is_caught(text, said):
    assert any(said in fault for fault in faults("module", text))


def test_good_names_pass():
    text = '"""D."""\ndef keep_rate(num_steps, reward_N, logprob_GT, verify_fn):\n    """D."""\n\ndef _idx():\n    pass'
    assert faults("credit.outcome_broadcast", text) == []
    assert words("max_new_tokens") == ["max", "new", "tokens"] and words("LastStepBlame") == ["last", "step", "blame"]
    assert words("reward_N") == ["reward"] and words("logprob_G_T") == ["logprob"]
