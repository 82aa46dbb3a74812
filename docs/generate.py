"""Writes what documentation can get wrong by itself: the method table, the list of formats, measured times, papers.md and api.md.

`python docs/generate.py` (or `make docs`) writes; tests/test_docs.py compares. Everything is read from the source with
ast, so that nothing heavy is imported.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from stepcredit.commands._catalog import Row, catalog
from stepcredit.core import registry

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "stepcredit"
NOTE = "<!-- Written by docs/generate.py: change the docstrings, not this file. -->"
PACKAGES = ("core", "data", *registry.FAMILIES, "train", "evaluate", "report")
SHORT = {  # how the docstrings call a paper; one that is not here is listed by its number alone
    "1706.04599": "ECE, equal-width bins (Guo et al.)",
    "1909.10155": "ECE, equal-mass bins",
    "2107.03374": "Codex (pass@N)",
    "2110.14168": "Verifiers for GSM8K",
    "2203.11171": "Self-consistency",
    "2206.02336": "DiVeRSe",
    "2206.10498": "PlanBench",
    "2301.09633": "Prediction-powered inference",
    "2305.10601": "Tree of Thoughts",
    "2305.20050": "Let's Verify Step by Step",
    "2306.14898": "InterCode",
    "2311.01453": "PPI++",
    "2311.08516": "BIG-Bench-Mistake",
    "2311.09724": "OVM",
    "2312.08935": "Math-Shepherd",
    "2402.03300": "GRPO (DeepSeekMath)",
    "2402.05808": "R3",
    "2402.14740": "RLOO",
    "2404.12253": "AlphaLLM",
    "2405.16802": "AutoPSV",
    "2406.04291": "Stratified PPI",
    "2406.06592": "OmegaPRM",
    "2408.03314": "Scaling test-time compute (Snell et al.)",
    "2412.01981": "ImplicitPRM",
    "2412.06559": "ProcessBench",
    "2501.03124": "PRMBench",
    "2502.01456": "PRIME",
    "2503.20783": "Dr.GRPO",
    "2504.00891": "GenPRM",
    "2504.15275": "PURE",
    "2505.10425": "L2T",
    "2506.03106": "Critique-GRPO",
    "2506.03570": "FreePRM",
    "2506.11902": "TreeRL",
    "2506.18110": "AdaBack",
    "2507.01951": "SPRM (MetaStone-S1)",
    "2507.20252": "PCL",
    "2508.19229": "StepWiser",
    "2509.16548": "SCAN",
    "2509.19199": "iStar",
    "2509.21240": "Tree-GRPO",
    "2509.26578": "CRM",
    "2510.21618": "ToolPO (DeepAgent)",
    "2510.25992": "SRL",
    "2606.27739": "LCA",
    "2609.39220": "RSP",
}


def pages() -> dict[Path, str]:
    """Every generated text, by file; a file with hand-written text keeps it around its markers."""
    return {
        ROOT / "README.md": _between(ROOT / "README.md", "methods", method_table()),
        ROOT / "docs" / "formats.md": _between(ROOT / "docs" / "formats.md", "formats", format_table()),
        ROOT / "docs" / "speed.md": _between(ROOT / "docs" / "speed.md", "measured", measured()),
        ROOT / "docs" / "papers.md": papers(),
        ROOT / "docs" / "api.md": api(),
        ROOT / "docs" / "claims.md": claims(),
    }


def method_table() -> str:
    """The registry: one line a method."""
    lines = ["| family | name | kind | what it is | paper |", "|---|---|---|---|---|"]
    for family in registry.FAMILIES:
        lines += [
            f"| {family} | [`{row.name}`]({_path(row)}) | {row.kind} | {_cell(row.summary)} | {_linked(row.paper)} |"
            for row in catalog(family)
        ]
    return "\n".join(lines)


def format_table() -> str:
    """The modules of data/: one line a format."""
    lines = ["| `--format` | what it is | reading knobs | written |", "|---|---|---|---|"]
    for path in _modules(SOURCE / "data"):
        tree = _parsed(path)
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        knobs = ", ".join(f"`{each.arg}`" for each in functions["parse"].args.kwonlyargs) or "–"
        can_write = "rows" in functions or _imports(tree, "rows")
        lines.append(f"| `{path.stem}` | {_cell(_summary(tree))} | {knobs} | {'yes' if can_write else 'no'} |")
    return "\n".join(lines)


def papers() -> str:
    """Every paper that a file names, and the files that name it."""
    files: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for number in sorted(set(re.findall(r"\b2\d{3}\.\d{5}\b|\b1\d{3}\.\d{5}\b", path.read_text(encoding="utf-8")))):
            files.setdefault(number, []).append(path.relative_to(SOURCE).as_posix())
    lines = [
        NOTE, "# Papers", "",
        "Which file holds which paper. How a file departs from its paper stands in its docstring, under *Departs*.", "",
        "| paper | | files |", "|---|---|---|",
    ]  # fmt: skip
    for number, where in sorted(files.items()):
        found = ", ".join(f"[{name}](../src/stepcredit/{name})" for name in where)
        lines.append(f"| {_linked(f'arXiv:{number}')} | {SHORT.get(number, '')} | {found} |")
    for row in (row for family in registry.FAMILIES for row in catalog(family)):
        if "arXiv:" not in row.paper and row.paper != "ours":
            lines.append(f"| {_linked(row.paper)} | | [{_path(row, '')}](../{_path(row)}) |")
    return "\n".join(lines) + "\n"


def claims() -> str:
    """claims/results.json as a table: every claim that was run, whatever came out."""
    lines = [
        "# Claims\n",
        "Written before the run, measured over untouched seeds, judged by the interval of the paired difference. Written by",
        "docs/generate.py from claims/results.json; `make claims` measures again.\n",
        "| claim | paper | expected | difference | seeds | verdict |",
        "|---|---|---|---|---|---|",
    ]
    source = ROOT / "claims" / "results.json"
    for row in json.loads(source.read_text(encoding="utf-8"))["results"] if source.is_file() else []:
        gap = f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] {row['unit']}"
        cells = [
            row["statement"],
            _linked(row["paper"]),
            row["expect"],
            gap,
            len(row["seeds"]),
            f"**{row['verdict']}**",
        ]
        lines.append("| " + " | ".join(_cell(str(cell)) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def measured() -> str:
    """benchmarks/results.json as a table, B5 left out, whose rows are many: the lab notes tell them."""
    lines = ["| row | value | interval | unit |", "|---|---|---|---|"]
    for row in json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))["results"]:
        if not row["name"].startswith("b5_"):
            counted = row["low"] == row["high"]
            spread = "counted" if counted else f"{row['low']:.4g} to {row['high']:.4g}"
            lines.append(f"| `{row['name']}` | {row['value']:.4g} | {spread} | {_cell(row['unit'])} |")
    return "\n".join(lines)


def api() -> str:
    """Public functions and classes with signature and first sentence, by package."""
    lines = [NOTE, "# Public functions", "", "By module; the full contract is the docstring.", ""]
    lines += ["`from stepcredit import ...`", "", *_members(SOURCE / "core" / "types.py", only=_front()), ""]
    for name in dict.fromkeys(registry.FAMILIES.get(each, f"stepcredit.{each}") for each in PACKAGES):
        folder = SOURCE.parent.joinpath(*name.split("."))
        lines += [f"## {name}", "", _summary(_parsed(folder / "__init__.py")), ""]
        lines += _exported(folder)
        for path in () if name == "stepcredit.data" else _modules(folder):
            if path.name != "types.py" and (members := _members(path)):
                lines += [f"`{name}.{path.stem}`", "", *members, ""]
    return "\n".join(lines).rstrip() + "\n"


def _members(path: Path, only: set[str] | None = None) -> list[str]:
    found = []
    for node in _parsed(path).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or (
            node.name not in only if only else node.name[0] == "_"
        ):
            continue
        called = f"class {node.name}" if isinstance(node, ast.ClassDef) else f"{node.name}{_signature(node)}"
        found.append(f"- `{called}`: {_first_sentence(ast.get_docstring(node) or '')}")
    return found


def _exported(folder: Path) -> list[str]:
    """What a package's __init__ takes from its machinery."""
    found: list[str] = []
    for node in _parsed(folder / "__init__.py").body:
        source = (node.module or "").rsplit(".", 1)[-1] if isinstance(node, ast.ImportFrom) else ""
        if isinstance(node, ast.ImportFrom) and source.startswith("_") and (folder / f"{source}.py").is_file():
            found += _members(folder / f"{source}.py", only={alias.name for alias in node.names})
    own = _members(folder / "__init__.py")
    return [*own, *found, ""] if own or found else []


