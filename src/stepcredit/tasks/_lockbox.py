"""The box itself: what can be done to it, what it does, and what it reports.

A box has a hidden combination of three digits. The right "try" unlocks it, "spin" locks it again, "listen" does nothing,
"submit" hands it in. What is done is answered by a few sounds, drawn from one law if the turn was the right try and from
another if not: evidence, never proof, and of that turn alone, not of the state of the box.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.rng import rng
from stepcredit.core.types import Floats

LISTEN, SPIN, SUBMIT = "listen", "spin", "submit"
SOUNDS = tuple(
    first + vowel + last
    for first in ("b", "cl", "d", "gr", "k", "p", "r", "t", "th", "wh")
    for vowel in "aiou"
    for last in ("ck", "ng", "p")
)
_TRY = re.compile(r"try ([0-9]-[0-9]-[0-9])")


def tried(text: str) -> str | None:
    """The combination that a turn tries, None where it tries none.

    >>> tried("try 3-1-4"), tried("listen")
    ('3-1-4', None)
    """
    match = _TRY.fullmatch(text)
    return None if match is None else match[1]


def is_action(text: str) -> bool:
    """Whether the text is something that can be done to a box."""
    return text in (LISTEN, SPIN, SUBMIT) or tried(text) is not None


def combination_of(number: int) -> str:
    """The combination with this number, 0 to 999.

    >>> combination_of(42)
    '0-4-2'
    """
    return "-".join(f"{number:03d}")


def chances(*names: str | int) -> Floats:
    """Eight uniform numbers in [0, 1) that the names alone decide, [8]: cheaper than a generator of their own."""
    digest = hashlib.sha256(repr(names).encode()).digest()
    return np.frombuffer(digest, dtype="<u4") / 2.0**32


def is_open(texts: Sequence[str], combination: str) -> bool:
    """The state at the submission, or at the end where there is none: open iff the right try came after the last spin.

    >>> is_open(["try 1-2-3", "listen"], "1-2-3"), is_open(["try 1-2-3", "spin"], "1-2-3")
    (True, False)
    """
    state = False
    for text in texts:
        if text == SUBMIT:
            break
        state = text != SPIN and (state or tried(text) == combination)
    return state


@dataclass(frozen=True, eq=False)
class Reports:
    """What a box is heard to do: `law_2V`, P(sound | wrong or idle turn) and P(sound | right try); sounds a report."""

    law_2V: Floats
    num_sounds: int
    seed: int

    def heard(self, problem_id: str, texts: Sequence[str], right: bool) -> str:
        """The sounds after the last of these turns: the same for the same history, independent between histories."""
        chance = chances(self.seed, "report", problem_id, *texts)[: self.num_sounds]
        found = np.searchsorted(np.cumsum(self.law_2V[int(right)]), chance, side="right")
        return " ".join(SOUNDS[min(v, len(SOUNDS) - 1)] for v in found.tolist())


def reports(clarity: float, num_sounds: int, seed: int) -> Reports:
    """Laws that tilt the same base: p(v | right) ~ base_v exp(+clarity z_v / 2), p(v | not) ~ base_v exp(-clarity z_v / 2).

    z_v and log base_v are standard normals drawn by `seed` alone: a report's log-odds of being right are linear in its
    sounds, the laws of n sounds are about clarity * sqrt(n) standard deviations apart, and how rare a sound is says little
    of what it means. Raises ValueError for a negative clarity, and for other than 1 to 8 sounds.

    >>> law_2V = reports(0.0, 3, 0).law_2V
    >>> bool((law_2V[0] == law_2V[1]).all())
    True
    """
    if clarity < 0 or not 1 <= num_sounds <= 8:
        raise ValueError(f"clarity is {clarity}, num_sounds {num_sounds}; allowed: 0 or more, 1 to 8")
    base_V, z_V = rng(seed, "lockbox", "sounds").standard_normal((2, len(SOUNDS)))
    law_2V = np.exp(base_V + np.outer([-0.5, 0.5], clarity * z_V))
    return Reports(law_2V / law_2V.sum(axis=1, keepdims=True), num_sounds, seed)
