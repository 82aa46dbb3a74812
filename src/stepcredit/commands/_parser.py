"""From a command's signature to its parser, and from what was given back to its arguments.

Three parameters of a command's `run` are filled in here: `reading` (how to read the input, flat options), `knobs` (the
options of chosen methods, `--<group>.<knob>`, by group) and `config` (everything given, for run.json). A module with
methods to choose has `groups(arguments) -> list[Group]`, called with the arguments as typed, before they are parsed.
Where it has `notes() -> str`, its help ends with these. `KEYWORDS` holds options whose names Python keeps for itself, with
their help: `--from` is the parameter `from_`.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from stepcredit.commands._reading import Reading
from stepcredit.core.registry import Entry

FILLED = ("reading", "knobs", "config")
WORDS = {"float": "a finite number", "int": "a whole number", "bool": "true or false", "str": "text", "list": "a list"}
NO_VALUE = ("--help", "-h", "--print_config")


@dataclass(frozen=True)
class Group:
    """Options `--<key>.<name>` from the keyword arguments `names` of a function; key "" for flat ones.

    Where `chosen` names the method, it is the option `--<key> NAME` itself, `<key>.name` in a configuration.
    """

    key: str
    function: Callable[..., Any]
    names: Sequence[str]
    chosen: str | None = None

    @classmethod
    def of(cls, key: str, entry: Entry, *, leave_out: Sequence[str] = ()) -> Group:
        """The knobs of a registered method."""
        return cls(key, entry.function, [name for name in entry.knobs if name not in leave_out])

    def check(self, arguments: Sequence[str]) -> None:
        """Raises ValueError for a knob of another method."""
        given = [name.removeprefix(f"{self.key}.") for name in typed(arguments) if name.startswith(f"{self.key}.")]
        for name in (re.split(r"[.+]", each)[0] for each in given if self.key):
            if name not in (*self.names, "name" if self.chosen else ""):
                raise ValueError(f"--{self.key}.{name}: {self.function.__name__} has no such knob; allowed: "
                                 f"{', '.join(self.names) or 'none'}")  # fmt: skip


class Parser(ArgumentParser):  # type: ignore[misc]
    """A parser in which `--<key> NAME` is `--<key>.name NAME`, for the keys of groups whose method is chosen.

    Where `out` is a position, `-o FILE` may stand for it anywhere behind the input.
    """

    keys: tuple[str, ...] = ()
    out_is_position = False

    def parse_args(self, args: Sequence[str], **more: Any) -> Namespace:
        """As any parser's."""
        names = {f"--{key}": f"--{key}.name" for key in self.keys}
        parts = [each.partition("=") for each in args if not (self.out_is_position and each == "-o")]
        return super().parse_args(["".join([names.get(name, name), *rest]) for name, *rest in parts], **more)


