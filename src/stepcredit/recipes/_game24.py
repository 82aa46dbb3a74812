"""Game of 24 attempts as records: GPT-4's recorded samples, what a judge reads of a step, and the beginnings it is taught on.

A step is a line of the text that holds an equation, as written; the answer line is the outcome's, never the judge's.
What a judge reads of a line are words: the equation, whether the numbers it uses and leaves match what stood before
(`absent`, `lost`, `extra`: bookkeeping of what is written, no result is computed), and the numbers left, whole, in pairs
and one by one. No word says what can be made of them: that is to be learnt.

    says:6/2=3  left:3,3,9  3;3,3  3;3,9  3;3,9  3:3  3:3  3:9              6 / 2 = 3 (left: 3 3 9)  after  2 3 6 9

An attempt is taught beginning by beginning: each beginning ends right as often as the attempts that begin so do,

    P(right | first j steps) = keep_1 ... keep_j rest_j,          rest_j: one rate for all that leave as many numbers

so that a sound beginning may still be lost later, and the last line cannot take all the blame. `rest` is a line of its own
in the layout, learnt with the others. Truth is the exact solver's (`_game24_exact`), measured against, never taught
but to the oracle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from stepcredit.core.tree import first_error, star
from stepcredit.core.types import Credit, Outcome, Problem, Record, Step
from stepcredit.data._fields import Fields
from stepcredit.data._rows import rows
from stepcredit.recipes._game24_exact import Line, numbers_in, read_line, right_answer, sound_steps

_COUNT = re.compile(r" (\d):")  # how many numbers a viewed line leaves


def attempt(puzzle: str, texts: Sequence[str], answer: str) -> Record:
    """One attempt with the exact outcome of its answer line, and nothing said of its steps."""
    right = right_answer([int(number) for number in puzzle.split()], answer)
    outcome = Outcome(float(right), right, answer=answer.split("=")[0].strip(), verifier="game24")
    return Record(star(Problem(puzzle, puzzle, "24"), [[Step(text) for text in texts or [""]]], [outcome]))


def with_truth(record: Record) -> Record:
    """The record with the solver's verdict of each step as "truth": 1 before the first that is not sound, 0 at it, NaN after."""
    tree = record.tree
    sound = sound_steps(map(int, tree.problem.prompt.split()), [step.text for step in tree.steps[1:]])
    value_N = np.array([np.nan, *(np.nan if one is None else float(one) for one in sound)])
    truth = Credit(value_N, "label", (~np.isnan(value_N)).astype(np.float64), "solver")
    return replace(record, credits={**record.credits, "truth": truth})


def recorded(path: Path, num_puzzles: int = 0) -> tuple[list[Record], dict[str, tuple[int, int]]]:
    """One record a sample; and how many of the file's verdicts agree with the solver's: outcomes, first wrong steps.

    `num_puzzles` keeps the first only (0: all).
    The file's step verdicts are compared on the lines the file has them for. Raises ValueError, naming file, line and
    field, for a row that does not fit.
    """
    found: list[Record] = []
    agree = {"outcome": [0, 0], "first wrong step": [0, 0]}
    for place, row in islice(rows(path, stop), num_puzzles or None):
        try:
            fields = Fields(row)
            puzzle = fields.text("puzzle")
            if not re.fullmatch(r"\d+( \d+){3}", puzzle):
                fields.fail("puzzle", puzzle, "four whole numbers")
            for sample in fields.children("samples"):
                texts, answer = lines_of(sample.text("text"))
                record = with_truth(attempt(puzzle, texts, answer))
                found.append(record)
                outcome = record.tree.outcomes[record.tree.leaves[0]]
                assert outcome is not None
                agree["outcome"][0] += outcome.correct == sample.flag("correct")
                steps = sample.children("steps", empty=True)
                told = [all(step.flag(name) for name in ("arith_ok", "left_ok", "solvable_after")) for step in steps]
                ours = sound_steps(map(int, puzzle.split()), [step.text("line") for step in steps])
                agree["first wrong step"][0] += (told.index(False) if False in told else -1) == (
                    ours.index(False) if False in ours else -1
                )
                for of in agree.values():
                    of[1] += 1
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
    return found, {name: (same, num) for name, (same, num) in agree.items()}


