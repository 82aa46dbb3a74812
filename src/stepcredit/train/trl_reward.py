"""A verifier, a judge or both as one of TRL's `reward_funcs`, in which a failure to score is None and never 0.

    f(prompts, completions, completion_ids, **columns) -> [reward or None],      reward = outcome + judge_weight * score

The contract is that of TRL 1.16 (`GRPOTrainer`, also RLOO): prompts and completions are texts, or lists of messages; `columns` are
the dataset's, one entry a completion. A row that is None for all reward functions takes no part in its group's mean and has
advantage 0. Of several functions TRL adds up those that are not None, so a row that one of two could not score would
stand lower, or higher, for that: give both here, where None of either is None.
This is one number a completion; a number a step is what `train/grpo` trains by, on the same `GRPOTrainer`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from stepcredit.core.protocols import Judge, Verifier
from stepcredit.core.segment import How, chat_steps, check_how, split
from stepcredit.core.types import OutcomeStatus, Problem, Step

RewardFunction = Callable[..., list[float | None]]
Said = str | Sequence[Mapping[str, Any]]


def trl_reward(
    *, verifier: Verifier | None = None, judge: Judge | None = None, judge_weight: float = 1.0, answer: str | None = "answer",
    segment: How = "newline", delimiter: str | None = None, wrong: Sequence[OutcomeStatus] = (), name: str = "stepcredit",
) -> RewardFunction:  # fmt: skip
    """The reward function. `answer` is the column the verifier needs, None where it needs none; `name` stands in TRL's log.

    A text completion is cut into steps by `segment`, a conversation by its messages. A completion without a step, an outcome
    that is not scored and a judge that abstains are None; their share is logged as `<name>/unscored`.
    Raises ValueError where neither verifier nor judge is given, for an unknown status, and, once called, for a column that is not there.
    """
    if verifier is None and judge is None:
        raise ValueError("give a verifier, a judge or both")
    check_how(segment, delimiter)
    if unknown := set(wrong) - set(get_args(OutcomeStatus)):
        raise ValueError(
            f"wrong is {', '.join(map(repr, sorted(unknown)))}; allowed: {', '.join(get_args(OutcomeStatus))}"
        )

    def reward(
        prompts: Sequence[Said], completions: Sequence[Said], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        if verifier is not None and answer is not None and answer not in columns:
            raise ValueError(f"the dataset has no column {answer!r} for the verifier; it has: {', '.join(_columns(columns))}; name it "
                             "with answer=, or give answer=None for a verifier that needs none")  # fmt: skip
        gold = [None] * len(prompts) if verifier is None or answer is None else columns[answer]
        texts = [_text(prompt) for prompt in prompts]
        problems = [Problem(f"row-{row}", text, one) for row, (text, one) in enumerate(zip(texts, gold, strict=True))]
        steps = [_steps(completion, segment, delimiter) for completion in completions]
        found: list[float | None] = [0.0] * len(steps)
        if verifier is not None:
            found = _added(found, _verified(verifier, problems, steps, wrong), 1.0)
        if judge is not None:
            found = _added(found, _judged(judge, problems, steps), judge_weight)
        if (log := columns.get("log_metric")) is not None and found:
            log(f"{name}/unscored", sum(one is None for one in found) / len(found))
        return found

    reward.__name__ = name
    return reward


Steps = Sequence[Step] | None


def _verified(
    verifier: Verifier, problems: Sequence[Problem], steps: Sequence[Steps], wrong: Sequence[OutcomeStatus]
) -> list[float | None]:
    """A group of completions is one call: neighbours with the same prompt and answer. Without a step it is unparsed."""
    found: list[float | None] = [0.0 if own is None and "unparsed" in wrong else None for own in steps]
    rows = [row for row, own in enumerate(steps) if own is not None]
    for _, group in itertools.groupby(rows, lambda row: (problems[row].prompt, repr(problems[row].answer))):
        same = list(group)
        outcomes = verifier(problems[same[0]], [steps[row] or () for row in same])
        for row, outcome in zip(same, outcomes, strict=True):
            found[row] = outcome.reward if outcome.status == "scored" else 0.0 if outcome.status in wrong else None
    return found


def _judged(judge: Judge, problems: Sequence[Problem], steps: Sequence[Steps]) -> list[float | None]:
    found: list[float | None] = [None] * len(steps)
    rows = [(row, own) for row, own in enumerate(steps) if own is not None]
    judgments = judge([(problems[row], own) for row, own in rows]) if rows else []
    for (row, _), judgment in zip(rows, judgments, strict=True):
        found[row] = judgment.score if judgment.status == "scored" else None
    return found


def _added(total: Sequence[float | None], more: Sequence[float | None], weight: float) -> list[float | None]:
    return [None if a is None or b is None else a + weight * b for a, b in zip(total, more, strict=True)]


def _text(said: Said) -> str:
    if isinstance(said, str):
        return said
    return "\n\n".join(
        step.text for step in chat_steps([*said, {"role": "assistant", "content": "."}])[:-1] if step.text.strip()
    )


def _steps(said: Said, segment: How, delimiter: str | None) -> Steps:
    """None where there is no step to be found."""
    try:
        return (
            [Step(text) for text in split(said, segment, delimiter=delimiter)]
            if isinstance(said, str)
            else chat_steps(said)
        )
    except ValueError:
        return None


def _columns(columns: Mapping[str, Any]) -> list[str]:
    return [each for each in columns if each not in ("trainer_state", "log_extra", "log_metric", "environments")] or [
        "none"
    ]
