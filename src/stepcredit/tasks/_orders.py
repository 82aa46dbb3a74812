"""Orders of words in which some are not told apart yet, as word-sorting traces write them: "a" < ["c" ? "b"] < "d"."""

from __future__ import annotations

import re

Order = list[list[str]]  # groups in order; the words of one group are not yet told apart

ORDINALS = tuple(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth".split()  # noqa: SIM905
)


def letter_number(letter: str) -> int:
    """The letter's place in the alphabet: a is 1, z is 26."""
    return ord(letter) - ord("a") + 1


def write_order(order: Order, numbers: list[int] | None = None) -> str:
    """The order as a trace writes it, with letter numbers before the groups where given."""
    parts = [
        '"' + group[0] + '"' if len(group) == 1 else "[" + " ? ".join(f'"{word}"' for word in group) + "]"
        for group in order
    ]
    return " < ".join(parts if numbers is None else [f"({n}) {part}" for n, part in zip(numbers, parts, strict=True)])


def read_order(text: str) -> tuple[Order, list[int | None]]:
    """The groups of an order as written, with the letter numbers before them."""
    order: Order = []
    numbers: list[int | None] = []
    for part in text.split(" < "):
        words = re.findall(r'"([^"]+)"', part)
        number = re.match(r"\s*\((\d+)\)", part)
        if words:
            order.append(words)
            numbers.append(int(number[1]) if number else None)
    return order, numbers


def same_order(first: Order, second: Order) -> bool:
    """Whether the groups are the same, whatever the order within each."""
    return [sorted(group) for group in first] == [sorted(group) for group in second]


def put_in(order: Order, part: Order) -> Order:
    """`part` put in the place of the group of its words; `order` itself if there is none."""
    words = sorted(word for group in part for word in group)
    for at, group in enumerate(order):
        if sorted(group) == words:
            return [*order[:at], *part, *order[at + 1 :]]
    return order
