r"""How an attempt becomes text with step markers, and where a judge reads.

    prompt + prompt_end + [given steps] + (step + observations + marker) * S

A *turn* is a sampled step with the unsampled ones that follow it (an action and what the tool answered): the marker
ends the turn, so a turn's score has seen its result. Unsampled steps before the first sampled one are context.
The text is tokenised once, whole, as any server would; markers are located by character offset and must each be one
token of their own, with the marker's id, and no other token of a turn may carry that id. What stands before the first
turn may (a prompt of several lines, with a newline as marker): a server that finds markers by id takes the last S.
Training, scoring and the `scorer.json` manifest all use this one function (a separator bug of that kind cost a
published PRM 4 F1 points).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from stepcredit.core.types import Bools, Ints, Problem, Step

Offsets = Sequence[tuple[int, int]]
Tokenize = Callable[[Sequence[str]], tuple[list[list[int]], Sequence[Offsets]]]
ReadAt = Literal["on", "pre"]


@dataclass(frozen=True)
class Layout:
    r"""The template. `read="on"` scores at the marker, `"pre"` at the token before it (SPRM's released code).

    `show_problem=False` leaves prompt and prompt_end out: what the judge cannot see cannot excuse a step.

    >>> Layout(marker="\n").render(Problem("p", "2+3=?"), [Step("2+3=5")])
    ('2+3=?\n2+3=5\n', ((11, 12),))
    """

    marker: str = "<step>"
    prompt_end: str = "\n"
    within: str = " "
    read: ReadAt = "on"
    show_problem: bool = True

    def __post_init__(self) -> None:
        if not self.marker:
            raise ValueError("the step marker is empty; give a token such as <step>")
        if self.read not in get_args(ReadAt):
            raise ValueError(f"read is {self.read!r}; allowed: {', '.join(get_args(ReadAt))}")

    def render(self, problem: Problem, steps: Sequence[Step]) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The text and the character span of each marker, one per sampled step.

        Raises ValueError when there is no sampled step.
        """
        context, turns = self._parts(problem, steps)
        return self._join(context, turns), self._spans(context, turns)

    def _join(self, context: str, turns: Sequence[str]) -> str:
        return context + "".join(turn + self.marker for turn in turns)

    def _parts(self, problem: Problem, steps: Sequence[Step]) -> tuple[str, list[str]]:
        """What stands before the first turn, and the turns without their markers."""
        lead, turns = split_turns(steps)
        if not turns:
            raise ValueError(f"problem {problem.id!r}: an attempt without a sampled step has nothing to score")
        shown = problem.prompt + self.prompt_end if self.show_problem else ""
        context = shown + "".join(step.text + self.within for step in lead)
        return context, [self.within.join(step.text for step in turn) for turn in turns]

    def _spans(self, context: str, turns: Sequence[str]) -> tuple[tuple[int, int], ...]:
        spans, end = [], len(context)
        for turn in turns:
            start = end + len(turn)
            end = start + len(self.marker)
            spans.append((start, end))
        return tuple(spans)


class EncodeError(ValueError):
    """An attempt that cannot be encoded: `index` is its place in the call, `what` is wrong with it."""

    def __init__(self, index: int, problem: Problem, what: str) -> None:
        super().__init__(f"attempt {index} (problem {problem.id!r}): {what}")
        self.index, self.what = index, what


def split_turns(steps: Sequence[Step]) -> tuple[list[Step], list[list[Step]]]:
    """What stands before the first sampled step, and the turns: each sampled step with the unsampled ones after it.

    >>> [[step.text for step in turn] for turn in split_turns([Step("a"), Step("b", sampled=False), Step("c")])[1]]
    [['a', 'b'], ['c']]
    """
    lead: list[Step] = []
    turns: list[list[Step]] = []
    for step in steps:
        if step.sampled:
            turns.append([step])
        elif turns:
            turns[-1].append(step)
        else:
            lead.append(step)
    return lead, turns


def sampled_steps(steps: Sequence[Step]) -> Bools:
    """True where a step gets a score, [len(steps)]."""
    return np.array([step.sampled for step in steps], dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Encoded:
    """An attempt as a judge sees it: `token_ids_T` and the S read positions, one per sampled step, ascending."""

    token_ids_T: Ints
    read_S: Ints


def encode(
    attempts: Sequence[tuple[Problem, Sequence[Step]]], layout: Layout, tokenize: Tokenize, marker_id: int
) -> list[Encoded]:
    """Tokenise attempts and find their read positions.

    Raises EncodeError, a ValueError, naming the attempt (0 is the first) when a marker was merged by the tokenizer or is
    not one token, or when the marker also occurs inside a step.
    """
    if not attempts:
        return []
    parts = [layout._parts(problem, steps) for problem, steps in attempts]
    ids_per, offsets_per = tokenize([layout._join(context, turns) for context, turns in parts])
    return [
        _locate(index, attempts[index][0], ids, offsets, context, turns, layout, marker_id)
        for index, (ids, offsets, (context, turns)) in enumerate(zip(ids_per, offsets_per, parts, strict=True))
    ]


def _locate(
    index: int, problem: Problem, ids: list[int], offsets: Offsets, context: str, turns: Sequence[str],
    layout: Layout, marker_id: int,
) -> Encoded:  # fmt: skip
    for step, turn in enumerate(turns):
        if layout.marker in turn:
            raise EncodeError(
                index,
                problem,
                f"the marker {layout.marker!r} occurs inside step {step}, {turn!r}; choose another marker",
            )
    token_ids = np.asarray(ids, dtype=np.int64)
    span_TX = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    # Added special tokens have no width, and one at the end has offset 0: only the others are sorted by offset.
    real = np.flatnonzero(span_TX[:, 1] > span_TX[:, 0])
    spans = np.array(layout._spans(context, turns), dtype=np.int64)
    place_S = np.searchsorted(span_TX[real, 0], spans[:, 0])
    for step, place in enumerate(place_S):
        at = int(real[place]) if place < len(real) else None
        if at is None or not np.array_equal(span_TX[at], spans[step]) or token_ids[at] != marker_id:
            got = (
                "the end of the text"
                if at is None
                else f"token {token_ids[at]} over characters {tuple(span_TX[at].tolist())}"
            )
            raise EncodeError(
                index, problem,
                f"the marker {layout.marker!r} after step {step} should be token {marker_id} over characters "
                f"{tuple(spans[step].tolist())}, but the tokenizer gives {got}; choose a marker the tokenizer never merges",
            )  # fmt: skip
    inside = real[span_TX[real, 0] >= len(context)]
    if int((token_ids[inside] == marker_id).sum()) != len(spans):
        raise EncodeError(
            index, problem,
            f"{len(spans)} steps, but token {marker_id} of the marker {layout.marker!r} occurs "
            f"{(token_ids[inside] == marker_id).sum()} times in them; choose another marker",
        )  # fmt: skip
    return Encoded(token_ids, real[place_S] - (1 if layout.read == "pre" else 0))


def buckets(lengths: Sequence[int], token_budget: int, max_rows: int | None = None) -> Iterator[list[int]]:
    """Index batches, longest first, each with rows * longest <= token_budget (a single longer row stands alone).

    Rows of one batch have nearly equal length, so little is spent on padding. Ties keep the given order.

    >>> list(buckets([3, 9, 4], token_budget=10))
    [[1], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batch: list[int] = []
    for index in order:
        full = batch and (len(batch) + 1) * lengths[batch[0]] > token_budget
        if full or (max_rows is not None and len(batch) == max_rows):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def pad(encoded: Sequence[Encoded], pad_id: int) -> tuple[Ints, Bools, Ints, Bools]:
    """Right-padded `token_ids_BT`, `attention_BT`, `read_BS` (0 where absent) and `step_BS` (True where real)."""
    width, depth = max(len(e.token_ids_T) for e in encoded), max(len(e.read_S) for e in encoded)
    token_ids_BT = np.full((len(encoded), width), pad_id, dtype=np.int64)
    attention_BT = np.zeros((len(encoded), width), dtype=np.bool_)
    read_BS = np.zeros((len(encoded), depth), dtype=np.int64)
    step_BS = np.zeros((len(encoded), depth), dtype=np.bool_)
    for row, one in enumerate(encoded):
        token_ids_BT[row, : len(one.token_ids_T)] = one.token_ids_T
        attention_BT[row, : len(one.token_ids_T)] = True
        read_BS[row, : len(one.read_S)] = one.read_S
        step_BS[row, : len(one.read_S)] = True
    return token_ids_BT, attention_BT, read_BS, step_BS