def lines_of(text: str) -> tuple[list[str], str]:
    """The lines with an equation, and the last line as the answer, as the paper's checker takes it."""
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    answer = re.sub(r"^answer:\s*", "", lines[-1], flags=re.IGNORECASE) if lines else ""
    return [line for line in lines if "=" in line and not line.lower().startswith("answer")], answer


def viewed(records: Iterable[Record]) -> list[Record]:
    """The records as a judge reads them; ids, outcomes and truth stay as they are."""
    found = []
    for record in records:
        tree, leaf = record.tree, record.tree.leaves[0]
        steps = [Step(line) for line in view(tree.problem.prompt, [step.text for step in tree.solution(leaf)])]
        found.append(replace(record, tree=star(tree.problem, [steps], [tree.outcomes[leaf]])))
    return found


def view(puzzle: str, texts: Sequence[str]) -> list[str]:
    """The words of each line, beside what stood before it."""
    before, found = tuple(map(shown, numbers_in(puzzle))), list[str]()
    for text in texts:
        line = read_line(text)
        if line is None:
            found.append("unread")
            continue
        after, odd = left_after(before, line), _balance(before, line)[1]
        words = [f"says:{text.split('(left')[0].replace(' ', '').lower()}", *odd]
        size = len(after)
        words += [f"left:{','.join(after)}", f"{size}:", *(f"{size}:{number}" for number in after)]
        words += [f"{size};{a},{b}" for a, b in combinations(after, 2)] if size > 2 else []
        found.append(" ".join(words))
        before = after
    return found


def _balance(before: Sequence[str], line: Line) -> tuple[list[str], list[str]]:
    """What is due after the line by its own numbers; and the words for what does not match: absent, lost, extra."""
    due, odd = list(before), list[str]()
    for number in map(shown, line.used):
        if number in due:
            due.remove(number)
        else:
            odd.append("absent")
    due += [] if line.made is None else [shown(line.made)]
    if line.left is None:
        return due, [*odd, "unstated"]
    over = list(due)
    for number in map(shown, line.left):
        if number in over:
            over.remove(number)
        else:
            odd.append("extra")
    return due, [*odd, *["lost"] * len(over)]


def left_after(before: Sequence[str], line: Line) -> tuple[str, ...]:
    """The numbers left, as the line states them, else as they are due; in order of size."""
    left = _balance(before, line)[0] if line.left is None else map(shown, line.left)
    return tuple(sorted(left, key=float))


@cache
def shown(number: str) -> str:
    """A number in one way of writing, to two places: "4/3" and "1.333" are 1.33."""
    above, _, below = number.partition("/")
    value = float(above) / float(below or 1)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def beginnings(records: Sequence[Record], source: str, *, alone: bool = False) -> list[Record]:
    """Every beginning of viewed attempts as an attempt of its own, closed by the line `rest:<source>:<numbers left>`.

    `source` names the policy: how often what is sound is lost later is the policy's affair. A whole attempt is closed by
    `end:...`. `alone` keeps only the last line of a beginning, and its close. Nothing but the outcome goes with them.
    """
    found = []
    for record in records:
        tree, leaf = record.tree, record.tree.leaves[0]
        steps = list(tree.solution(leaf))
        for num in range(1, len(steps) + 1):
            count = _COUNT.search(steps[num - 1].text)
            word = f"{'end' if num == len(steps) else 'rest'}:{source}:{count[1] if count else '?'}"
            begun = [*steps[num - 1 if alone else 0 : num], Step(word)]
            found.append(Record(star(tree.problem, [begun], [tree.outcomes[leaf]])))
    return found


def prompts(records: Iterable[Record]) -> set[str]:
    """The distinct puzzles."""
    return {record.tree.problem.prompt for record in records}


def first_wrong(record: Record) -> int | None:
    """0-based first wrong step, -1 for none, None where a step before it could not be read."""
    value_S = record.credits["truth"].values_N[record.tree.sampled_N]
    first = first_error(value_S)
    return None if np.isnan(value_S[:first] if first >= 0 else value_S).any() else first


def stop(place: str, message: str) -> None:
    """Every bad row is an error."""
    raise ValueError(f"{place}: {message}")
