"""Tracking shuffled objects: state tracking in which one missed swap spoils everything after it, or nothing.

    prompt   Alice, Bob, and Claire are playing a game. ... Alice has a red ball, ... First, Alice and Bob swap balls. ...
    attempt  At the start: Alice: red, Bob: blue, Claire: pink.
             Alice and Bob swap balls: Alice: blue, Bob: red, Claire: pink.
             At the end of the game, Claire has the pink ball. So the answer is (C)

Problems are BIG-Bench's; traces have the form of BIG-Bench-Mistake (arXiv:2311.08516), whose recorded traces the oracle
reads too: initials for names, swaps left unnamed, only the swapped pair listed.
"""

from __future__ import annotations

import re

import numpy as np

from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.types import Floats, Problem
from stepcredit.tasks._shuffled_stories import PEOPLE, STORIES, Scene, bare, read, write
from stepcredit.tasks._trace import check_rates, happens, texts, trace_task

_NAME = "shuffled_objects"


@register("tasks", paper="arXiv:2311.08516")
def shuffled_objects(
    *, min_people: int = 3, max_people: int = 5, random_slip: float = 0.04, systematic_slip: float = 0.4
) -> Task:
    """The shuffled-objects task; a problem has as many swaps as people (uniform between the two knobs).

    Slips, carried forward: with probability `random_slip` a swap is written as none, as half (both hold one thing) or
    with a third person; the answer names a wrong option. With probability `systematic_slip` a swap that takes up a
    person of the swap before it, and names its pair against the alphabet, is written as none: all attempts share it.

    `label_steps`: a step is sound iff it is the next swap (if it says which), what it lists is what the state written
    so far becomes by it, the pair included (who is not listed keeps what they had); the start must be as told; the last
    step needs all swaps done, the person asked for, what the written state gives them, and the option that says so. A step with
    neither a listing nor an answer is NaN.

    Raises ValueError for people outside 3..7 and rates that are no probabilities.
    """
    if not 3 <= min_people <= max_people <= len(PEOPLE):
        raise ValueError(f"{_NAME}: {min_people} to {max_people} people; allowed: 3 to {len(PEOPLE)}")
    check_rates(_NAME, random_slip=random_slip, systematic_slip=systematic_slip)

    def draw(rng: Rng) -> tuple[str, dict[str, int]]:
        num = int(rng.integers(min_people, max_people + 1))
        names = PEOPLE[:num]
        story = STORIES[int(rng.integers(len(STORIES)))]
        start = dict(zip(names, (str(item) for item in rng.choice(story.items, num, replace=False)), strict=True))
        swaps = []
        for _ in range(num):
            first, second = rng.choice(num, 2, replace=False)
            swaps.append((names[first], names[second]))
        return write(story, start, swaps, names[int(rng.integers(num))]), {"people": num}

    def attempt(prompt: str, rng: Rng | None) -> list[str]:
        return _trace(read(prompt), rng, random_slip, systematic_slip)

    return trace_task(_NAME, draw, attempt, label_steps)


def _trace(scene: Scene, rng: Rng | None, random_slip: float, systematic_slip: float) -> list[str]:
    story = scene.story or STORIES[0]
    spelled = {bare(item): item for item in story.items}
    state = dict(scene.start)

    def listing() -> str:
        return ", ".join(f"{name}: {spelled.get(item, item)}" for name, item in state.items())

    lines = [f"At the start: {listing()}."]
    before: tuple[str, ...] = ()
    for first, second in scene.swaps:
        taken_up = bool({first, second} & set(before)) and first > second
        before = (first, second)
        if not (taken_up and happens(rng, systematic_slip)):
            if rng is not None and happens(rng, random_slip):
                kind = int(rng.integers(3))
                third = str(rng.choice([name for name in state if name not in before]))
                if kind == 1:
                    state[first] = state[second]
                elif kind == 2:
                    state[first], state[third] = state[third], state[first]
            else:
                state[first], state[second] = state[second], state[first]
        lines.append(f"{first} and {second} {story.traced}: {listing()}.")
    letters = list(scene.options)
    letter = next(key for key in letters if scene.options[key] == state[scene.asked])
    if rng is not None and happens(rng, random_slip):
        letter = str(rng.choice([key for key in letters if key != letter]))
    held = spelled.get(state[scene.asked], state[scene.asked]) + story.noun
    lines.append(f"{story.end}, {scene.asked} {story.ends} {held}. So the answer is ({letter})")
    return lines


