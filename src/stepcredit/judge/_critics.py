"""Critics: judges whose word is a critique, for refinements; what each may know is what it is given.

    verdict         "The generated solution is {in}correct."                            asks a verifier
    answer          "..., the ground truth is X."                                       and knows the answer: it leaks it
    first_mistake   "Step j is wrong, it should be X."                                  and asks the task's step ORACLE
    misleading      points to a sound step as if it were wrong, in right attempts too   the control
    written         what a policy says when asked for a critique

Critique-GRPO, arXiv:2506.03106, section 3 and appendix (its indicative critique, the one with the ground truth, and GPT-4o's
chain of thought, for which `first_mistake` stands in: an oracle's, so what it is worth is a bound, not a result for models).
Departs: a rule's critique is the same whenever it is asked. What a critique costs is counted as generated where a `count` of
its tokens is given, a model's as measured.
Steps that an attempt was given to start on count and are read as its own (`core/truth.as_written`).
Degenerate: an attempt whose steps the oracle calls sound is told that no step is wrong, whatever its outcome.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from stepcredit.core.protocols import Judge, Policy, Rng, Solution, Verifier
from stepcredit.core.tree import first_error
from stepcredit.core.truth import as_written
from stepcredit.core.types import NO_ANSWER, Cost, Floats, Judgment, Outcome, Problem

Count = Callable[[str], int]
LabelSteps = Callable[[Problem, Solution], Floats]
Correction = Callable[[Problem, Solution, int], str]  # what the step at a place should have been, given those before it
VERDICT = "The generated solution is {}"
MISTAKE = "Step {} is wrong, it should be {}."
SOUND = "No step is wrong."
CONCLUSION = re.compile(r"conclusion:\s*(right|wrong)", re.IGNORECASE)
PROMPT = (Path(__file__).parent / "prompts" / "critique.txt").read_text(encoding="utf-8")


def verdict(verify: Verifier, *, answer: bool = False, count: Count = lambda critique: 0) -> Judge:
    """The outcome in words, with `answer` the ground truth besides; an outcome that is not known is no critique."""

    def judge(attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        return [_verdict(problem, steps, verify(problem, [as_written(steps)])[0], answer, count)
                for problem, steps in attempts]  # fmt: skip

    return judge


def first_mistake(label_steps: LabelSteps, correction: Correction, *, mistake: str = MISTAKE, sound: str = SOUND,
                  count: Count = lambda critique: 0) -> Judge:  # fmt: skip
    """The place of the first step that the task's ORACLE calls wrong, counted from 1, and what it should have been."""

    def judge(attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        found = []
        for problem, steps in attempts:
            own, at = as_written(steps), -1
            if (found_at := first_error(label_steps(problem, own))) >= 0:
                at = _places(own)[found_at]
            critique = sound if at < 0 else mistake.format(at + 1, correction(problem, own, at))
            found.append(_said(float(at < 0), critique, len(steps), count))
        return found

    return judge


def misleading(label_steps: LabelSteps, falsehood: Correction, rng: Rng, *, mistake: str = MISTAKE, sound: str = SOUND,
               count: Count = lambda critique: 0) -> Judge:  # fmt: skip
    """Wrong on purpose: one of the sound steps, drawn at random, should have been the `falsehood`; without one all is well."""

    def judge(attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        found = []
        for problem, steps in attempts:
            own = as_written(steps)
            sound_at = np.flatnonzero(label_steps(problem, own) == 1).tolist()
            at = _places(own)[int(rng.choice(sound_at))] if sound_at else -1
            critique = sound if at < 0 else mistake.format(at + 1, falsehood(problem, own, at))
            found.append(_said(float(at < 0), critique, len(steps), count))
        return found

    return judge


def written(policy: Policy, rng: Rng, *, template: str = PROMPT, delimiter: str = "\n", stop: Sequence[str] = (),
            max_new_tokens: int = 512) -> Judge:  # fmt: skip
    """What a policy writes behind `template` (fields prompt, attempt); its score is its conclusion, and without one it abstains.

    The critique is given either way, unless it is empty.
    """

    def judge(attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        texts = [template.format(prompt=problem.prompt, attempt=delimiter.join(step.text for step in steps))
                 for problem, steps in attempts]  # fmt: skip
        groups = policy.sample(texts, 1, rng, stop=stop, max_new_tokens=max_new_tokens) if texts else []
        found = []
        for (_, steps), (one,) in zip(attempts, groups, strict=True):
            said = CONCLUSION.findall(one.text)
            score = float(said[-1].lower() == "right") if said else float("nan")
            known = one.token_ids if one.token_ids is not None else one.logprobs
            found.append(Judgment(score, np.full(len(steps), np.nan), critique=one.text.strip() or None,
                                  status="scored" if said else "abstained", cost=Cost(len(known or ()), judge_calls=1)))  # fmt: skip
        return found

    return judge


def _places(steps: Solution) -> list[int]:
    """Where the steps stand that have a label."""
    return [place for place, step in enumerate(steps) if step.sampled]


def _verdict(problem: Problem, steps: Solution, outcome: Outcome, answer: bool, count: Count) -> Judgment:
    cost, nowhere_S = Cost(verifier_calls=1, judge_calls=1), np.full(len(steps), np.nan)
    if outcome.status != "scored" and outcome.status not in NO_ANSWER:
        return Judgment(float("nan"), nowhere_S, status="abstained", cost=cost)
    right = outcome.status == "scored" and outcome.reward > 0.5
    critique = VERDICT.format("correct" if right else "incorrect")
    critique += f", the ground truth is {problem.answer}." if answer else "."
    return Judgment(float(right), nowhere_S, critique=critique, cost=cost + Cost(count(critique)))


def _said(score: float, critique: str, num_steps: int, count: Count) -> Judgment:
    return Judgment(score, np.full(num_steps, np.nan), critique=critique, cost=Cost(count(critique), judge_calls=1))
