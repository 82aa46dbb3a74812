"""The command line: finds the command, builds its parser from its signature, and says mistakes in one line.

    stepcredit COMMAND [arguments] [--config FILE] [--print_config] [--debug]

Options may be written with hyphens or underscores. A mistake ends with one line on stderr and exit code 2; what a
command writes appears whole or not at all. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

COMMANDS = {
    "demo": "the whole path at a small budget: policy, attempts, outcomes, three judges, report",
    "list": "the registered methods, by family",
    "run": "a recipe: a paper or an experiment from end to end",
    "sample": "write attempts at a task's problems",
    "verify": "decide the outcomes of attempts, add observations or step truth",
    "credit": "put credit on the steps of attempts",
    "train": "train a scorer on attempts",
    "score": "judge the steps of attempts with a scorer",
    "evaluate": "measure judged attempts beside the nulls",
    "report": "write the page of a run again",
}
ALIASES = {"demo": ["run", "outcome_prm", "--size", "demo", "--out", "runs/demo"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 after a mistake, 130 when interrupted."""
    arguments = [_underscored(each) for each in (sys.argv[1:] if argv is None else argv)]
    debug = "--debug" in arguments
    arguments = [each for each in arguments if each != "--debug"]
    try:
        return _dispatch(arguments)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("stepcredit: interrupted", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        if debug:
            raise
        print(f"stepcredit: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _underscored(argument: str) -> str:
    """--on-error=x-y -> --on_error=x-y."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        raise ValueError(f"no command given; there are: {', '.join(COMMANDS)} (stepcredit --help says what they do)")
    command, rest = arguments[0], arguments[1:]
    if command in ("-h", "--help", "help"):
        print(_help())
        return 0
    if command == "--version":
        from stepcredit import __version__

        print(__version__)
        return 0
    if command not in COMMANDS:
        raise ValueError(f"no command {command!r}; there are: {', '.join(COMMANDS)}")
    command, *before = ALIASES.get(command, [command])
    return _run(importlib.import_module(f"stepcredit.commands.{command}"), command, [*before, *rest])


def _run(module: ModuleType, command: str, arguments: list[str]) -> int:
    from jsonargparse import ArgumentError

    from stepcredit.commands import _parser

    try:
        parser = _parser.build(module, command, arguments)
        values = parser.parse_args(arguments)
    except ArgumentError as error:
        raise ValueError(f"{_parser.plainly(str(error))} (stepcredit {command} --help lists the options)") from error
    except SystemExit as done:  # --help and --print_config
        return int(done.code or 0)
    module.run(**_parser.given(module, values))
    return 0


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: stepcredit COMMAND [arguments]",
            "",
            "Step-level rewards for reasoning models, from outcomes you already trust.",
            "",
            *lines,
            "",
            "stepcredit COMMAND --help lists a command's options; every one of them can stand in a YAML file given with",
            "--config, and --print_config shows them all. --debug shows where an error comes from.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
