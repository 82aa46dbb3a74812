"""`stepcredit run`: a recipe from end to end, its run.json and its page."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from stepcredit.commands._parser import Group, peek
from stepcredit.core import registry

FILLED = ("out", "progress")  # knobs of a recipe that the command fills in


def groups(arguments: list[str]) -> list[Group]:
    """The recipe's knobs, as options of their own."""
    recipe = peek(arguments, "recipe", 0)
    return [] if recipe is None else [Group.of("", registry.get("recipes", recipe), leave_out=[*FILLED, "threads"])]


def run(  # noqa: D417  # the parser fills in what is not described
    recipe: str,
    *,
    out: str | None = None,
    threads: int | None = None,
    knobs: Mapping[str, Any],
) -> None:
    """Run a recipe, write run.json and report.html, and print its table. Name the recipe before its knobs.

    Args:
        recipe: The recipe; `stepcredit list recipes` names them.
        out: The run's folder; runs/<recipe> when not given.
        threads: Processor threads (all when not given).
    """
    from stepcredit.commands import _show, _torch

    entry = registry.get("recipes", recipe)
    folder = out or str(entry.knobs.get("out") or f"runs/{recipe}")
    _torch.prepare(threads)
    accepted = inspect.signature(entry.function).parameters
    filled = {"out": folder, "progress": sys.stderr.isatty()}
    done = entry.function(**knobs, **{name: value for name, value in filled.items() if name in accepted})
    _show.save_run(done, folder)
    _show.run_table(done)
    for line in done.get("summary") or []:
        print(line)
    print(f"wrote {folder}/run.json and {folder}/report.html")
