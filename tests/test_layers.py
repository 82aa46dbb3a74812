"""Who may import whom: the table of the design, executed over the source with ast.

Families are islands. A module may import the standard library, its own family and the families named for it; torch
and transformers live in four places, and in the one file that sets their threads for the commands; nothing heavy is
reachable at import from `stepcredit` or `stepcredit.cli`.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "stepcredit"

FAMILIES = (
    "data",
    "tasks",
    "policy",
    "verify",
    "rollout",
    "credit",
    "judge",
    "train",
    "evaluate",
    "report",
    "search",
    "audit",
)
MAY_IMPORT = {
    "core": set(),
    **{family: {"core"} for family in FAMILIES},
    "search": {"core", "rollout"},
    "audit": {"core", "evaluate"},
    "recipes": {"core", *FAMILIES},
}
EVERYTHING = ("cli", "commands", "__main__", "claims", "examples", "benchmarks")
FRONT = "__init__"  # what `import stepcredit` gives: the types of core
DEEP = {"torch", "transformers"}
DEEP_ALLOWED = ("train/", "judge/head.py", "judge/shared_head.py", "policy/hf.py", "commands/_torch.py")
HEAVY = DEEP | {
    "accelerate", "datasets", "jinja2", "math_verify", "matplotlib", "pandas", "pyarrow", "safetensors", "scipy",
    "sklearn", "tokenizers", "trl", "peft",
}  # fmt: skip


def module_of(path):
    """stepcredit.a.b of src/stepcredit/a/b.py."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree, module, is_package):
    """(imported module, whether it runs at import) for every import statement; `from a import b` gives a and a.b."""
    found = []

    def visit(node, top):
        if isinstance(node, ast.Import):
            found.extend((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            found.append((base, top))
            found.extend((f"{base}.{alias.name}", top) for alias in node.names)
        deferred = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, False)
            for child in node.orelse:
                visit(child, top)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, top and not deferred)

    visit(tree, True)
    return found


def room_of(module):
    """The part of the package a dotted name belongs to: stepcredit.judge.head -> judge, stepcredit -> __init__."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else FRONT


def breaches(module, relative, text, rooms):
    """What a module's source does against the table, in sentences. `rooms`: the parts the package has."""
    found = []
    room = room_of(module)
    if room not in MAY_IMPORT and room not in EVERYTHING and room != FRONT:
        return [f"{relative}: {room} is not in the table; decide what it may import"]
    for name, _ in imports(ast.parse(text), module, relative.endswith("__init__.py")):
        top = name.split(".")[0]
        if top == "stepcredit":
            to = room_of(name)
            if to not in rooms:
                to = FRONT  # a name of stepcredit/__init__.py, which holds types of core
            allowed = {"core"} if room == FRONT else MAY_IMPORT.get(room)
            if allowed is not None and to not in allowed | {room, FRONT}:
                found.append(f"{relative} imports {name}; {room} may import {', '.join(sorted(allowed)) or 'itself'}")
            if room == "core" and to == FRONT:
                found.append(f"{relative} imports {name}; core names its own modules")
        elif top in DEEP and not relative.startswith(DEEP_ALLOWED):
            found.append(f"{relative} imports {name}; only {', '.join(DEEP_ALLOWED)} may")
        elif room in ("core", FRONT) and top not in sys.stdlib_module_names and top != "numpy":
            found.append(f"{relative} imports {name}; core needs numpy and the standard library alone")
    return found


def reachable(start, sources):
    """Modules imported when `start` is: {module: the one that imports it}, third-party ones by top name."""
    seen, queue = {start: ""}, [start]
    while queue:
        module = queue.pop()
        path, text = sources[module]
        for name, top in imports(ast.parse(text), module, path.name == "__init__.py"):
            if not top:
                continue
            parts = name.split(".")
            if parts[0] != "stepcredit":
                seen.setdefault(parts[0], module)
                continue
            for end in range(1, len(parts) + 1):  # importing a.b runs a first
                parent = ".".join(parts[:end])
                if parent in sources and parent not in seen:
                    seen[parent] = module
                    queue.append(parent)
    return seen