def build(module: ModuleType, command: str, arguments: Sequence[str]) -> Parser:
    """The parser of a command, with the options of the methods that the arguments choose."""
    parameters = inspect.signature(module.run).parameters
    summary = (inspect.getdoc(module.run) or "").split("\n\nArgs:")[0]
    if hasattr(module, "notes") and not {"-h", "--help"}.isdisjoint(arguments):
        summary += "\n\n" + module.notes()
    parser = Parser(prog=f"stepcredit {command}", description=summary, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    optional: dict[str, str] = getattr(module, "OPTIONAL", {})  # positions that may be left out, with their help
    for name, what in optional.items():
        parser.add_argument(name, nargs="?", help=what)
    keywords: dict[str, str] = getattr(module, "KEYWORDS", {})
    for name, what in keywords.items():
        parser.add_argument(f"--{name}", type=str | None, default=None, help=what)
    skip = {name for name in (*FILLED, *optional, *(f"{name}_" for name in keywords)) if name in parameters}
    parser.add_function_arguments(module.run, as_group=False, as_positional=True, skip=skip)
    parser.out_is_position = "out" in parameters and parameters["out"].default is inspect.Parameter.empty
    if "reading" in parameters:
        parser.add_class_arguments(Reading)
    for group in _groups(module, arguments):
        group.check(arguments)
        if group.chosen:
            parser.keys += (group.key,)
            what = f"Which {group.key}, short --{group.key}; its knobs are --{group.key}.<knob>."
            parser.add_argument(f"--{group.key}.name", type=str, default=group.chosen, help=what)
        if group.names:
            others = set(inspect.signature(group.function).parameters) - set(group.names)
            parser.add_function_arguments(group.function, group.key or None, as_group=group.chosen is None, skip=others)
    return parser


def given(module: ModuleType, values: Namespace) -> dict[str, Any]:
    """The arguments of `run` from parsed values."""
    named = values.as_dict()
    named.pop("config", None)
    _check_finite(named)
    plain = {name: value for name, value in named.items() if name != "print_config"}
    parameters = inspect.signature(module.run).parameters
    found = {name: plain.pop(name) for name in list(plain) if name in parameters and name not in FILLED}
    found.update((f"{name}_", plain.pop(name)) for name in getattr(module, "KEYWORDS", {}))
    if "reading" in parameters:
        found["reading"] = Reading(**{field.name: plain.pop(field.name) for field in fields(Reading)})
    if "knobs" in parameters:
        found["knobs"] = plain
    if "config" in parameters:
        found["config"] = {name: value for name, value in named.items() if name != "print_config"}
    return found


def plainly(message: str) -> str:
    """A refusal of the parser as one sentence: the option, what was given, what is allowed; any other as it is.

    >>> plainly('Parser key "lr": ' "Expected a <class 'float'>. Got value: nan")
    '--lr is nan; allowed: a finite number'
    """
    found = re.search(r'Parser key "([\w.]+)":.*(?:Got|Given) value: (.*)', message, re.DOTALL)
    allowed = re.findall(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[(.*?)\])", message)
    if not found or not allowed or not {name for name, _ in allowed} <= {*WORDS, "NoneType", ""}:
        return message
    said = [literal.replace("'", "") or WORDS[name] for name, literal in allowed if name != "NoneType"]
    return f"--{found[1]} is {found[2]}; allowed: {', '.join(said)}"


def _check_finite(values: Mapping[str, Any], prefix: str = "--") -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            _check_finite(value, f"{prefix}{name}.")
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, float) and not math.isfinite(each):
                raise ValueError(f"{prefix}{name} is {value}; allowed: {WORDS['float']}")


def _groups(module: ModuleType, arguments: Sequence[str]) -> list[Group]:
    make = getattr(module, "groups", None)
    return make(list(arguments)) if make else []


def peek(arguments: Sequence[str], option: str, position: int | None = None) -> str | None:
    """What was typed for an option, or else at a position, or else stands in the --config file; None without."""
    options, positions = _typed(arguments)
    if option in options:
        return options[option]
    if position is not None and position < len(positions):
        return positions[position]
    if "config" in options and Path(options["config"]).is_file():
        try:
            found = yaml.safe_load(Path(options["config"]).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            return None  # the parser says what is wrong with it
        value = found.get(option) if isinstance(found, dict) else None
        value = value.get("name") if isinstance(value, dict) else value
        return None if value is None or isinstance(value, dict) else str(value)
    return None


def typed(arguments: Sequence[str]) -> list[str]:
    """The options that were typed, without their values."""
    return list(_typed(arguments)[0])


def _typed(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Options with their values, and the rest; every option of ours takes exactly one value."""
    options: dict[str, str] = {}
    positions: list[str] = []
    rest = iter(arguments)
    for each in rest:
        if not each.startswith("-") or re.fullmatch(r"-[0-9.]+", each):
            positions.append(each)
        elif "=" in each:
            name, _, value = each.partition("=")
            options[name.lstrip("-")] = value
        elif each not in NO_VALUE:
            options[each.lstrip("-")] = next(rest, "")
    return options, positions


def unescaped(text: str) -> str:
    r"""A text of nothing but \n, \t and spaces, as typed in a shell, with these read; any other text as it is.

    >>> unescaped("\\n\\n"), unescaped("\\newline")
    ('\n\n', '\\newline')
    """
    if re.fullmatch(r"(?:\\[nt]| )*\\[nt](?:\\[nt]| )*", text):
        return text.replace("\\n", "\n").replace("\\t", "\t")
    return text
