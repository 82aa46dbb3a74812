"""The five stories of shuffled objects, and reading them back: people hold things, pairs swap, who has what at the end?

The wording is BIG-Bench's (tracking_shuffled_objects), so the same reader takes generated and recorded problems.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PEOPLE = ("Alice", "Bob", "Claire", "Dave", "Eve", "Fred", "Gertrude")


@dataclass(frozen=True)
class Story:
    """One story's wording. `has` opens what a person holds at first, `ends` at the end; `noun` follows the item."""

    opening: str
    has: str
    noun: str
    middle: str
    trade: str  # in the prompt
    traced: str  # in an attempt
    end: str
    ends: str
    items: tuple[str, ...]


_COLORS = ("yellow", "blue", "pink", "white", "red", "brown", "green", "purple", "orange", "black")
STORIES = (
    Story("are playing a game. At the start of the game, they are each holding a ball:", "has a", " ball",
          "As the game progresses, pairs of players trade balls.", "swap balls", "swap balls", "At the end of the game", "has the", _COLORS),
    Story("are on the same team in a soccer match. At the start of the match, they are each assigned to a position:", "is playing", "",
          "As the game progresses, pairs of players occasionally swap positions.", "trade positions", "trade positions", "At the end of the match",
          "is playing", ("striker", "benchwarmer", "center midfielder", "left winger", "right winger", "goalkeeper", "cheerleader", "fullback")),
    Story("are dancers at a square dance. At the start of a song, they each have a partner:", "is dancing with", "",
          "Throughout the song, the dancers often trade partners.", "switch partners", "switch partners", "At the end of the dance",
          "is dancing with", ("Karl", "Rodrigo", "Helga", "Lola", "Melissa", "Sam", "Ophelia", "Patrick", "Jamie")),
    Story("are holding a white elephant gift exchange. At the start of the event, they are each holding a present of a different color:",
          "has a", " present", "As the event progresses, pairs of people swap gifts.", "swap their gifts", "swap", "At the end of the event",
          "has the", _COLORS),
    Story("are friends and avid readers who occasionally trade books. At the start of the semester, they each buy one new book:", "gets", "",
          "As the semester proceeds, they start trading around the new books.", "swap books", "swap books", "At the end of the semester", "has",
          ("Ulysses", "Frankenstein", "Catch-22", "The Great Gatsby", "The Odyssey", "The Pearl", "Moby Dick", "Lolita")),
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A problem read from its prompt: who holds what, the swaps in order, who is asked for, the options by letter."""

    start: dict[str, str]
    swaps: tuple[tuple[str, str], ...]
    asked: str
    options: dict[str, str]
    story: Story | None


def listed(names: list[str]) -> str:
    """Three or more, as the prompts list them: "A, B, and C"."""
    return ", ".join(names[:-1]) + ", and " + names[-1]


def write(story: Story, start: dict[str, str], swaps: list[tuple[str, str]], asked: str) -> str:
    """The prompt, in BIG-Bench's wording; the options are the items in the order they are first held."""
    held = listed([f"{name} {story.has} {item}{story.noun}" for name, item in start.items()])
    order = ["First", *["Then"] * (len(swaps) - 2), "Finally"]
    moves = " ".join(f"{word}, {a} and {b} {story.trade}." for word, (a, b) in zip(order, swaps, strict=True))
    options = "\n".join(f"({'ABCDEFG'[i]}) {item}{story.noun}." for i, item in enumerate(start.values()))
    question = f"{story.end}, {asked} {story.ends}"
    return f"{listed(list(start))} {story.opening} {held}.\n{story.middle} {moves} {question}\nOptions:\n{options}"


def bare(item: str) -> str:
    """An item without article and noun, in lower case: "the Red ball." -> "red"."""
    return re.sub(r"^(?:the|an?) | (?:ball|present|gift)$", "", " ".join(item.split()).strip(". ").casefold())


def read(prompt: str) -> Scene:
    """Raises ValueError for a prompt that does not tell such a story."""
    opening, _, rest = prompt.partition("\n")
    names = re.findall(r"[A-Z]\w+", opening.split(" are ")[0])
    held = re.findall(
        r"(\w+) (?:has an?|is playing|is dancing with|gets) ([^,]+?)(?=, |\.?$)", opening.split(": ", 1)[-1]
    )
    swaps = re.findall(r"(\w+) and (\w+) (?:swap|switch|trade)\b", rest)
    asked = re.search(r"At the end of the \w+, (\w+) ", rest)
    options = re.findall(r"^\((\w)\) (.+)$", rest, re.MULTILINE)
    start = {name: bare(item) for name, item in held}
    if len(names) < 2 or sorted(start) != sorted(names) or not swaps or asked is None or not options:
        raise ValueError(f"not a shuffled-objects problem: {prompt[:80]!r}")
    story = next((s for s in STORIES if s.opening in opening), None)
    return Scene(start, tuple(swaps), asked[1], {letter: bare(item) for letter, item in options}, story)