def read_sources():
    return {module_of(path): (path, path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


def test_every_module_imports_only_what_its_family_may():
    sources = read_sources()
    rooms = {room_of(module) for module in sources}
    found = [
        breach
        for module, (path, text) in sources.items()
        for breach in breaches(module, path.relative_to(SOURCE).as_posix(), text, rooms)
    ]
    assert not found, "\n".join(found)


def test_nothing_heavy_is_imported_with_the_package_or_the_command_line():
    sources = read_sources()
    for start in {"stepcredit", "stepcredit.cli", "stepcredit.core.registry"} & set(sources):
        found = reachable(start, sources)
        heavy = {name: found[name] for name in HEAVY & set(found)}
        assert not heavy, f"{start} imports at start: {heavy}"


def test_a_fresh_process_agrees():
    modules = ["stepcredit", *(["stepcredit.cli"] if (SOURCE / "cli.py").exists() or (SOURCE / "cli").exists() else [])]
    code = f"import sys, {', '.join(modules)}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_package_says_what_it_holds():
    for path in sorted({p.parent for p in SOURCE.rglob("*.py")}):
        start = path / "__init__.py"
        assert start.exists(), f"{path.name} has no __init__.py"
        assert ast.get_docstring(ast.parse(start.read_text())), f"{path.name}/__init__.py has no docstring"


ROOMS = {"core", "credit", "judge", "search", "rollout", "recipes", "cli", "__init__"}


@pytest.mark.parametrize(
    ("module", "relative", "text", "said"),
    [
        ("stepcredit.credit.x", "credit/x.py", "from stepcredit.judge import head", "credit may import core"),
        ("stepcredit.credit.x", "credit/x.py", "def f():\n    import stepcredit.judge.head", "credit may import core"),
        ("stepcredit.credit.x", "credit/x.py", "from ..judge import head", "credit may import core"),
        ("stepcredit.credit.x", "credit/x.py", "from .. import judge", "credit may import core"),
        ("stepcredit.credit.x", "credit/x.py", "from stepcredit import judge", "credit may import core"),
        ("stepcredit.core.x", "core/x.py", "from stepcredit.credit import _assign", "core may import itself"),
        ("stepcredit.core.x", "core/x.py", "from stepcredit import Tree", "core names its own modules"),
        ("stepcredit.core.x", "core/x.py", "import scipy.stats", "numpy and the standard library alone"),
        ("stepcredit.search.x", "search/x.py", "import stepcredit.judge", "search may import core, rollout"),
        ("stepcredit.judge.x", "judge/x.py", "def f():\n    import torch", "judge/head.py"),
        ("stepcredit", "__init__.py", "from stepcredit.credit import x", "__init__ may import core"),
        ("stepcredit.helpers", "helpers.py", "", "helpers is not in the table"),
    ],
)
def test_a_planted_breach_is_caught(module, relative, text, said):
    assert any(said in breach for breach in breaches(module, relative, text, ROOMS))


@pytest.mark.parametrize(
    ("module", "relative", "text"),
    [
        (
            "stepcredit.credit.x",
            "credit/x.py",
            "from stepcredit.core.types import Tree\nfrom . import _assign\nimport numpy",
        ),
        ("stepcredit.search.x", "search/x.py", "from stepcredit.rollout import chains\nfrom stepcredit import Tree"),
        ("stepcredit.judge.head", "judge/head.py", "import torch"),
        ("stepcredit.recipes.x", "recipes/x.py", "from stepcredit import credit, judge, search"),
        ("stepcredit.cli", "cli.py", "import stepcredit.recipes"),
    ],
)
def test_what_the_table_allows_is_not_called_a_breach(module, relative, text):
    assert breaches(module, relative, text, ROOMS) == []


def test_only_what_runs_at_import_counts_as_reachable():
    sources = {
        "stepcredit": (Path("__init__.py"), "from stepcredit.a import f"),
        "stepcredit.a": (
            Path("a.py"),
            "try:\n    import scipy\nexcept ImportError:\n    pass\ndef f():\n    import torch",
        ),
    }
    found = reachable("stepcredit", sources)
    assert found["scipy"] == "stepcredit.a" and "torch" not in found
