"""Sorting words by hand: a radix sort from the first letter on, in long steps that quote the whole order so far.

    prompt   plum pear fig
    attempt  I should start by looking at the first letter of the words in the list. The first letter: "plum": "p" (16). ...
             We now have: (6) "fig" < (16) ["plum" ? "pear"].
             Now let's sort this subpart ["plum" ? "pear"] by looking at their second letters. The second letter: ...
             We now have: (5) "pear" < (12) "plum" for the subpart. Hence, we have "fig" < "pear" < "plum".
             I have now sorted all the words. The answer is fig pear plum

Traces have the form of BIG-Bench-Mistake (arXiv:2311.08516), whose recorded traces the oracle reads too.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.types import Floats, Problem
from stepcredit.tasks._orders import ORDINALS, Order, letter_number, put_in, read_order, same_order, write_order
from stepcredit.tasks._trace import check_rates, happens, stated_answer, texts, trace_task
from stepcredit.tasks._words import WORDS

_NAME = "word_sorting"
_SUBPART = re.compile(r"this subpart (.+?) by looking at their (\w+) letters")
_LETTER = re.compile(r'"([^"]+)": "(.)" \((\d+)\)')


@register("tasks", paper="arXiv:2311.08516")
def word_sorting(
    *, min_words: int = 4, max_words: int = 10, random_slip: float = 0.02, systematic_slip: float = 0.4
) -> Task:
    """The word-sorting task; no word of a problem begins another.

    Slips, carried forward: with probability `random_slip` a step reads one letter wrong, or exchanges two neighbours
    in the order it writes. With probability `systematic_slip` two words that tie within a subpart are taken to be
    sorted as they stand: all attempts share it, and half the time nothing comes of it.

    `label_steps`: letters are sound iff they are those of the words to be looked at, each once, with their numbers;
    these are at first all words, then the first group not yet told apart, at a letter before which they agree. An order is
    sound iff it follows from the letters written just before, and the whole order after "Hence" (if given) iff it is
    the one written before with the subpart put in. The answer is sound iff every group was told apart and it is the
    written order. A step of another form is NaN.

    Raises ValueError for impossible sizes and rates that are no probabilities.
    """
    if not 2 <= min_words <= max_words <= 20:
        raise ValueError(f"{_NAME}: {min_words} to {max_words} words; allowed: 2 to 20")
    check_rates(_NAME, random_slip=random_slip, systematic_slip=systematic_slip)

    def draw(rng: Rng) -> tuple[str, dict[str, int]]:
        num = int(rng.integers(min_words, max_words + 1))
        words: list[str] = []
        for index in rng.permutation(len(WORDS)):
            word = WORDS[index]
            if not any(word.startswith(other) or other.startswith(word) for other in words):
                words.append(word)
            if len(words) == num:
                break
        return " ".join(words), {"words": num}

    def attempt(prompt: str, rng: Rng | None) -> list[str]:
        return _trace(prompt.split(), rng, random_slip, systematic_slip)

    return trace_task(_NAME, draw, attempt, label_steps, _canonical)


def _canonical(answer: str) -> str:
    return " ".join(answer.replace(",", " ").split())


def _trace(words: list[str], rng: Rng | None, random_slip: float, systematic_slip: float) -> list[str]:
    """Raises ValueError for words it cannot tell apart letter by letter: other than a-z, or one the beginning of another."""
    ordered = sorted(words)
    if not all(re.fullmatch("[a-z]{1,15}", w) for w in words) or any(b.startswith(a) for a, b in pairwise(ordered)):
        raise ValueError(
            f"{_NAME}: cannot write a trace for {' '.join(words)[:80]!r}: words of a-z, none beginning another"
        )

    def exchanged(order: Order) -> Order:
        if rng is None or len(order) < 2 or not happens(rng, random_slip):
            return order
        at = int(rng.integers(len(order) - 1))
        return [*order[:at], order[at + 1], order[at], *order[at + 2 :]]

    def looked_at(group: list[str], depth: int) -> tuple[str, Order, str]:
        """The letters at `depth` (from 0), the order they give, and that order as written."""
        letter_of = {word: word[depth] for word in group}
        if rng is not None and happens(rng, random_slip):
            letter_of[str(rng.choice(group))] = "abcdefghijklmnopqrstuvwxyz"[int(rng.integers(26))]
        said = " ".join(f'"{word}": "{letter}" ({letter_number(letter)}).' for word, letter in letter_of.items())
        order = exchanged([[w for w in group if letter_of[w] == letter] for letter in sorted(set(letter_of.values()))])
        if depth:
            order = [
                part
                for tie in order
                for part in ([[w] for w in tie] if len(tie) == 2 and happens(rng, systematic_slip) else [tie])
            ]
        return said, order, write_order(order, [letter_number(letter_of[tie[0]]) for tie in order])

    said, order, shown = looked_at(words, 0)
    lines = [
        f"I should start by looking at the first letter of the words in the list. The first letter: {said}",
        f"We now have: {shown}.",
    ]
    depth_of = dict.fromkeys(words, 1)
    while at := next((i + 1 for i, group in enumerate(order) if len(group) > 1), 0):
        group, ordinal = order[at - 1], ORDINALS[depth_of[order[at - 1][0]]]
        # after a misread letter a word may be too short to go on: it is left where it stands
        if depth_of[group[0]] >= min(len(word) for word in group):
            order = [*order[: at - 1], *([word] for word in group), *order[at:]]
            continue
        said, part, shown = looked_at(group, depth_of[group[0]])
        lines.append(
            f"Now let's sort this subpart {write_order([group])} by looking at their {ordinal} letters. The {ordinal} letter: {said}"
        )
        order = exchanged([*order[: at - 1], *part, *order[at:]])
        lines.append(f"We now have: {shown} for the subpart. Hence, we have {write_order(order)}.")
        depth_of.update({word: depth_of[word] + 1 for word in group})
    answer = " ".join(word for group in exchanged(order) for word in group)
    return [*lines, f"I have now sorted all the words. The answer is {answer}"]


def label_steps(problem: Problem, steps: Solution) -> Floats:
    """The oracle: 1 sound, 0 wrong, NaN unreadable, one per sampled step (see `word_sorting`)."""
    order: Order = [problem.prompt.split()]
    letters: list[tuple[str, int]] = []  # as written last
    label_S = []
    for text in texts(steps):
        read = [(word, letter, int(number)) for word, letter, number in _LETTER.findall(text)]
        if "answer is" in text:
            told_apart = all(len(group) == 1 for group in order)
            sound = told_apart and _canonical(stated_answer(text) or "").split() == [
                word for group in order for word in group
            ]
        elif "letter:" in text:
            open_groups = [group for group in order if len(group) > 1] or [[]]
            depth, due = 0, open_groups[0]
            if subpart := _SUBPART.search(text):
                depth = ORDINALS.index(subpart[2]) if subpart[2] in ORDINALS else -1
                quoted = re.findall(r'"([^"]+)"', subpart[1])
                sound = sorted(quoted) == sorted(due) and depth > 0 and len({word[:depth] for word in due}) == 1
            else:
                sound = due == order[0] and len(order) == 1
            sound = sound and sorted(word for word, _, _ in read) == sorted(due)
            sound = sound and all(
                letter == word[depth : depth + 1] and number == letter_number(letter) for word, letter, number in read
            )
            letters = [(word, number) for word, _, number in read]
        elif "We now have:" in text:
            part_text, _, whole_text = text.split("We now have:", 1)[1].partition("Hence, we have")
            written, numbers = read_order(part_text)
            due_numbers = sorted({number for _, number in letters})
            due_part = [[word for word, number in letters if number == n] for n in due_numbers]
            sound = same_order(written, due_part) and all(
                n in (None, due) for n, due in zip(numbers, due_numbers, strict=False)
            )
            due_order = put_in(order, written)
            whole, _ = read_order(whole_text)
            if whole_text.rstrip(". ").endswith("<"):  # "... < ..." leaves the rest as it was
                whole += due_order[len(whole) :]
            sound = sound and due_order is not order and (not whole or same_order(whole, due_order))
            order = whole or due_order
        else:
            label_S.append(np.nan)
            continue
        label_S.append(float(sound))
    return np.array(label_S, dtype=np.float64)