def _signature(node: ast.FunctionDef) -> str:
    given = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){given}"


def _front() -> set[str]:
    return {
        alias.name
        for node in _parsed(SOURCE / "__init__.py").body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _modules(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*.py")) if not path.name.startswith("_"))


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(tree: ast.Module, name: str) -> bool:
    return any(alias.name == name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names)


def _summary(tree: ast.Module) -> str:
    return " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())


def _first_sentence(doc: str) -> str:
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", " ".join(doc.split("\n\n")[0].split()))[0]


def _path(row: Row, base: str = "src/stepcredit/") -> str:
    return f"{base}{registry.FAMILIES[row.family].removeprefix('stepcredit.').replace('.', '/')}/{row.name}.py"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _linked(paper: str) -> str:
    text = re.sub(r"arXiv:(\d{4}\.\d{5})", r"[\1](https://arxiv.org/abs/\1)", paper)
    text = re.sub(r"OpenReview:(\w+)", r"[OpenReview \1](https://openreview.net/forum?id=\1)", text)
    return re.sub(r"^https://github\.com/(\S+)$", r"[\1](https://github.com/\1)", text)


def _between(path: Path, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: written by docs/generate.py -->", f"<!-- /{name} -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{path} lacks the lines {begin} and {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


if __name__ == "__main__":
    for page, written in pages().items():
        page.write_text(written, encoding="utf-8")
