r"""Where the steps of an attempt are: text and chat messages into steps, characters into tokens.

    text = gap + step + gap + step + ... + gap          every character in exactly one span, asserted

The rules, the same for every `how`:
- A step never begins or ends with white space; that white space belongs to the gaps around it.
- A piece that is empty or blank is no step: it joins the gap. So a run of delimiters counts as one.
- Text after the last delimiter is a step, unless blank: an attempt cut short still ends in a step.
- Text before the first "Step N:" belongs to the first step.
- No step found is a ValueError that names what was looked for. A separator (newline, blank_line, delimiter,
  sentence) may be absent, the whole text is then one step; a marker, a "Step N:" and a think block may not.

`think` is SPRM's reading (arXiv:2507.01951, released code): only between the first `<think>` and the last `</think>`,
steps end at ".\n\n", the first of a run, never right after `<think>`. Departs: the full stop stays with its step, and
the text between the last delimiter and `</think>` is a step too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stepcredit.core.types import Step

How = Literal["newline", "blank_line", "delimiter", "numbered", "marker", "sentence", "think"]

_NEWLINE = re.compile(r"\n")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_NUMBERED = re.compile(r"^[^\S\n]*(?:#+ *)?(?:\*\*)?step +\d+ *[:.)]", re.MULTILINE | re.IGNORECASE)
# A sentence ends at . ! or ? before white space, or at a full-width stop; not after a usual abbreviation or the number
# of a list entry.
_SENTENCE = re.compile(
    r"(?<!^\d\.)(?<!^\d\d\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bFig\.)(?<!\bEq\.)(?<!\bvs\.)(?<!\bcf\.)"
    r"(?<=[.!?])\s+|(?<=[。！？])",
    re.MULTILINE,
)
_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of a text: a step, or the gap between steps.

    >>> Span(0, 5, "2+3=5", is_step=True).text
    '2+3=5'
    """

    start: int
    end: int
    text: str
    is_step: bool


def segment(text: str, how: How = "newline", *, delimiter: str | None = None) -> list[Span]:
    r"""Spans that cover the text, in order; those with `is_step` are its steps.

    `delimiter`: the separator of "delimiter" and the token of "marker" (both need it), the end of a step in "think"
    (default ".\n\n"); no other way takes one. Raises ValueError for a wrong `how`, a delimiter missing or out of
    place, and where no step is found.

    >>> [(span.start, span.text) for span in segment("a=1\n\n b=2\n") if span.is_step]
    [(0, 'a=1'), (6, 'b=2')]
    """
    check_how(how, delimiter)
    bounds = list(_think(text, delimiter or ".\n\n") if how == "think" else _pieces(text, how, delimiter))
    spans: list[Span] = []
    position = 0
    for start, end in bounds:
        piece = text[start:end]
        start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
        if start >= end:
            continue
        if start > position:
            spans.append(Span(position, start, text[position:start], is_step=False))
        spans.append(Span(start, end, text[start:end], is_step=True))
        position = end
    if position < len(text):
        spans.append(Span(position, len(text), text[position:], is_step=False))
    if not any(span.is_step for span in spans):
        raise ValueError(f"no step found: looked for {_looked_for(how, delimiter)} in {_short(text)}")
    assert "".join(span.text for span in spans) == text, "spans must give the text back"
    return spans


def split(text: str, how: How = "newline", *, delimiter: str | None = None) -> list[str]:
    """The texts of the steps alone; see `segment`.

    >>> split("Step 1: add. Step 2 later" + chr(10) + "Step 2: stop", "numbered")
    ['Step 1: add. Step 2 later', 'Step 2: stop']
    """
    return [span.text for span in segment(text, how, delimiter=delimiter) if span.is_step]


