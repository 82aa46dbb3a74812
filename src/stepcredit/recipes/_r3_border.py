"""What it costs to find where the policy begins to fail: adaptive reveal against restarting everywhere, on one pool.

    everywhere   K continuations of every start; the border by the same likelihood as `rollout/reveal`
    bisection    K continuations of the middle start; half right or more, look before it, else behind it
    adaback      rounds of one group at floor(rho S) steps, rho ~ U(min, max): half right or more, max = rho and min = 0, else
                 min = rho; the border is the least that succeeded last (AdaBack, arXiv:2506.18110, with the policy held still)
    reveal       `rollout/reveal`'s own choice and end, by its stated error rate

All draw on the same continuations, the next unused at a start. A border b is right where V(s_(b-1)) < high and V(s_b) > low.
Tokens are those generated. A dial's cheapest setting that is right often enough stands for a method; a method that never is
has none, and no number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.types import Floats, Ints
from stepcredit.recipes._r3_starts import Pool
from stepcredit.rollout.reveal import border, next_cut

LOW, HIGH = 0.3, 0.7
NUMBERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
ROUNDS = (2, 3, 4, 6, 8, 12, 16)
RATES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02)
GROUP = 4  # rollouts of an AdaBack round
OVERHEAD = 2.0
Found = tuple[int, float]  # border, tokens


@dataclass
class Purse:
    """Continuations drawn from a pool one after another, at each start in the order they were grown."""

    pool: Pool
    used_S: Ints = field(init=False)
    right_S: Floats = field(init=False)
    wrong_S: Floats = field(init=False)
    tokens: float = 0.0

    def __post_init__(self) -> None:
        num = len(self.pool.reward_SK)
        self.used_S, self.right_S, self.wrong_S = np.zeros(num, dtype=np.int64), np.zeros(num), np.zeros(num)

    def spend(self, cut: int, num: int = 1) -> Floats:
        """The next `num` rewards at a start, fewer where the pool ends; unscored ones are paid and left out."""
        at = slice(self.used_S[cut], self.used_S[cut] + num)
        reward_K = self.pool.reward_SK[cut, at]
        self.tokens += float(self.pool.tokens_SK[cut, at].sum())
        self.used_S[cut] += len(reward_K)
        known_K = reward_K[~np.isnan(reward_K)]
        self.right_S[cut] += float((known_K > 0.5).sum())
        self.wrong_S[cut] += float((known_K <= 0.5).sum())
        return known_K

    def said(self) -> Found:
        """The likeliest border, the earliest of equals, and what was spent."""
        return int(np.argmax(border(self.right_S, self.wrong_S, LOW, HIGH))), self.tokens


def everywhere(pool: Pool, num: float) -> Found:
    """`num` continuations of every start."""
    purse = Purse(pool)
    for cut in range(len(pool.reward_SK)):
        purse.spend(cut, int(num))
    return purse.said()


def bisection(pool: Pool, num: float) -> Found:
    """`num` continuations of each start a binary search looks at."""
    purse, low, high = Purse(pool), 0, len(pool.reward_SK)
    while low < high:
        middle = (low + high) // 2
        known_K = purse.spend(middle, int(num))
        enough = known_K.size > 0 and float(np.mean(known_K > 0.5)) >= 0.5
        low, high = (low, middle) if enough else (middle + 1, high)
    return low, purse.tokens


def adaback(pool: Pool, num_rounds: float, draw: Rng) -> Found:
    """So many rounds of a group each."""
    purse, num, least, most = Purse(pool), len(pool.reward_SK), 0.0, 1.0
    for _ in range(int(num_rounds)):
        given = draw.uniform(least, most)
        known_K = purse.spend(min(int(given * num), num - 1), GROUP)
        enough = known_K.size > 0 and float(np.mean(known_K > 0.5)) >= 0.5
        least, most = (0.0, given) if enough else (given, most)
    return (num if most == 1.0 else int(most * num)), purse.tokens


def revealed(pool: Pool, error_rate: float) -> Found:
    """One continuation after another until the border is that sure, or a start has no more."""
    purse, num = Purse(pool), len(pool.reward_SK)
    tokens_S = num - np.arange(num) + OVERHEAD
    while True:
        cut = next_cut(purse.right_S, purse.wrong_S, tokens_S, error_rate, LOW, HIGH)
        if cut is None or purse.used_S[cut] == pool.reward_SK.shape[1]:
            return purse.said()
        purse.spend(cut)


def is_right(at: int, value_S: Floats) -> bool:
    """Whether a border 0..S fits the true values of the S starts."""
    fails_before = at == 0 or value_S[at - 1] < HIGH
    return bool(fails_before and (at == len(value_S) or value_S[at] > LOW))


@dataclass(frozen=True)
class Dial:
    """A method at its settings: share of borders that are right, and mean tokens a demonstration."""

    settings: tuple[float, ...]
    right: tuple[float, ...]
    tokens: tuple[float, ...]

    def cheapest(self, target: float) -> float:
        """Tokens of the cheapest setting that is right often enough; NaN where none is."""
        return min(
            (tokens for right, tokens in zip(self.right, self.tokens, strict=True) if right >= target), default=np.nan
        )


def dials(pools: Sequence[Pool], true: Sequence[Floats], draw: Rng) -> dict[str, Dial]:
    """Every method at every setting the pools are large enough for; AdaBack's rounds take `draw`."""
    least = min(one.reward_SK.shape[1] for one in pools)

    def dial(settings: Sequence[float], method: Callable[[Pool, float], Found]) -> Dial:
        found = [[method(one, setting) for one in pools] for setting in settings]
        right = [float(np.mean([is_right(at, own) for (at, _), own in zip(each, true, strict=True)])) for each in found]
        return Dial(tuple(settings), tuple(right), tuple(float(np.mean([cost for _, cost in each])) for each in found))

    return {
        "everywhere": dial([num for num in NUMBERS if num <= least], everywhere),
        "bisection": dial([num for num in NUMBERS if num <= least], bisection),
        "adaback": dial(
            [num for num in ROUNDS if GROUP * num <= least], lambda one, rounds: adaback(one, rounds, draw)
        ),
        "reveal": dial(RATES, revealed),
    }