def label_steps(problem: Problem, steps: Solution) -> Floats:
    """The oracle: 1 sound, 0 wrong, NaN unreadable, one per sampled step (see `shuffled_objects`)."""
    scene = read(problem.prompt)
    state, done, label_S = dict(scene.start), 0, []
    for index, text in enumerate(texts(steps)):
        told, _, conclusion = re.sub(r"\b[Ss]o the answer is", "\n\\g<0>", text).partition("\n")
        pair = _pair(told, scene)
        listed = _listing(told, scene)
        verdicts: list[bool] = []
        if listed and pair is None and index == 0 and (done == len(scene.swaps) or _agrees(listed, state)):
            verdicts.append(_agrees(listed, state))
        elif listed and done == len(scene.swaps) and conclusion and pair is None:
            verdicts.append(_agrees(listed, state))  # the final state once more, beside the answer
        elif listed:
            is_next = done < len(scene.swaps) and (pair is None or set(pair) == set(scene.swaps[done]))
            first, second = pair or scene.swaps[min(done, len(scene.swaps) - 1)]
            after = {**state, first: state[second], second: state[first]}
            verdicts.append(is_next and _agrees(listed, after) and {first, second} <= set(listed))
            skipped = (
                pair is not None and not is_next and set(pair) in [set(s) for s in scene.swaps[done + 1 : done + 2]]
            )
            done = min(done + 1 + skipped, len(scene.swaps))
            state.update(listed)
        if conclusion:
            verdicts.append(done == len(scene.swaps) and _concludes(told, conclusion, state, scene))
        label_S.append(float(all(verdicts)) if verdicts else np.nan)
    return np.array(label_S, dtype=np.float64)


def _agrees(listed: dict[str, str], state: dict[str, str]) -> bool:
    return all(state[name] == item for name, item in listed.items())


def _concludes(told: str, conclusion: str, state: dict[str, str], scene: Scene) -> bool:
    held = re.search(r"(\w+) (?:has|is playing|is dancing with) (.+?)\.?\s*$", told)
    if held and (_person(held[1], scene) != scene.asked or _item(held[2], scene) != state[scene.asked]):
        return False
    letter = re.search(r"\((\w)\)", conclusion)
    return letter is not None and scene.options.get(letter[1]) == state[scene.asked]


def _person(word: str, scene: Scene) -> str | None:
    """A name or its initial; None where neither, or where two people share the initial."""
    found = [name for name in scene.start if name == word or (len(word) == 1 and name.startswith(word))]
    return found[0] if len(found) == 1 else None


def _pair(told: str, scene: Scene) -> tuple[str, str] | None:
    match = re.match(r"\W*(?:\w+, )?(\w+) (?:and )?(\w+)(?: (?:swap|switch|trade)[^:]*)?:", told)
    people = (_person(match[1], scene), _person(match[2], scene)) if match else (None, None)
    return (people[0], people[1]) if people[0] and people[1] else None


def _listing(told: str, scene: Scene) -> dict[str, str]:
    found = {}
    for word, item in re.findall(r"(\w+): ([^,:]+)(?=,|\s*$)", told):
        person = _person(word, scene)
        if person is not None:
            found[person] = _item(item, scene)
    return found


def _item(said: str, scene: Scene) -> str:
    """The item meant: its name, or some words of it where only one item has them ("Gatsby")."""
    words = bare(said)
    found = [item for item in scene.start.values() if set(words.split()) <= set(re.findall(r"\w+", item))]
    return found[0] if len(found) == 1 and words not in scene.start.values() else words
