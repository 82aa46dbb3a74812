"""Shuffled-objects traces for `recipes/first_mistakes`: what a judge reads of a step, attempts with slips of many kinds.

    step     Bob and Eve swap balls: Alice: red, Bob: pink, ...      in a problem whose second swap is "Bob and Eve"
    line     swap two  yy bc yy cb  nn aa nn dd                      first the two of the problem's swap, then the others
    step     At the end, Bob has the pink ball. So the answer is (C)
    line     left none  asked oo  held cc  answer cc

a b c ... are the objects in the order in which they are first held, x is none named; a pair of them is what the trace
wrote last (or the problem, at first) and what the step writes for one person. y and n say whether the problem's next swap
(counting the steps that list holdings), and then whether the step, names this person; u: the step names nobody. The line
repeats and compares nothing: that the two of a swap must exchange, and the others keep, is the judge's to learn. Names
may be initials. A step with nothing to read keeps its own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stepcredit.core.protocols import Rng
from stepcredit.tasks._shuffled_stories import STORIES, Scene, bare, read
from stepcredit.tasks.shuffled_objects import _item, _listing, _pair, _person

_COUNTS = "none one two three four five six seven".split()  # noqa: SIM905
_HELD = re.compile(r"(\w+) (?:has|is playing|is dancing with) (.+?)\.?\s*$")


def view(prompt: str, texts: Sequence[str]) -> list[str]:
    """One line a step, in the form above."""
    scene = read(prompt)
    letter = {item: "abcdefg"[i] for i, item in enumerate(scene.start.values())}
    name = {person: "klmnopq"[i] for i, person in enumerate(scene.start)}
    state, done, lines = dict(scene.start), 0, []
    for index, text in enumerate(texts):
        told, _, conclusion = re.sub(r"\b[Ss]o the answer is", "\n\\g<0>", text).partition("\n")
        listed, pair, words = _listing(told, scene), _pair(told, scene), list[str]()
        left = ["left", _COUNTS[min(len(scene.swaps) - done, 7)]]
        if listed:
            starts = index == 0 and pair is None
            swap = scene.swaps[done : done + 1] if not starts else ()
            words += ["start"] if starts else ["swap", left[1]]
            words += _beside(scene, state, listed, swap[0] if swap else (), pair, letter)
            done += not starts and bool(swap)
            state.update(listed)
            left[1] = _COUNTS[min(len(scene.swaps) - done, 7)]
        held = None if listed else _HELD.search(told)
        if held:
            person, item = _person(held[1], scene), _item(held[2], scene)
            words += [*left, "asked", name[scene.asked] + name.get(person or "", "u")]
            words += ["held", letter.get(state[scene.asked], "x") + letter.get(item, "x")]
        option = re.search(r"\((\w)\)", conclusion)
        if conclusion:
            chosen = scene.options.get(option[1], "") if option else ""
            words += left if not held else []
            words += ["answer", letter.get(state[scene.asked], "x") + letter.get(chosen, "x")]
        lines.append(" ".join(words) if words else (" ".join(re.findall(r"[a-z]+", text.lower())) or "nothing"))
    return lines


def _beside(
    scene: Scene, state: dict[str, str], listed: dict[str, str], swap: Sequence[str], pair: Sequence[str] | None,
    letter: dict[str, str],
) -> list[str]:  # fmt: skip
    """For each person, those of the problem's swap first: who names them, then what they held and hold now."""
    words = []
    for person in [*swap, *(person for person in scene.start if person not in swap)]:
        marked = "u" if pair is None else "y" if person in pair else "n"
        if swap:
            words.append(("y" if person in swap else "n") + marked)
        elif marked != "u":
            words.append("n" + marked)
        words.append(letter.get(state[person], "x") + letter.get(listed.get(person, ""), "x"))
    return words


