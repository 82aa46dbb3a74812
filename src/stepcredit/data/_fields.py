"""Typed reading of one row: every mistake names the field, what was given and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class Fields:
    """One object of a row, and the path that leads to it.

    >>> Fields({"problem": 5}).text("problem")
    Traceback (most recent call last):
    ValueError: field 'problem': got 5; allowed: text
    """

    values: Mapping[str, Any]
    path: str = ""

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def fail(self, name: str, given: Any, allowed: str) -> NoReturn:
        """Raise the ValueError that every accessor raises."""
        raise ValueError(f"field {self.path + name!r}: got {short(given)}; allowed: {allowed}")

    def need(self, name: str, allowed: str = "any value") -> Any:
        """The field, which must be there; null counts as there."""
        if name not in self.values:
            raise ValueError(
                f"field {self.path + name!r} is missing; needed: {allowed}; the row has: {', '.join(self.values) or 'nothing'}"
            )
        return self.values[name]

    def text(self, name: str, *, blank: bool = False) -> str:
        """A string; blank ones only where asked for."""
        given = self.need(name, "text")
        if not isinstance(given, str):
            self.fail(name, given, "text")
        if not blank and not given.strip():
            self.fail(name, given, "text that is not empty")
        return given

    def optional_text(self, name: str) -> str | None:
        """A string, or None where the field is null or absent."""
        return self.text(name, blank=True) if self.has(name) else None

    def items(self, name: str, allowed: str, *, empty: bool = False) -> list[Any]:
        """A list, not empty unless asked for."""
        given = self.need(name, allowed)
        if not isinstance(given, list | tuple) or (not given and not empty):
            self.fail(name, given, allowed)
        return list(given)

    def texts(self, name: str, *, blank: bool = False) -> list[str]:
        """A non-empty list of strings."""
        given = self.items(name, "a list of texts with at least one entry")
        for index, text in enumerate(given):
            if not isinstance(text, str):
                self.fail(f"{name}[{index}]", text, "text")
            if not blank and not text.strip():
                self.fail(f"{name}[{index}]", text, "text that is not empty")
        return given

    def flag(self, name: str) -> bool | None:
        """true, false, 0, 1 or null; the field must be there."""
        allowed = "true, false, 0, 1, or null where it is not known"
        given = self.need(name, allowed)
        if given is None or isinstance(given, bool):
            return given
        if not isinstance(given, int | float) or given not in (0, 1):
            self.fail(name, given, allowed)
        return bool(given)

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        allowed = f"a whole number from {low} to {high}"
        given = self.need(name, allowed)
        if isinstance(given, bool) or not isinstance(given, int | float) or given != given or int(given) != given:
            self.fail(name, given, allowed)
        if not low <= given <= high:
            self.fail(name, given, allowed)
        return int(given)

    def number(self, name: str) -> float:
        """A finite number."""
        return finite(self, name, self.need(name, "a finite number"))

    def child(self, name: str) -> Fields:
        """An object within this one."""
        given = self.need(name, "an object")
        if not isinstance(given, Mapping):
            self.fail(name, given, "an object")
        return Fields(given, f"{self.path}{name}.")

    def children(self, name: str, *, empty: bool = False) -> list[Fields]:
        """A list of objects."""
        given = self.items(name, "a list of objects" + ("" if empty else " with at least one entry"), empty=empty)
        for index, each in enumerate(given):
            if not isinstance(each, Mapping):
                self.fail(f"{name}[{index}]", each, "an object")
        return [Fields(each, f"{self.path}{name}[{index}].") for index, each in enumerate(given)]

    def rest(self, *used: str) -> dict[str, Any]:
        """The fields that are not among these."""
        return {name: value for name, value in self.values.items() if name not in used}


def finite(fields: Fields, name: str, given: Any, allowed: str = "a finite number") -> float:
    """`given` as a float; NaN, infinities, booleans and everything else are refused."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        fields.fail(name, given, allowed)
    return float(given)


def labels(fields: Fields, name: str, num: int, what: str) -> list[float]:
    """Step labels: booleans or numbers in [0, 1], null -> NaN; exactly one per step."""
    given = fields.items(name, f"a list of {num} labels")
    if len(given) != num:
        fields.fail(name, given, f"one label per step: {num} {what}, got {len(given)} labels")
    allowed = "true, false, a number from 0 to 1, or null where it is not known"
    found: list[float] = []
    for index, label in enumerate(given):
        if label is None or isinstance(label, bool):
            found.append(math.nan if label is None else float(label))
            continue
        value = finite(fields, f"{name}[{index}]", label, allowed)
        if not 0.0 <= value <= 1.0:
            fields.fail(f"{name}[{index}]", label, allowed)
        found.append(value)
    return found


def short(given: Any) -> str:
    """What was given, cut to a length that fits a message."""
    shown = repr(given)
    return shown if len(shown) <= 80 else f"{shown[:80]}... ({len(shown)} characters)"