def token_spans(spans: Sequence[Span], offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    r"""Tokens [first, past) of each step span, given the (start, end) characters of each token.

    A token belongs to the first step it overlaps; an empty offset (a special token) to none; tokens of gaps to none.
    Raises ValueError for a step without a token of its own: the tokenizer merged it with its neighbour.

    >>> token_spans(segment("ab\ncd"), [(0, 0), (0, 2), (2, 3), (3, 4), (4, 5)])
    [(1, 2), (3, 5)]
    """
    steps = [span for span in spans if span.is_step]
    found: list[tuple[int, int]] = []
    token = 0
    for index, step in enumerate(steps):
        while token < len(offsets) and (offsets[token][1] <= step.start or offsets[token][0] == offsets[token][1]):
            token += 1
        first = token
        while token < len(offsets) and offsets[token][0] < step.end:
            token += 1
        past = token
        while past > first and offsets[past - 1][0] == offsets[past - 1][1]:
            past -= 1
        if past == first:
            raise ValueError(
                f"step {index} ({_short(step.text)}) has no token of its own: the tokenizer merged it with its neighbour"
            )
        found.append((first, past))
    return found


def chat_steps(messages: Sequence[Mapping[str, Any]]) -> list[Step]:
    """The steps of a conversation, in its order.

    assistant text -> reason; each tool call -> tool_call, written `name(arguments)`; tool result -> tool_result, not
    sampled; system, developer and user text -> prompt, not sampled, wherever it stands. A reasoning text
    (`reasoning_content`) is a reason step before the turn's text. Content is text or a list of text parts; blank
    assistant text is no step. Raises ValueError for another role or content, naming the message, and where the
    assistant said nothing at all.

    >>> [step.kind for step in chat_steps([{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "5"}])]
    ['prompt', 'reason']
    """
    steps: list[Step] = []
    for index, message in enumerate(messages):
        steps.extend(_message_steps(index, message))
    if not any(step.sampled for step in steps):
        raise ValueError(f"no step found: looked for assistant text or tool calls in {len(messages)} messages")
    return steps


def check_how(how: str, delimiter: str | None) -> None:
    """Raise ValueError for a way that does not exist, and a delimiter that is missing or out of place."""
    if how not in get_args(How):
        raise ValueError(f"segment by {how!r}; allowed: {', '.join(get_args(How))}")
    if how in ("delimiter", "marker") and not delimiter:
        raise ValueError(f"segment by {how} needs a delimiter that is not empty; got {delimiter!r}")
    if delimiter is not None and how not in ("delimiter", "marker", "think"):
        raise ValueError(f"segment by {how} takes no delimiter; got {delimiter!r} (use how='delimiter')")


def _pieces(text: str, how: str, delimiter: str | None) -> Iterator[tuple[int, int]]:
    if how == "numbered":
        starts = [match.start() for match in _NUMBERED.finditer(text)]
        if starts:  # what stands before the first number belongs to the first step
            yield from zip([0, *starts[1:]], [*starts[1:], len(text)], strict=True)
        return
    if how == "marker" and str(delimiter) not in text:
        return
    separators = {"newline": _NEWLINE, "blank_line": _BLANK_LINE, "sentence": _SENTENCE}
    pattern = separators[how] if how in separators else re.compile(re.escape(str(delimiter)))
    position = 0
    for match in pattern.finditer(text):
        yield position, match.start()
        position = match.end()
    yield position, len(text)


def _think(text: str, delimiter: str) -> Iterator[tuple[int, int]]:
    # The opening tag may stand in the prompt and the closing one may be cut off, but one of them must be here.
    opened, closed = text.find(_OPEN), text.rfind(_CLOSE)
    if opened < 0 and closed < 0:
        return
    start = opened + len(_OPEN) if opened >= 0 else 0
    stop = closed if closed >= start else len(text)
    kept = len(delimiter.rstrip())  # the full stop stays with its step
    position = start
    while (hit := text.find(delimiter, position, stop)) >= 0:
        if text[position:hit].strip():
            yield position, hit + kept
        position = hit + len(delimiter)
    yield position, stop


def _looked_for(how: str, delimiter: str | None) -> str:
    return {
        "newline": "a line that is not blank",
        "blank_line": "a paragraph that is not blank",
        "delimiter": f"text between {delimiter!r}",
        "numbered": "a line that starts with 'Step N:'",
        "marker": f"text before the marker {delimiter!r}",
        "sentence": "a sentence",
        "think": f"text inside {_OPEN}...{_CLOSE}",
    }[how]


def _message_steps(index: int, message: Mapping[str, Any]) -> Iterator[Step]:
    role = message.get("role")
    text = _content(index, message.get("content"))
    if role in ("system", "developer", "user"):
        yield Step(text, kind="prompt", sampled=False)
    elif role in ("tool", "function"):
        yield Step(text, kind="tool_result", sampled=False)
    elif role == "assistant":
        for said in (_content(index, message.get("reasoning_content")), text):
            if said.strip():
                yield Step(said)
        legacy = message.get("function_call")
        for call in [*(message.get("tool_calls") or []), *([legacy] if legacy else [])]:
            yield Step(_call(index, call), kind="tool_call")
    else:
        raise ValueError(
            f"message {index}: role is {role!r}; allowed: system, developer, user, assistant, tool, function"
        )


def _content(index: int, content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Sequence) and all(
        isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content
    ):
        return "".join(part["text"] for part in content)
    raise ValueError(f"message {index}: content is {_short(content)}; allowed: text, null, or a list of text parts")


def _call(index: int, call: Any) -> str:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError(f"message {index}: tool call is {_short(call)}; allowed: an object with a name and arguments")
    arguments = function.get("arguments")
    written = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return f"{function['name']}({written})"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}... ({len(shown)} characters)"
