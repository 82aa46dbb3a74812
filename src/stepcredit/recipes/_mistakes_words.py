"""Attempts at sorting words letter by letter with slips of many kinds, for `recipes/first_mistakes`."""

from __future__ import annotations

from collections.abc import Sequence

from stepcredit.core.protocols import Rng
from stepcredit.tasks._orders import ORDINALS, Order, letter_number, write_order


class _Writer:
    """One attempt: slips at a rate of its own, which is 0 in sound attempts, and knows whether it has."""

    def __init__(self, rng: Rng, rate: float) -> None:
        self.rng, self.rate, self.slipped = rng, rate, False

    def slips(self, share: float = 1.0) -> bool:
        found = bool(self.rng.random() < self.rate * share)
        self.slipped = self.slipped or found
        return found

    def moved(self, order: Order) -> Order:
        """A group put elsewhere, nearby mostly."""
        at = int(self.rng.integers(len(order)))
        to = at + int(self.rng.choice([-1, 1])) if self.rng.random() < 0.6 else int(self.rng.integers(len(order)))
        rest = [*order[:at], *order[at + 1 :]]
        to = min(max(to, 0), len(rest))
        return [*rest[:to], order[at], *rest[to:]]

    def lost(self, order: Order) -> Order:
        """Without one of the words."""
        gone = str(self.rng.choice([word for group in order for word in group]))
        return [kept for group in order if (kept := [word for word in group if word != gone])]

    def parted(self, order: Order) -> Order:
        """A group told apart as it stands, or two neighbours put together."""
        open_ = [i for i, group in enumerate(order) if len(group) > 1]
        if open_ and self.rng.random() < 0.7:
            at = int(self.rng.choice(open_))
            return [*order[:at], *([word] for word in order[at]), *order[at + 1 :]]
        if len(order) < 2:
            return order
        at = int(self.rng.integers(len(order) - 1))
        return [*order[:at], [*order[at], *order[at + 1]], *order[at + 2 :]]

    def spoilt(self, order: Order) -> Order:
        """The order with one slip."""
        return (self.moved, self.moved, self.lost, self.parted)[int(self.rng.integers(4))](order)

    def letters(self, group: Sequence[str], depth: int) -> tuple[str, dict[str, str]]:
        """What is said of the letters at a depth from 0, and the numbers said as letters."""
        said, letter_of = [], dict[str, str]()
        missed = str(self.rng.choice(list(group))) if len(group) > 2 and self.slips() else ""
        wrong = str(self.rng.choice(list(group))) if self.slips(2.0) else ""
        for word in group:
            if word == missed:
                continue
            letter = word[depth] if depth < len(word) else word[-1]
            shown = number = letter
            if word == wrong:
                near = word[max(depth - 1, 0) : depth + 2]
                other = (
                    str(self.rng.choice(list(near)))
                    if self.rng.random() < 0.5
                    else chr(97 + int(self.rng.integers(26)))
                )
                kind = int(self.rng.integers(3))
                shown, number = (other, other) if kind == 0 else (letter, other) if kind == 1 else (other, letter)
            said.append(f'"{word}": "{shown}" ({letter_number(number)}).')
            letter_of[word] = number
        return " ".join(said), letter_of


def attempt(
    prompt: str, rng: Rng, *, slip_share: float = 0.55, rate: float = 0.06, redraw: bool = True
) -> list[str]:  # fmt: skip
    """A trace in the recorded form; a share of attempts slips, at `rate` a writing, and carries it forward.

    Slips: a letter or its number misread, a word passed over; in an order, a group moved, lost, told apart as it stands
    or put together with the next; a subpart with a word too few or out of turn; an answer before all is told apart.
    What slips and still ends right, or does not slip after all, is drawn again nearly always; not without `redraw`. Out of turn does no harm by itself: it is learnt as wrong
    because it comes with other slips; oracle and annotators count it wrong.
    """
    words = prompt.split()
    rate = rate if rng.random() < slip_share else 0.0
    while True:
        writer = _Writer(rng, rate)
        lines, answer = _written(words, writer, rng)
        if not (rate and redraw) or (writer.slipped and answer != sorted(words)) or rng.random() < 0.03:
            return [*lines, f"I have now sorted all the words. The answer is {' '.join(answer)}"]


def _written(words: list[str], writer: _Writer, rng: Rng) -> tuple[list[str], list[str]]:
    """The lines before the answer, and the answer."""
    said, letter_of = writer.letters(words, 0)
    order, shown = _sorted(writer, letter_of)
    lines = [
        f"I should start by looking at the first letter of the words in the list. The first letter: {said}",
        f"We now have: {shown}.",
    ]
    depth_of, numbered = dict.fromkeys(words, 1), rng.random() < 0.3
    while any(len(group) > 1 for group in order) and not writer.slips(0.5) and len(lines) < 60:
        open_ = [i for i, group in enumerate(order) if len(group) > 1]
        at = int(rng.choice(open_)) if writer.slips() else open_[0]
        group, depth = order[at], max(depth_of[word] for word in order[at])
        if depth >= min(len(ORDINALS), *(len(word) for word in group)):
            order = [*order[:at], *([word] for word in group), *order[at + 1 :]]
            continue
        looked_at = group[1:] if len(group) > 2 and writer.slips(0.5) else group
        said, letter_of = writer.letters(looked_at, depth)
        ordinal = ORDINALS[depth]
        lines.append(
            f"Now let's sort this subpart {write_order([looked_at])} by looking at their {ordinal} letters. The {ordinal} letter: {said}"
        )
        part, shown = _sorted(writer, letter_of)
        order = [*order[:at], *part, *order[at + 1 :]]
        order = writer.spoilt(order) if writer.slips(2.0) else order
        depth_of.update({word: depth + 1 for word in group})
        hence = write_order(order, [letter_number(tie[0][0]) for tie in order] if numbered else None)
        brief = rng.random() < 0.05
        lines.append(f"We now have: {shown} for the subpart.{'' if brief else f' Hence, we have {hence}.'}")
    final = writer.spoilt(order) if writer.slips(2.0) else order
    return lines, [word for tie in final for word in tie]


def _sorted(writer: _Writer, letter_of: dict[str, str]) -> tuple[Order, str]:
    """The order the letters give, as it is and as written, with a slip perhaps."""
    order = [[word for word in letter_of if letter_of[word] == letter] for letter in sorted(set(letter_of.values()))]
    order = writer.spoilt(order) if writer.slips(1.5) else order
    return order, write_order(order, [letter_number(letter_of[tie[0]]) for tie in order])
