"""The step heat map: an attempt as coloured steps, its first wrong step and the judge's first error marked."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from stepcredit.report._format import absent, number

# Orange to blue through near-white: the two ends differ for every common kind of colour blindness.
ANCHORS = ((0.0, "#a84f06"), (0.25, "#ee9f45"), (0.5, "#f3f0ea"), (0.75, "#74b0d4"), (1.0, "#1d5fa3"))
MAX_TEXT = 1500
SHOWN_STEPS = 24


def colour(score: float) -> str:
    """The colour of a score in [0, 1] as #rrggbb, linear between the anchors.

    >>> colour(0.0), colour(0.5), colour(1.0)
    ('#a84f06', '#f3f0ea', '#1d5fa3')
    """
    score = min(max(float(score), 0.0), 1.0)
    for (low, first), (high, second) in pairwise(ANCHORS):
        if score <= high:
            share = (score - low) / (high - low)
            mixed = [round(a + share * (b - a)) for a, b in zip(_channels(first), _channels(second), strict=True)]
            return "#" + "".join(f"{channel:02x}" for channel in mixed)
    raise AssertionError("unreachable: a score clipped to 1 is under the last anchor")


def text_colour(background: str) -> str:
    """Black or white, whichever has the greater contrast on `background` (WCAG relative luminance).

    >>> text_colour("#f3f0ea"), text_colour("#1d5fa3")
    ('#000000', '#ffffff')
    """
    red, green, blue = (
        (c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in _channels(background)
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def attempt_view(attempt: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of an attempt: every step with its colour and marks, and the two errors in words.

    Where `first_error_truth` is not given, it is the first step with truth 0. A step without a score has no colour.
    """
    steps = attempt["steps"]
    wrong = [at for at, step in enumerate(steps) if not absent(step.get("truth")) and step["truth"] == 0]
    truth = attempt.get("first_error_truth")
    if truth is None and wrong:
        truth = wrong[0]
    predicted = attempt.get("first_error_predicted")
    rows = [_step_view(at, step, at == truth, at == predicted) for at, step in enumerate(steps)]
    hidden = rows[SHOWN_STEPS:]
    return {
        "problem": _cut(str(attempt.get("problem") or "")),
        "arm": attempt.get("arm") or "",
        "score": number(attempt["score"]) if "score" in attempt else "",
        "outcome": _outcome_view(attempt.get("outcome")),
        "note": attempt.get("note") or "",
        "errors": _errors(truth, predicted),
        "steps": rows[:SHOWN_STEPS],
        "hidden": hidden,
        "hidden_marked": any(row["first_wrong"] or row["predicted"] for row in hidden),
    }


def _step_view(at: int, step: Mapping[str, Any], first_wrong: bool, predicted: bool) -> dict[str, Any]:
    score, truth = step.get("score"), step.get("truth")
    shade = "" if absent(score) else colour(float(score))  # type: ignore[arg-type]
    return {
        "at": at + 1,
        "text": _cut(str(step["text"])),
        "kind": str(step.get("kind") or "reason").replace("_", " "),
        "score": "" if absent(score) else f"{float(score):.2f}",  # type: ignore[arg-type]
        "colour": shade,
        "text_colour": text_colour(shade) if shade else "",
        "truth": "" if absent(truth) else "right" if truth else "wrong",
        "first_wrong": first_wrong,
        "predicted": predicted,
    }


def _outcome_view(outcome: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Right or wrong only where the verifier scored; else its status: a failure is not a wrong answer."""
    if outcome is None:
        return None
    status, correct = outcome.get("status") or "scored", outcome.get("correct")
    if status != "scored":
        label, look = status, "open"
    elif correct is None:
        label, look = "not verified", "open"
    else:
        label, look = ("✓ right", "right") if correct else ("✗ wrong", "wrong")
    answer = outcome.get("answer")
    return {"label": label, "look": look, "answer": "" if answer is None else _cut(str(answer), 200)}


def _errors(truth: int | None, predicted: int | None) -> str:
    parts = []
    if truth is not None:
        parts.append("no step is wrong" if truth < 0 else f"step {truth + 1} is the first wrong one")
    if predicted is not None:
        parts.append(
            "the judge finds no error" if predicted < 0 else f"the judge's first error is step {predicted + 1}"
        )
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _cut(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters in run.json)"


def _channels(code: str) -> tuple[int, int, int]:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)
