"""Which tokens to forward when attempts begin alike: every shared beginning once, in batches with little padding.

    segment = (attempts that share it, start, stop)       its keys and values are computed once for all of them
    cost    = sum over batches of  rows * longest new tokens + call_tokens

Sorted by their tokens, attempts with a common beginning are neighbours: the longest common prefix of a run of
neighbours is the least of those of its pairs, which makes the tree of shared beginnings (a radix tree) without knowing
which problem an attempt belongs to. Levels of the tree are read one after another. How deep it pays to go is decided by
the cost, padding included; depth 0 is one pass per attempt. numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stepcredit.core.types import Floats, Ints

DEPTHS = (0, 1, 2, 4, 8)
MIN_SAVED = 16  # tokens: below it a shared beginning is not worth a row of its own


@dataclass(frozen=True)
class Segment:
    """Tokens `start` to `stop` of the attempts `rows`, which all begin with the same `stop` tokens."""

    rows: tuple[int, ...]
    start: int
    stop: int

    @property
    def length(self) -> int:
        """New tokens."""
        return self.stop - self.start


Plan = list[list[list[Segment]]]


def in_order(tokens: Sequence[Ints]) -> tuple[list[int], list[int]]:
    """Rows sorted by their tokens, and how many tokens each has in common with the one before it (0 for the first).

    >>> in_order([np.array([5, 6]), np.array([5, 1, 2]), np.array([5, 6, 7])])
    ([1, 0, 2], [0, 1, 2])
    """
    # Big-endian bytes sort as the numbers they spell, and a beginning before what goes on from it.
    order = sorted(range(len(tokens)), key=lambda row: tokens[row].astype(">u4").tobytes())
    return order, [0, *(prefix_length(tokens[a], tokens[b]) for a, b in pairwise(order))][: len(order)]


def prefix_length(a: Ints, b: Ints) -> int:
    """Length of the longest common prefix."""
    num = min(len(a), len(b))
    differs = a[:num] != b[:num]
    return int(differs.argmax()) if differs.any() else num


def chunks(tokens: Sequence[Ints], limit: int) -> Iterator[list[int]]:
    """Rows in order of their tokens, at most `limit` distinct ones together: what is held at once stays bounded."""
    chunk: list[int] = []
    held = 0
    for row, common in zip(*in_order(tokens), strict=True):
        new = len(tokens[row]) - (common if chunk else 0)
        if chunk and held + new > limit:
            yield chunk
            chunk, held, new = [], 0, len(tokens[row])
        chunk.append(row)
        held += new
    if chunk:
        yield chunk


def segments(tokens: Sequence[Ints], known: Sequence[int], depth: int) -> list[list[Segment]]:
    """The segments to forward, by level: at most `depth` shared ones behind each other, then what is an attempt's own.

    The first `known[row]` tokens of an attempt have been read before. Each other token is in exactly one segment of its
    attempt; an attempt known or shared whole has none of its own.
    """
    order, common = in_order(tokens)
    found: list[list[Segment]] = [[] for _ in range(depth + 1)]
    todo = [(0, len(order), 0, 0)] if order else []
    while todo:
        low, high, start, level = todo.pop()
        rows = tuple(order[low:high])
        if level == 0:  # behind a shared segment an attempt's past is that segment's
            start = max(start, min(known[row] for row in rows))
        if len(rows) == 1:
            if start < len(tokens[rows[0]]):
                found[level].append(Segment(rows, start, len(tokens[rows[0]])))
            continue
        stop = min(common[low + 1 : high])
        if level < depth and (stop - start) * (len(rows) - 1) >= MIN_SAVED:
            found[level].append(Segment(rows, start, stop))
            start, level = stop, level + 1
        cuts = [low, *(i for i in range(low + 1, high) if common[i] == stop), high]
        todo += [(a, b, start, level) for a, b in pairwise(cuts)]
    return found


def batches(
    new: Sequence[int], past: Sequence[int], *, token_budget: int, call_tokens: int
) -> tuple[list[list[int]], float]:
    """The cheapest batches of rows with `new` tokens each behind `past` ones, and their cost.

    Rows are sorted by their new tokens, longest first, ties as given, and cut where the sum of padded tokens and
    `call_tokens` per batch is least (dynamic programming). A batch holds rows * (most new + most past) <= token_budget;
    a single larger row stands alone.

    >>> batches([3, 9, 4], [0, 0, 0], token_budget=100, call_tokens=2)
    ([[1], [2, 0]], 21.0)
    """
    order = sorted(range(len(new)), key=lambda row: -new[row])
    width, behind = np.array([new[row] for row in order]), np.array([past[row] for row in order])
    least: Floats = np.zeros(len(order) + 1)
    cut = np.zeros(len(order) + 1, dtype=np.int64)
    for end in range(1, len(order) + 1):
        first = max(0, end - max(1, token_budget // max(1, int(width[end - 1]))))
        begin = np.arange(first, end)
        rows = end - begin
        deepest = np.maximum.accumulate(behind[first:end][::-1])[::-1]
        cost = least[begin] + rows * width[begin] + call_tokens
        cost[(rows > 1) & (rows * (width[begin] + deepest) > token_budget)] = np.inf
        cut[end] = first + int(cost.argmin())
        least[end] = cost.min()
    found, end = [], len(order)
    while end:
        found.append(order[cut[end] : end])
        end = int(cut[end])
    return found[::-1], float(least[-1])


def plan(
    tokens: Sequence[Ints], known: Sequence[int], *, share: bool, token_budget: int, call_tokens: int
) -> tuple[Plan, float]:
    """Levels of batches of segments, and their cost: the cheapest of `DEPTHS`, the shallower one at equal cost.

    Without `share` every attempt is forwarded on its own.
    """
    best: tuple[Plan, float] = ([], np.inf)
    above = 0
    for depth in DEPTHS if share else (0,):
        levels: Plan = []
        total = 0.0
        found = segments(tokens, known, depth)
        if depth and not any(found[above + 1 :]):
            break  # nothing is shared that deep
        above = depth
        for level in found:
            rows, cost = batches(
                [s.length for s in level], [s.start for s in level], token_budget=token_budget, call_tokens=call_tokens
            )
            levels.append([[level[row] for row in batch] for batch in rows])
            total += cost
        if total < best[1]:
            best = (levels, total)
    return best
