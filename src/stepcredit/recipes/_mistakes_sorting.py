"""Word-sorting traces for `recipes/first_mistakes`: what a judge reads of a step, one line for each thing it says.

    step     The second letter: "pear": "e" (5). "plum": "l" (12).      letter own:ee said:e5    letter own:ll said:l12
             ... in "this subpart"                                      subpart:0    depth:1~1    words:letters+0
    step     We now have: (5) "pear" < (12) "plum" for the subpart.     number:5~5   next:5<12    words:order+0
             Hence, we have "fig" < "pear" < "plum".                    whole:+1o    whole:+0+1   words:whole+0
    step     The answer is fig pear plum                                answer:+1    open:0       words:answer+0

own: the word's letter at that place and the letter said; said: that letter and its number; subpart: where a word stands
among the groups not yet told apart; depth: how often it was looked at, and the ordinal said; number: the number said with
the letter and with the order; next: the numbers of two neighbours; whole: how much further on the second of two
neighbours stood in the order written before, and in the subpart's; answer: likewise in the last order; open: the groups
not told apart; words: how many more there are than there were. Places and numbers are put side by side and counted;
which of them a sound step may have is the judge's to learn. Equal lines of a step stand once. A step with nothing to
read keeps its own words. Writer of attempts: `_mistakes_words`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from stepcredit.tasks._orders import ORDINALS, Order, put_in, read_order

_SUBPART = re.compile(r"this subpart (.+?) by looking at their (\w+) letters")
_LETTER = re.compile(r'"([^"]+)": "(.)" \((\d+)\)')
_FAR = 3  # larger differences are written as this one


def view(prompt: str, texts: Sequence[str]) -> list[str]:
    """The lines of each step, one under the other."""
    order: Order = [prompt.split()]
    letters: list[tuple[str, int]] = []
    looked = dict.fromkeys(prompt.split(), 0)
    steps = []
    for text in texts:
        lines: list[str] = []
        if "answer is" in text:
            given = text.split("answer is", 1)[1].replace(",", " ").strip(" .").split()
            lines = _answered(order, given)
        elif "letter:" in text:
            read = [(word, letter, int(number)) for word, letter, number in _LETTER.findall(text)]
            subpart = _SUBPART.search(text)
            quoted = re.findall(r'"([^"]+)"', subpart[1]) if subpart else prompt.split()
            lines = _looked_at(read, quoted, order, looked, subpart[2] if subpart else "first")
            looked.update({word: looked.get(word, 0) + 1 for word, _, _ in read})
            letters = [(word, number) for word, _, number in read]
        elif "We now have:" in text:
            part_text, _, whole_text = text.split("We now have:", 1)[1].partition("Hence, we have")
            part, numbers = read_order(part_text)
            lines = _ordered(letters, part, numbers)
            due = put_in(order, part) if len(order) > 1 else part
            whole, _ = read_order(whole_text)
            if not whole and "<" in whole_text:
                whole = [[word] for word in re.findall(r"[^\s<]+", whole_text.strip(" ."))]
            if whole_text.rstrip(". ").endswith("<"):
                whole += due[len(whole) :]
            if whole:
                lines += _whole(order, part, whole)
            order = whole or due
        steps.append(
            "\n".join(dict.fromkeys(lines)) if lines else (" ".join(re.findall(r"[a-z]+", text.lower())) or "nothing")
        )
    return steps


def _looked_at(
    read: Sequence[tuple[str, str, int]], quoted: Sequence[str], order: Order, looked: dict[str, int], ordinal: str
) -> list[str]:  # fmt: skip
    """Letters as read beside the words' own, and which words they are."""
    depth = ORDINALS.index(ordinal) if ordinal in ORDINALS else 0
    lines = [
        f"letter own:{word[depth : depth + 1] or 'o'}{letter} said:{letter}{number}" for word, letter, number in read
    ]
    lines.append(_count("letters", len(quoted), len({word for word, _, _ in read} & set(quoted))))
    groups = [group for group in order if len(group) > 1] if len(order) > 1 or ordinal != "first" else order
    place = {word: i for i, group in enumerate(groups) for word in group}
    lines += [f"subpart subpart:{min(place.get(word, 9), _FAR)}" for word in quoted]
    lines.append(_count("subpart", len(groups[0]) if groups else 0, len(quoted)))
    return lines + [f"depth depth:{min(looked.get(word, 9), 9)}~{depth}" for word in quoted]


def _ordered(letters: Sequence[tuple[str, int]], part: Order, numbers: Sequence[int | None]) -> list[str]:
    """An order's numbers beside those read, and beside each other."""
    number_of = dict(letters)
    lines = [_count("order", len(number_of), len({word for group in part for word in group} & set(number_of)))]
    lines.append(_count("written", len(number_of), sum(map(len, part))))
    for group, number in zip(part, numbers, strict=True):
        lines += [f"number number:{number_of.get(word, 'o')}~{'o' if number is None else number}" for word in group]
        if number is None:
            lines += [f"tied tied:{number_of.get(a, 'o')}~{number_of.get(b, 'o')}" for a, b in pairwise(group)]
    first = [number_of.get(group[0], "o") if n is None else n for group, n in zip(part, numbers, strict=True)]
    return lines + [f"next next:{a}<{b}" for a, b in pairwise(first)]


def _whole(order: Order, part: Order, whole: Order) -> list[str]:
    """The whole order beside the one written before and the subpart's."""
    stood = {word: i for i, group in enumerate(order) for word in group}
    within = {word: i for i, group in enumerate(part) for word in group}
    lines = [_count("whole", len(stood), len({word for group in whole for word in group} & set(stood)))]
    lines.append(_count("again", len(stood), sum(map(len, whole))))
    lines.append(f"first first:{stood.get(whole[0][0], 'o')}")
    for group in whole:
        lines += [f"with with:{_apart(stood, a, b)}{_apart(within, a, b)}" for a, b in pairwise(group)]
    return lines + [
        f"whole whole:{_apart(stood, a[-1], b[0])}{_apart(within, a[-1], b[0])}" for a, b in pairwise(whole)
    ]


def _answered(order: Order, given: Sequence[str]) -> list[str]:
    stood = {word: i for i, word in enumerate(word for group in order for word in group)}
    lines = [_count("answer", len(stood), len(set(given) & set(stood))), _count("again", len(stood), len(given))]
    lines.append(f"open open:{min(sum(len(group) > 1 for group in order), _FAR)}")
    lines += [f"first first:{stood.get(word, 'o')}" for word in given[:1]]
    return lines + [f"answer answer:{_apart(stood, a, b)}" for a, b in pairwise(given)]


def _apart(place: dict[str, int], first: str, second: str) -> str:
    """How much further the second stands than the first; o where one of them does not."""
    if first not in place or second not in place:
        return "o"
    return f"{max(-_FAR, min(_FAR, place[second] - place[first])):+d}"


def _count(name: str, before: int, now: int) -> str:
    """The difference of two counts of words."""
    return f"words words:{name}{max(-_FAR, min(_FAR, now - before)):+d}"