def attempt(prompt: str, rng: Rng, *, slip_share: float = 0.55, redraw: bool = True) -> list[str]:
    """A trace in one of the recorded forms; with probability `slip_share` it has slips, one mostly, carried forward.

    A slip has a uniform kind and a uniform place: a start misread; a swap left out, done as none, as half, with a third
    person or between two others (named so or not), with a further exchange or a holding made up; a pair neither listed
    nor exchanged; at the end the wrong option or another person's object. What slips and still ends right is drawn again
    at another place, nearly always: it teaches nothing. Without `redraw` the first draw stands.
    """
    scene = read(prompt)
    told = dict(scene.start)
    for pair in scene.swaps:
        _exchange(told, *pair)
    right = next(letter for letter, item in scene.options.items() if item == told[scene.asked])
    num = 1 + int(rng.random() < 0.2) if rng.random() < slip_share else 0
    kinds = [int(kind) for kind in rng.integers(10, size=num)]
    for _ in range(40 if redraw else 1):
        lines = _written(scene, kinds, rng)
        if not kinds or not lines[-1].endswith(f"({right})") or rng.random() < 0.03:
            break
    return lines


def _written(scene: Scene, kinds: Sequence[int], rng: Rng) -> list[str]:
    """The lines: kinds 0 to 7 slip at a random swap, 8 at the start, 9 at the end."""
    story = scene.story or STORIES[0]
    people, state = list(scene.start), dict(scene.start)
    spelled = {bare(item): item for item in story.items}
    kind_at = {int(rng.integers(len(scene.swaps))): kind for kind in kinds if kind < 8}
    initials, brief = bool(rng.random() < 0.2), bool(rng.random() < 0.2)
    lines, changed_by = list[str](), set[str]()

    def listing(only: Sequence[str]) -> str:
        return ", ".join(
            f"{person[0] if initials else person}: {spelled.get(state[person], state[person])}" for person in only
        )

    def some(num: int, but: Sequence[str] = ()) -> list[str]:
        return [str(p) for p in rng.choice([p for p in people if p not in but], num, replace=False)]

    if 8 in kinds:
        _exchange(state, *some(2))
    if rng.random() < 0.9 or 8 in kinds:
        lines.append(listing(people) if initials else f"At the start: {listing(people)}.")
    for index, (first, second) in enumerate(scene.swaps):
        named, before, hidden = (first, second), dict(state), list[str]()
        kind = kind_at.get(index, -1)
        if kind == 0 and rng.random() < 0.5:
            continue
        third = some(1, (first, second))[0]
        if kind in (1, 2):  # half: one holding twice
            state[first if kind == 1 else second] = state[second if kind == 1 else first]
        elif kind == 3:
            _exchange(state, str(rng.choice([first, second])), third)
        elif kind == 4:  # another swap, named as it is
            named = (third, str(rng.choice([first, second])))
            _exchange(state, *named)
        elif kind == 5:
            _exchange(state, first, second)
            _exchange(state, third, str(rng.choice([p for p in people if p != third])))
        elif kind == 6:
            _exchange(state, first, second)
            other = str(rng.choice(people))
            state[other] = str(rng.choice([item for item in scene.start.values() if item != state[other]]))
        elif kind == 7:
            hidden = [first, second]
        elif kind != 0:
            _exchange(state, first, second)
        changed_by |= {first, second, *(p for p in people if state[p] != before[p])}
        shown = [p for p in people if p not in hidden and (not brief or p in changed_by)] or people
        if initials and rng.random() < 0.8:
            lines.append(listing(shown))
        else:
            lines.append(f"{named[0]} and {named[1]} {story.traced}: {listing(shown)}.")
    return [*lines[:-1], *_ending(scene, story.end, story.ends, state, 9 in kinds, lines[-1], rng)]


def _exchange(state: dict[str, str], first: str, second: str) -> None:
    state[first], state[second] = state[second], state[first]


def _ending(
    scene: Scene, end: str, ends: str, state: dict[str, str], slips: bool, last: str, rng: Rng
) -> list[str]:  # fmt: skip
    """The last listing and the conclusion, which may stand in it, or without the object's name."""
    item, form = state[scene.asked], rng.random()
    if slips:
        item = str(rng.choice([other for other in scene.options.values() if other != item]))
    meant = item if rng.random() < 0.5 or not slips else state[scene.asked]
    option = next(letter for letter, held in scene.options.items() if held == item)
    answer = f"So the answer is ({option})"
    if form < 0.1:
        return [f"{last.rstrip('.')}. {answer}"]
    return [last, answer if form < 0.2 else f"{end}, {scene.asked} {ends} {meant}. {answer}"]
